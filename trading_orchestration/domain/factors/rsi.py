"""Relative strength index, read against the crowd: oversold speaks for buying, overbought for selling.

    RSI   = 100 · gain / (gain + loss), Wilder's averages of the last moves up and down
    score = (middle − RSI) / (middle − oversold), clipped to [-1, 1]; middle = (oversold + overbought) / 2

+1 at or below `oversold`, −1 at or above `overbought`, 0 halfway. Wilder's average starts with a plain mean
and forgets it slowly: the warm-up is 7 × `period` + 1 bars, after which that start weighs below 0.3 %. Begun
at the first bar there is, it gives other signals at 4 of the 1,407 bars at which the sample prices of AAPL,
GOOG, IBM and MSFT are beyond 30 or 70.
Prices that never move have no RSI: the score is None.

Source: J. W. Wilder, "New Concepts in Technical Trading Systems" (1978). Computed with TA-Lib's RSI.
"""

from typing import Self

from pydantic import Field, model_validator

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, saturate


class Parameters(FactorParameters):
    """`period` in bars; the two levels are RSI points, 0 to 100."""

    period: int = Field(default=14, ge=2, le=200)
    oversold: float = Field(default=30, ge=1, le=99)
    overbought: float = Field(default=70, ge=1, le=99)

    @model_validator(mode="after")
    def _oversold_is_below_overbought(self) -> Self:
        if self.oversold >= self.overbought:
            raise ValueError(
                f"oversold ({self.oversold:g}) should be less than overbought ({self.overbought:g})"
            )
        return self


def warm_up(parameters: Parameters) -> int:
    """Bars that a score needs."""
    return 7 * parameters.period + 1


def score(history: PriceHistory, parameters: Parameters) -> float | None:
    """The RSI of the last close as a contrarian score in [-1, 1]."""
    import talib

    bars = warm_up(parameters)
    if len(history.closes) < bars:
        return None
    window = history.closes[-bars:]
    value = float(talib.RSI(window, parameters.period)[-1])
    if value == 0 and window[0] == window[-1]:
        return None  # TA-Lib answers 0 where nothing moved, as where everything fell
    half_range = (parameters.overbought - parameters.oversold) / 2
    return saturate(parameters.oversold + half_range - value, half_range)
