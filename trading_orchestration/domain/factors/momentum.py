"""Momentum: what has risen goes on rising.

    score = saturate(close[skip bars ago] / close[skip + lookback bars ago] − 1, saturation)

+1: it rose by `saturation` (a fraction, 0.2 is 20 %) or more over the `lookback` bars that ended `skip` bars
ago; −1: it fell as much. Skipping the most recent bars leaves out short-term reversal. Warm-up: `lookback` +
`skip` + 1 bars. Prices that never move score 0.

Source: N. Jegadeesh, S. Titman, "Returns to Buying Winners and Selling Losers", Journal of Finance 48 (1993);
their 12-month rule that skips a month is lookback 231, skip 21 in daily bars.
"""

from pydantic import Field

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, saturate


class Parameters(FactorParameters):
    """Lengths in bars; `saturation` is a fraction, as a return."""

    lookback: int = Field(default=60, ge=1, le=1000)
    skip: int = Field(default=0, ge=0, le=100)
    saturation: float = Field(default=0.2, ge=0, le=10)


def warm_up(parameters: Parameters) -> int:
    """Bars that a score needs."""
    return parameters.lookback + parameters.skip + 1


def score(history: PriceHistory, parameters: Parameters) -> float | None:
    """The past return as a score in [-1, 1]."""
    closes = history.closes
    last = len(closes) - 1 - parameters.skip
    if last < parameters.lookback:
        return None
    gain = float(closes[last]) / float(closes[last - parameters.lookback]) - 1
    return saturate(gain, parameters.saturation)
