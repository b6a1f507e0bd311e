"""Moving average crossover: is the recent average above the longer one?

    score = saturate((SMA(fast) − SMA(slow)) / SMA(slow), saturation)

SMA(n) is the mean of the last n closes. +1: the fast average lies `saturation` (a fraction, 0.02 is 2 %) or
more above the slow one; −1: as far below. With `saturation` 0 the score is −1, 0 or +1: the plain cross.
Warm-up: `slow` bars. Prices that never move score 0.

Source: W. Brock, J. Lakonishok, B. LeBaron, "Simple Technical Trading Rules and the Stochastic Properties of
Stock Returns", Journal of Finance 47 (1992). Computed with TA-Lib's SMA.
"""

from typing import Self

from pydantic import Field, model_validator

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, saturate


class Parameters(FactorParameters):
    """Lengths in bars; `saturation` is a fraction of the slow average."""

    fast: int = Field(default=20, ge=2, le=999)
    slow: int = Field(default=50, ge=3, le=1000)
    saturation: float = Field(default=0.02, ge=0, le=1)

    @model_validator(mode="after")
    def _fast_is_shorter(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) should be less than slow ({self.slow})")
        return self


def warm_up(parameters: Parameters) -> int:
    """Bars that a score needs."""
    return parameters.slow


def score(history: PriceHistory, parameters: Parameters) -> float | None:
    """The distance between the averages as a score in [-1, 1]."""
    import talib

    closes = history.closes
    if len(closes) < parameters.slow:
        return None
    fast = float(talib.SMA(closes[-parameters.fast :], parameters.fast)[-1])
    slow = float(talib.SMA(closes[-parameters.slow :], parameters.slow)[-1])
    return saturate((fast - slow) / slow, parameters.saturation)
