"""Every metric that empyrical-reloaded knows too, against it."""

import math
from collections.abc import Callable, Sequence

import empyrical
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain import performance

Metric = Callable[[Sequence[float]], float | None]

# Whole basis points: empyrical has no bound for deviations that are only binary noise.
daily = st.integers(-1_500, 1_500).map(lambda points: points / 10_000)
series = st.lists(daily, min_size=2, max_size=150)


def array(returns: Sequence[float]) -> object:
    import numpy as np

    return np.array(returns, np.float64)


def assert_same(ours: float | None, theirs: float) -> None:
    if ours is None:
        assert not math.isfinite(theirs)
    else:
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (performance.total_return, empyrical.cum_returns_final),
        (performance.annualised_return, empyrical.annual_return),
        (performance.volatility, empyrical.annual_volatility),
        (performance.downside_deviation, empyrical.downside_risk),
        (performance.sharpe_ratio, empyrical.sharpe_ratio),
        (performance.sortino_ratio, empyrical.sortino_ratio),
        (performance.calmar_ratio, empyrical.calmar_ratio),
    ],
    ids=lambda metric: metric.__name__,
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_agrees_with_empyrical(ours: Metric, theirs: Callable[[object], float]) -> None:
    @given(series)
    def agrees(returns: list[float]) -> None:
        assume(any(r != returns[0] for r in returns))
        assert_same(ours(returns), theirs(array(returns)))

    agrees()


@given(series)
def test_the_deepest_drawdown_agrees(returns: list[float]) -> None:
    depths = performance.drawdowns(returns)
    assert depths is not None
    assert min(depths) == pytest.approx(empyrical.max_drawdown(array(returns)), abs=1e-12)


@pytest.mark.parametrize("level", [95, 99])
def test_the_tails_agree(level: int) -> None:
    @settings(max_examples=40)
    @given(st.lists(daily, min_size=100, max_size=150))
    def agrees(returns: list[float]) -> None:
        cutoff = (100 - level) / 100
        at_risk = performance.value_at_risk(returns, level=level)
        beyond = performance.conditional_value_at_risk(returns, level=level)
        assert at_risk == pytest.approx(empyrical.value_at_risk(array(returns), cutoff), abs=1e-12)
        assert beyond == pytest.approx(empyrical.conditional_value_at_risk(array(returns), cutoff), abs=1e-12)

    agrees()


@given(st.lists(st.tuples(daily, daily), min_size=3, max_size=150))
def test_alpha_and_beta_agree(pairs: list[tuple[float, float]]) -> None:
    benchmark = [b for _, b in pairs]
    assume(any(b != benchmark[0] for b in benchmark))
    found = performance.compare(pairs)
    theirs = empyrical.alpha_beta(array([r for r, _ in pairs]), array(benchmark))
    assert_same(found.beta, theirs[1])
    if found.alpha is not None:
        assert found.alpha == pytest.approx(theirs[0], rel=1e-6, abs=1e-8)
