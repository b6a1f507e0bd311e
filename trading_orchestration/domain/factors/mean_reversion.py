"""Mean reversion: what lies far from its average comes back.

    z     = (close − mean) / standard deviation of the last `period` closes, this one included (population)
    score = saturate(−z, saturation)

+1: the close lies `saturation` standard deviations or more below its mean; −1: as far above. Warm-up:
`period` bars. Prices that never moved have no standard deviation: the score is None.

Source: J. Bollinger, "Bollinger on Bollinger Bands" (2001), whose bands are z = ±2. Computed with TA-Lib's
SMA and STDDEV on the closes relative to the last, which is exact where prices are large and moves small.
"""

from pydantic import Field

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, saturate


class Parameters(FactorParameters):
    """`period` in bars; `saturation` in standard deviations."""

    period: int = Field(default=20, ge=2, le=1000)
    saturation: float = Field(default=2.0, ge=0, le=10)


def warm_up(parameters: Parameters) -> int:
    """Bars that a score needs."""
    return parameters.period


def score(history: PriceHistory, parameters: Parameters) -> float | None:
    """The distance from the mean as a contrarian score in [-1, 1]."""
    import talib

    period = parameters.period
    if len(history.closes) < period:
        return None
    window = history.closes[-period:]
    relative = window / window[-1] - 1.0
    deviation = float(talib.STDDEV(relative, period)[-1])
    if deviation == 0:
        return None
    return saturate(float(talib.SMA(relative, period)[-1]) / deviation, parameters.saturation)
