"""Metrics by hand-computed numbers and properties; what is not defined is None."""

from collections.abc import Sequence
from datetime import date, timedelta
from math import isclose, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain import performance
from trading_orchestration.domain.performance import Comparison, Drawdown, compare

RETURNS = [0.10, -0.50, 0.20, 0.75]  # worth 1.10, 0.55, 0.66, 1.155
DAYS = [date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 2)]
METRICS = (
    performance.total_return,
    performance.annualised_return,
    performance.volatility,
    performance.downside_deviation,
    performance.sharpe_ratio,
    performance.sortino_ratio,
    performance.calmar_ratio,
    performance.drawdowns,
)

daily = st.floats(-0.2, 0.2).map(lambda r: round(r, 12))


def approx(expected: float | Sequence[float]) -> Any:
    return pytest.approx(expected, rel=1e-12)


def test_total_return_chains_the_sessions() -> None:
    assert performance.total_return(RETURNS) == approx(0.155)


def test_annualised_return_is_the_total_to_the_power_of_252_over_n() -> None:
    assert performance.annualised_return(RETURNS) == approx(1.155**63 - 1)
    assert performance.annualised_return([0.001] * 252) == approx(1.001**252 - 1)


def test_volatility_is_the_sample_deviation_times_the_root_of_252() -> None:
    """Deviations from the mean 0.02 are −0.01, 0 and 0.01: s = 0.01."""
    assert performance.volatility([0.01, 0.02, 0.03]) == approx(0.01 * sqrt(252))


def test_sharpe_divides_the_mean_by_the_deviation() -> None:
    assert performance.sharpe_ratio([0.01, 0.02, 0.03]) == approx(2 * sqrt(252))


def test_sortino_divides_by_the_root_of_the_mean_square_of_losses() -> None:
    """Of four returns one is a loss, −0.02: √(0.0004 / 4) = 0.01; their mean is 0.01."""
    assert performance.downside_deviation([-0.02, 0.02, 0.02, 0.02]) == approx(0.01 * sqrt(252))
    assert performance.sortino_ratio([-0.02, 0.02, 0.02, 0.02]) == approx(sqrt(252))


def test_calmar_divides_by_the_deepest_drawdown() -> None:
    assert performance.calmar_ratio(RETURNS) == approx((1.155**63 - 1) / 0.5)


def test_drawdowns_are_measured_from_the_high_so_far() -> None:
    assert performance.drawdowns([0.10, -0.50, 0.20, 0.75]) == approx([0, -0.5, -0.4, 0])
    assert performance.drawdowns([-0.10, 0.05]) == approx([-0.1, -0.055])


def test_the_deepest_drawdown_names_its_peak_its_trough_and_its_recovery() -> None:
    found = performance.max_drawdown(DAYS, RETURNS)
    assert found == Drawdown(depth=approx(-0.5), peak=DAYS[0], trough=DAYS[1], recovered=DAYS[3])


def test_a_fall_from_the_start_has_no_peak_and_one_that_goes_on_no_recovery() -> None:
    found = performance.max_drawdown(DAYS[:2], [-0.1, -0.1])
    assert found is not None
    assert (found.peak, found.trough, found.recovered) == (None, DAYS[1], None)


def test_the_peak_is_the_last_high_before_the_trough() -> None:
    found = performance.max_drawdown(DAYS, [0.1, 0.1, -0.1, -0.1])
    assert found is not None
    assert (found.peak, found.trough) == (DAYS[1], DAYS[3])


def test_the_first_of_two_equal_drawdowns_counts() -> None:
    found = performance.max_drawdown(DAYS, [-0.5, 1.0, -0.5, 1.0])
    assert found is not None
    assert (found.trough, found.recovered) == (DAYS[0], DAYS[1])


def test_value_at_risk_lies_between_the_two_worst_of_21() -> None:
    """The 5th percentile of 21 is the second of them; of 31 it is 1.5 steps up."""
    assert performance.value_at_risk([n / 100 for n in range(21)], level=95) == approx(0.01)
    assert performance.value_at_risk([n / 100 for n in range(31)], level=95) == approx(0.015)


def test_conditional_value_at_risk_is_the_mean_of_the_worst() -> None:
    returns = [n / 100 for n in range(-50, 51)]  # 101: the worst 6 at 95 %, the worst 2 at 99 %
    assert performance.conditional_value_at_risk(returns, level=95) == approx(-0.475)
    assert performance.conditional_value_at_risk(returns, level=99) == approx(-0.495)


@pytest.mark.parametrize(("level", "count"), [(95, 20), (99, 100)])
def test_a_tail_needs_one_return_in_it(level: int, count: int) -> None:
    for metric in (performance.value_at_risk, performance.conditional_value_at_risk):
        assert metric([-0.01] * (count - 1), level=level) is None
        assert metric([-0.01] * count, level=level) == approx(-0.01)


def test_beta_is_how_far_the_portfolio_moves_with_the_benchmark() -> None:
    """Twice the benchmark plus 0.001 a session."""
    benchmark = [0.01, -0.02, 0.03, 0.00]
    found = compare([(2 * b + 0.001, b) for b in benchmark])
    assert found == Comparison(alpha=approx(1.001**252 - 1), beta=approx(2), sessions=4)


