"""How well a portfolio did: returns, risk, and how it compares with a benchmark.

Returns are fractions, one a session, time-weighted (`domain/portfolio.py`), oldest first. A year has 252
sessions and the risk-free rate is 0. What is not defined for the returns that were given is None, never a
number that only looks like one. The formulas are those of `empyrical`, where it has the metric.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

SESSIONS_PER_YEAR = 252

#: Returns are kept to 12 places; what varies by less does not vary.
_NOISE = 1e-11


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The deepest fall from a high; `depth` is a fraction, −0.2 for a fall by a fifth.

    `peak` is the session of the high, None where that was the value before the first session; `recovered` is
    the first session at or above the high again, None where there is none yet.
    """

    depth: float
    peak: date | None
    trough: date
    recovered: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Beside a benchmark: `beta`, and `alpha` a year, over the sessions for which both have a return."""

    alpha: float | None
    beta: float | None
    sessions: int


def total_return(returns: Sequence[float]) -> float | None:
    """Π(1 + r) − 1.

    None without returns, and where one of them is below −1: what is worth less than nothing has no growth.
    """
    if not returns or min(returns) < -1:
        return None
    return _known(math.prod(1 + r for r in returns) - 1)


def annualised_return(returns: Sequence[float]) -> float | None:
    """(1 + total return)^(252 / n) − 1 over n sessions; below a year this extrapolates.

    None where the total return is, and where the result is too large to be a number.
    """
    total = total_return(returns)
    return None if total is None else _power(1 + total, SESSIONS_PER_YEAR / len(returns))


def volatility(returns: Sequence[float]) -> float | None:
    """s × √252, s being the standard deviation of a sample (n − 1); None for fewer than two returns."""
    deviation = _deviation(returns)
    return None if deviation is None else _known(deviation * math.sqrt(SESSIONS_PER_YEAR))


def downside_deviation(returns: Sequence[float]) -> float | None:
    """√(Σ min(r, 0)² / n) × √252, over all n returns; None without returns."""
    if not returns:
        return None
    return _known(math.sqrt(_mean([min(r, 0.0) ** 2 for r in returns]) * SESSIONS_PER_YEAR))


def sharpe_ratio(returns: Sequence[float]) -> float | None:
    """mean(r) / s × √252; None for fewer than two returns, and where they do not vary."""
    deviation = _deviation(returns)
    if deviation is None or deviation < _NOISE:
        return None
    return _known(_mean(returns) / deviation * math.sqrt(SESSIONS_PER_YEAR))


def sortino_ratio(returns: Sequence[float]) -> float | None:
    """mean(r) × 252 / downside deviation; None without returns, and where none of them is a loss."""
    downside = downside_deviation(returns)
    if downside is None or downside < _NOISE:
        return None
    return _known(_mean(returns) * SESSIONS_PER_YEAR / downside)


def calmar_ratio(returns: Sequence[float]) -> float | None:
    """Annualised return / |deepest drawdown|; None where one of the two is, or nothing was ever lost."""
    annual, depths = annualised_return(returns), drawdowns(returns)
    if annual is None or depths is None or min(depths) > -_NOISE:
        return None
    return _known(annual / -min(depths))


def drawdowns(returns: Sequence[float]) -> list[float] | None:
    """W / max(W so far, 1) − 1 after each session, W being Π(1 + r).

    None without returns, and where one is below −1.
    """
    if not returns or min(returns) < -1:
        return None
    worth = high = 1.0
    found = []
    for r in returns:
        worth *= 1 + r
        high = max(high, worth)
        found.append(worth / high - 1)
    return found


def max_drawdown(sessions: Sequence[date], returns: Sequence[float]) -> Drawdown | None:
    """The deepest drawdown with its dates, the first of equals; None where nothing was lost.

    `sessions` are the dates of the returns. None also where `drawdowns` is.
    """
    depths = drawdowns(returns)
    if depths is None or min(depths) > -_NOISE:
        return None
    trough = depths.index(min(depths))
    before = [i for i in range(trough) if depths[i] == 0]
    after = [i for i in range(trough, len(depths)) if depths[i] == 0]
    return Drawdown(
        depth=depths[trough],
        peak=sessions[before[-1]] if before else None,
        trough=sessions[trough],
        recovered=sessions[after[0]] if after else None,
    )


def value_at_risk(returns: Sequence[float], *, level: int) -> float | None:
    """The return that `level` % of the sessions were above, by history: its (100 − level)th percentile.

    Linear between the two nearest returns; negative for a loss. None for fewer returns than it takes to have
    one in the tail: 20 for 95 %, 100 for 99 %.
    """
    if len(returns) < _tail_sessions(level):
        return None
    ordered = sorted(returns)
    whole, rest = divmod((len(ordered) - 1) * (100 - level), 100)
    upper = ordered[min(whole + 1, len(ordered) - 1)]
    return _known(ordered[whole] + (upper - ordered[whole]) * rest / 100)


def conditional_value_at_risk(returns: Sequence[float], *, level: int) -> float | None:
    """The mean of the worst ⌊(n − 1) × (100 − level) %⌋ + 1 returns; None where `value_at_risk` is."""
    if len(returns) < _tail_sessions(level):
        return None
    count = (len(returns) - 1) * (100 - level) // 100 + 1
    return _known(_mean(sorted(returns)[:count]))


def compare(pairs: Sequence[tuple[float, float]]) -> Comparison:
    """Pairs of (our return, the benchmark's return) of the same sessions.

    beta is cov(r, b) / var(b); alpha is (1 + mean(r − beta × b))^252 − 1. Both are None for fewer than two
    pairs, and where the benchmark does not vary.
    """
    benchmark = [b for _, b in pairs]
    deviation = _deviation(benchmark)
    if deviation is None or deviation < _NOISE:
        return Comparison(alpha=None, beta=None, sessions=len(pairs))
    middle = _mean(benchmark)
    beta = math.fsum(r * (b - middle) for r, b in pairs) / math.fsum((b - middle) ** 2 for b in benchmark)
    alpha = _power(1 + _mean([r - beta * b for r, b in pairs]), SESSIONS_PER_YEAR)
    return Comparison(alpha=alpha, beta=_known(beta), sessions=len(pairs))


def exposure(gross_values: Sequence[float], totals: Sequence[float]) -> float | None:
    """mean(Σ |position value| / total value) over the sessions' closes.

    1 is fully invested, above 1 on borrowed money. None without sessions, and where a total was not above 0.
    """
    if not totals or min(totals) <= 0:
        return None
    return _known(_mean([gross / total for gross, total in zip(gross_values, totals, strict=True)]))


def turnover(traded: float, totals: Sequence[float]) -> float | None:
    """traded / 2 / mean(total value) × 252 / n: how often a year the portfolio was exchanged.

    `traded` is Σ |quantity × price| of all fills. None without sessions, and where the mean is not above 0.
    """
    if not totals or _mean(totals) <= 0:
        return None
    return _known(traded / 2 / _mean(totals) * SESSIONS_PER_YEAR / len(totals))


def monthly_returns(
    sessions: Sequence[date], returns: Sequence[float]
) -> dict[tuple[int, int], float | None]:
    """The total return of each (year, month) with a session, in order; the first and last may be parts."""
    months: dict[tuple[int, int], list[float]] = {}
    for session, r in zip(sessions, returns, strict=True):
        months.setdefault((session.year, session.month), []).append(r)
    return {month: total_return(of_month) for month, of_month in months.items()}


def _tail_sessions(level: int) -> int:
    return -(-100 // (100 - level))


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    middle = _mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def _power(base: float, exponent: float) -> float | None:
    """base^exponent − 1; None for a base below 0 and a result that is too large."""
    if base < 0:
        return None
    try:
        return _known(base**exponent - 1)
    except OverflowError:
        return None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
