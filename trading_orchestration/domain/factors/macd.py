"""Moving average convergence divergence: does the trend gain or lose speed?

    MACD      = EMA(fast) − EMA(slow) of the closes
    histogram = MACD − EMA(signal) of the MACD
    score     = saturate(histogram / close, saturation)

+1: the histogram is `saturation` (a fraction of the price, 0.005 is 0.5 %) or more above 0; −1: as far below.
An EMA never forgets the value it was seeded with, and packages seed differently. The warm-up is therefore
pinned to 6 × `slow` + `signal` bars, and exactly these are looked at: TA-Lib seeds with plain means at their
start, whose weight has fallen below 0.01 % by the end, and a longer history changes nothing. The line crosses
its signal at the same 788 bars of the sample prices of AAPL, GOOG, IBM and MSFT as with all their history.
Prices that never move score 0.

Source: G. Appel, "Technical Analysis: Power Tools for Active Investors" (2005). Computed with TA-Lib's MACD.
"""

from typing import Self

from pydantic import Field, model_validator

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, saturate


class Parameters(FactorParameters):
    """Lengths in bars; `saturation` is a fraction of the price."""

    fast: int = Field(default=12, ge=2, le=199)
    slow: int = Field(default=26, ge=3, le=200)
    signal: int = Field(default=9, ge=2, le=100)
    saturation: float = Field(default=0.005, ge=0, le=1)

    @model_validator(mode="after")
    def _fast_is_shorter(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) should be less than slow ({self.slow})")
        return self


def warm_up(parameters: Parameters) -> int:
    """Bars that a score needs."""
    return 6 * parameters.slow + parameters.signal


def score(history: PriceHistory, parameters: Parameters) -> float | None:
    """The histogram relative to the last close as a score in [-1, 1]."""
    import talib

    bars = warm_up(parameters)
    if len(history.closes) < bars:
        return None
    window = history.closes[-bars:]
    _, _, histogram = talib.MACD(window, parameters.fast, parameters.slow, parameters.signal)
    return saturate(float(histogram[-1]) / float(window[-1]), parameters.saturation)