def test_a_benchmark_that_stands_still_says_nothing() -> None:
    assert compare([(0.01, 0.0), (0.02, 0.0)]) == Comparison(alpha=None, beta=None, sessions=2)
    assert compare([(0.01, 0.02)]).beta is None
    assert compare([]) == Comparison(alpha=None, beta=None, sessions=0)


def test_exposure_is_the_mean_share_that_is_invested() -> None:
    assert performance.exposure([50, 0], [100, 100]) == approx(0.25)
    assert performance.exposure([150], [100]) == approx(1.5)
    assert performance.exposure([50], [0]) is None
    assert performance.exposure([], []) is None


def test_turnover_counts_a_purchase_and_its_sale_as_one() -> None:
    """Buying and selling a whole portfolio of 100 within half a year turns it over twice a year."""
    assert performance.turnover(200, [100.0] * 126) == approx(2)
    assert performance.turnover(0, [100.0]) == 0
    assert performance.turnover(10, [-1.0]) is None
    assert performance.turnover(10, []) is None


def test_months_chain_their_own_sessions() -> None:
    assert performance.monthly_returns(DAYS, RETURNS) == {
        (2024, 1): approx(-0.45),
        (2024, 2): approx(1.1),
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_nothing_is_known_without_returns(metric: object) -> None:
    assert callable(metric)
    assert metric([]) is None


def test_one_return_has_no_deviation() -> None:
    assert performance.volatility([0.01]) is None
    assert performance.sharpe_ratio([0.01]) is None


@pytest.mark.parametrize("returns", [[0.0] * 5, [0.01] * 5, [0.1, 0.1 + 1e-13, 0.1]])
def test_returns_that_do_not_vary_have_no_sharpe_ratio(returns: list[float]) -> None:
    """Binary noise would otherwise make it a number with sixteen digits."""
    assert performance.sharpe_ratio(returns) is None


def test_without_a_loss_there_is_no_sortino_no_calmar_and_no_drawdown() -> None:
    gains = [0.01, 0.0, 0.02]
    assert performance.sortino_ratio(gains) is None
    assert performance.calmar_ratio(gains) is None
    assert performance.max_drawdown(DAYS[:3], gains) is None
    assert performance.downside_deviation(gains) == 0


def test_a_portfolio_that_owes_more_than_it_has_cannot_chain_its_returns() -> None:
    returns = [0.1, -1.5, 0.3]
    assert performance.total_return(returns) is None
    assert performance.annualised_return(returns) is None
    assert performance.drawdowns(returns) is None
    assert performance.max_drawdown(DAYS[:3], returns) is None
    assert performance.calmar_ratio(returns) is None


def test_what_was_lost_whole_stays_lost() -> None:
    assert performance.total_return([0.1, -1.0, 0.5]) == -1
    assert performance.annualised_return([0.1, -1.0, 0.5]) == -1
    assert performance.drawdowns([0.1, -1.0, 0.5]) == approx([0, -1, -1])


def test_a_number_that_is_too_large_is_none() -> None:
    assert performance.annualised_return([1e6]) is None
    assert performance.total_return([1e300, 1e300]) is None


@given(st.lists(daily, min_size=1, max_size=120))
def test_a_drawdown_is_never_above_nothing_nor_below_everything(returns: list[float]) -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(len(returns))]
    depths = performance.drawdowns(returns)
    assert depths is not None
    assert all(-1 <= depth <= 0 for depth in depths)
    deepest = performance.max_drawdown(days, returns)
    if deepest is not None:
        assert deepest.depth == min(depths)
        assert (deepest.peak or date.min) < deepest.trough < (deepest.recovered or date.max)


@given(st.lists(daily, min_size=20, max_size=120))
def test_the_tail_is_at_least_as_bad_as_where_it_begins(returns: list[float]) -> None:
    at_risk = performance.value_at_risk(returns, level=95)
    beyond = performance.conditional_value_at_risk(returns, level=95)
    assert at_risk is not None
    assert beyond is not None
    assert min(returns) - 1e-12 <= beyond <= at_risk + 1e-12


@given(st.lists(daily, min_size=2, max_size=60), st.floats(0.1, 3), st.randoms(use_true_random=False))
def test_ratios_know_neither_scale_nor_order(returns: list[float], scale: float, random: Random) -> None:
    shuffled = [r * scale for r in returns]
    random.shuffle(shuffled)
    for metric in (performance.sharpe_ratio, performance.sortino_ratio):
        first, second = metric(returns), metric(shuffled)
        if first is not None and second is not None:
            assert isclose(first, second, rel_tol=1e-6, abs_tol=1e-6)


@given(st.lists(daily, min_size=1, max_size=120))
def test_months_chain_to_the_total(returns: list[float]) -> None:
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(len(returns))]
    months = [r for r in performance.monthly_returns(days, returns).values() if r is not None]
    assert performance.total_return(months) == pytest.approx(performance.total_return(returns), abs=1e-9)
