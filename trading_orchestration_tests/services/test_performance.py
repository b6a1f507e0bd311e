"""Performance and attribution of a week worked out by hand (`fixtures/traded_week.py`), on real rows."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.performance import (
    Period,
    review_portfolio,
    review_portfolios,
    session_closes,
)
from trading_orchestration.services.portfolio_review import Performance, Review, TradeFigures
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration_tests.conftest import NewDatabase
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
from trading_orchestration_tests.fixtures.traded_week import (
    execute,
    snapshot,
    trade_the_week,
    trade_the_week_in,
)

D = Decimal
# 1,019 from 1,000; 1,022; 1,003.6 from 1,122; 1,103.6.
RETURNS = [0.019, 1022 / 1019 - 1, 1003.6 / 1122 - 1, 1103.6 / 1003.6 - 1]


def review(engine: sa.Engine, name: str = "main", **options: Any) -> Review:
    return review_portfolio(name, begin=partial(transaction, engine), calendar=INDEPENDENCE_WEEK, **options)


@pytest.fixture(scope="module")
def week_url(new_database: NewDatabase, template: str) -> Iterator[str]:
    """The week, traded once."""
    with new_database(template) as url:
        trade_the_week_in(url)
        yield url


@pytest.fixture
def week(new_database: NewDatabase, week_url: str) -> Iterator[sa.Engine]:
    """An engine on a copy of the week."""
    with new_database(sa.make_url(week_url).database or "") as url:
        engine = create_engine(url, application_name="tests")
        yield engine
        engine.dispose()


def earned(figures: TradeFigures) -> tuple[int, int, Decimal, Decimal | None]:
    return figures.round_trips, figures.open_round_trips, figures.realised_pnl, figures.unrealised_pnl


def test_returns_chain_with_the_deposit_taken_out(week: sa.Engine) -> None:
    found = review(week)
    assert found.returns[1] == pytest.approx(RETURNS, abs=1e-12)
    expected = 1.019 * (1022 / 1019) * (1003.6 / 1122) * (1103.6 / 1003.6) - 1
    assert found.performance.total_return == pytest.approx(expected, abs=1e-10)
    assert (found.performance.end_value, found.performance.net_deposits) == (D("1103.6"), D("1100"))


def test_the_total_return_is_the_one_the_snapshots_carry(week: sa.Engine) -> None:
    rows = execute(week, "SELECT total_return FROM portfolio_snapshots ORDER BY session DESC LIMIT 1")
    assert review(week).performance.total_return == pytest.approx(float(rows[0][0]), abs=1e-11)


def test_the_deepest_drawdown_has_its_dates(week: sa.Engine) -> None:
    deepest = review(week).performance.max_drawdown
    assert deepest is not None
    assert deepest.depth == pytest.approx(1003.6 / 1122 - 1)
    assert (deepest.peak, deepest.trough) == (date(2024, 7, 3), date(2024, 7, 5))
    assert deepest.recovered is None


def test_round_trips_run_from_flat_to_flat(week: sa.Engine) -> None:
    found = review(week)
    assert [(trip.symbol, trip.pnl) for trip in found.trips] == [("AAPL", D("-1.4")), ("MSFT", D("5"))]
    figures = found.performance.trades
    assert earned(figures) == (2, 0, D("3.6"), D(0))
    assert (figures.win_rate, figures.average_trade) == (0.5, D("1.8"))
    assert figures.profit_factor == pytest.approx(5 / 1.4)


def test_realised_and_unrealised_explain_every_cent(week: sa.Engine) -> None:
    """Up to 2024-07-05: 1,003.6 − 1,100 = −96.4 = −56.4 realised − 40 on 4 AAPL at 95."""
    at_close = review(week, period=Period(last=date(2024, 7, 5))).performance
    assert earned(at_close.trades) == (1, 1, D("-56.4"), D("-40"))
    assert at_close.end_value - at_close.net_deposits == D("-96.4")


def test_strategies_add_up_to_the_portfolio(week: sa.Engine) -> None:
    found = review(week, period=Period(last=date(2024, 7, 5)))
    by_name = {of.strategy: of.trades for of in found.strategies}
    assert earned(by_name["trend"]) == (1, 1, D("-26.2"), D("-20"))
    assert earned(by_name["reversal"]) == (0, 1, D("-30.2"), D("-20"))
    assert None not in by_name
    assert sum(of.trades.turnover or 0 for of in found.strategies) == pytest.approx(
        found.performance.trades.turnover
    )


def test_each_strategy_has_trips_of_its_own(week: sa.Engine) -> None:
    by_name = {of.strategy: of.trades for of in review(week).strategies}
    assert earned(by_name["trend"]) == (2, 0, D("3.8"), D(0))
    assert (by_name["trend"].win_rate, by_name["trend"].average_trade) == (0.5, D("1.9"))
    assert earned(by_name["reversal"]) == (1, 0, D("-0.2"), D(0))
    assert (by_name["reversal"].win_rate, by_name["reversal"].profit_factor) == (0, 0)


def test_a_strategy_that_never_traded_is_listed_with_nothing(week: sa.Engine) -> None:
    execute(week, "INSERT INTO strategies (portfolio_id, name, definition) VALUES (1, 'idle', '{}')")
    idle = {of.strategy: of.trades for of in review(week).strategies}["idle"]
    assert earned(idle) == (0, 0, D(0), D(0))
    assert (idle.win_rate, idle.turnover) == (None, 0)


def test_what_no_strategy_owned_has_a_row_of_its_own(week: sa.Engine) -> None:
    """A repair brings 2 MSFT at 54 before the week ends; a stop loss of nobody's sells them."""
    execute(
        week,
        "INSERT INTO adjustments (portfolio_id, symbol, quantity, unit_cost, cause, note, actor, "
        "occurred_at) VALUES (1, 'MSFT', 2, 54, 'unknown', 'test', 'test', '2024-07-08T13:50Z')",
    )
    execute(
        week,
        "INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, "
        "quantity, price, cumulative_quantity, executed_at) "
        "VALUES (4, 1, 1, 'late', 'MSFT', 'sell', 2, 55, 2, '2024-07-08T14:00Z')",
    )
    by_name = {of.strategy: of.trades for of in review(week).strategies}
    assert earned(by_name[None]) == (1, 0, D(2), D(0))


def test_turnover_and_exposure(week: sa.Engine) -> None:
    found = review(week).performance
    mean = (1019 + 1022 + 1003.6 + 1103.6) / 4
    assert found.trades.turnover == pytest.approx(1785 / 2 / mean * 63)
    assert found.exposure == pytest.approx((420 / 1019 + 913 / 1022 + 380 / 1003.6) / 4)


def test_a_period_counts_what_happened_after_the_close_before_it(week: sa.Engine) -> None:
    found = review(week, period=Period(first=date(2024, 7, 5), last=date(2024, 7, 8)))
    assert found.returns[1] == pytest.approx(RETURNS[2:])
    assert earned(found.performance.trades) == (2, 0, D("4.6"), D(0))
    assert [fill.quantity for fill in found.fills] == [4, 1, 4]
    assert found.performance.net_deposits == 100


def test_alpha_and_beta_pair_the_sessions(week: sa.Engine) -> None:
    """Against AAPL, whose closes are 99, 105, 108, 95, 118."""
    beside = review(week, benchmark="AAPL").performance.benchmark
    assert beside is not None
    theirs = [105 / 99 - 1, 108 / 105 - 1, 95 / 108 - 1, 118 / 95 - 1]
    mean, ours = sum(theirs) / 4, sum(RETURNS) / 4
    beta = sum((b - mean) * (r - ours) for r, b in zip(RETURNS, theirs, strict=True)) / sum(
        (b - mean) ** 2 for b in theirs
    )
    assert beside.beta == pytest.approx(beta)
    assert beside.alpha == pytest.approx((1 + ours - beta * mean) ** 252 - 1)
    assert beside.total_return == pytest.approx(118 / 99 - 1)
    assert beside.sessions == 4


def test_a_split_of_the_benchmark_is_no_loss(week: sa.Engine) -> None:
    execute(
        week,
        "INSERT INTO corporate_actions (kind, symbol, session, effective_at, new_units, old_units, source, "
        "actor, withdrawn_at, withdrawn_by, withdrawn_reason) VALUES "
        "('split', 'AAPL', '2024-07-05', '2024-07-05T08:00Z', 2, 1, 'test', 'test', NULL, NULL, NULL), "
        "('split', 'AAPL', '2024-07-08', '2024-07-08T08:00Z', 2, 1, 'test', 'test', now(), 'test', 'no')",
    )
    beside = review(week, benchmark="AAPL").performance.benchmark
    assert beside is not None
    assert beside.total_return == pytest.approx(118 * 2 / 99 - 1)


def test_a_gap_in_the_benchmark_is_named_and_costs_the_two_returns_beside_it(week: sa.Engine) -> None:
    execute(week, "DELETE FROM bars WHERE symbol = 'SPY' AND session = '2024-07-03'")
    found = review(week, benchmark="SPY").performance
    assert found.benchmark is not None
    assert (found.benchmark.sessions, found.benchmark.total_return) == (2, None)
    assert any("SPY has no close in 2024-07-03" in note for note in found.notes)


def test_a_missing_session_leaves_out_what_needs_every_session(week: sa.Engine) -> None:
    execute(week, "DELETE FROM portfolio_snapshots WHERE session = '2024-07-03'")
    snapshot(week, "2024-07-05")
    snapshot(week, "2024-07-08")
    found: Performance = review(week, benchmark="SPY").performance
    unknown = {
        name: getattr(found, name)
        for name in ("annualised_return", "volatility", "sharpe_ratio", "sortino_ratio", "calmar_ratio")
    }
    assert set(unknown.values()) == {None}
    assert (found.max_drawdown, found.trades.turnover) == (None, None)
    assert found.benchmark is not None
    assert found.benchmark.beta is None
    assert found.total_return == pytest.approx(1.019 * (1003.6 / 1119) * (1103.6 / 1003.6) - 1)
    assert "There is no snapshot of 2024-07-03" in found.notes[0]
    assert review(week).gaps == [date(2024, 7, 3), date(2024, 7, 5)]


def test_money_that_came_in_a_missing_session_is_counted(week: sa.Engine) -> None:
    execute(week, "DELETE FROM portfolio_snapshots WHERE session = '2024-07-03'")
    execute(
        week,
        "INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at) "
        "VALUES (1, 'deposit', 50, 'second', '2024-07-03T14:00Z')",
    )
    for day in ("2024-07-05", "2024-07-08"):
        snapshot(week, day)
    found = review(week).performance
    assert (found.net_deposits, found.end_value) == (D(1150), D("1153.6"))
    assert found.total_return == pytest.approx(1.019 * (1053.6 / 1169) * (1153.6 / 1053.6) - 1)
    later = review(week, period=Period(first=date(2024, 7, 5))).performance
    assert (later.start_value, later.net_deposits) == (D(1019), D(150))
    assert later.total_return == pytest.approx((1053.6 / 1169) * (1153.6 / 1053.6) - 1)


def test_what_was_paid_in_grows_with_each_deposit(week: sa.Engine) -> None:
    assert review(week).paid_in == [D(1000), D(1000), D(1100), D(1100)]
    assert review(week, period=Period(first=date(2024, 7, 5))).paid_in == [D(1122), D(1122)]


def test_a_fill_that_came_after_the_snapshot_is_told(week: sa.Engine) -> None:
    execute(
        week,
        "INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, "
        "quantity, price, cumulative_quantity, executed_at) "
        "VALUES (1, 1, 1, 'late', 'AAPL', 'buy', 1, 110, 5, '2024-07-08T15:00Z')",
    )
    found = review(week).performance
    assert found.trades.unrealised_pnl is None
    assert any("2024-07-08 does not hold what the ledger says of AAPL" in note for note in found.notes)
    snapshot(week, "2024-07-08")
    assert review(week).performance.trades.unrealised_pnl == 8


def test_less_than_a_year_is_told(week: sa.Engine) -> None:
    assert "4 sessions are less than a year" in review(week).performance.notes[0]


def test_closes_come_for_the_sessions_of_the_review(week: sa.Engine) -> None:
    closes = session_closes(review(week), ["AAPL", "MSFT"], begin=partial(transaction, week))
    assert [close.price for close in closes["AAPL"]] == [105, 108, 95, 118]
    assert closes["MSFT"][0].session == date(2024, 7, 2)


def test_every_portfolio_with_a_snapshot_is_reviewed_in_the_same_statements(engine: sa.Engine) -> None:
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    begin = partial(transaction, engine)

    def reviewed() -> list[str]:
        statements.clear()
        found = review_portfolios(begin=begin, calendar=INDEPENDENCE_WEEK, benchmark="SPY")
        return [of.performance.portfolio for of in found]

    trade_the_week(engine)
    assert reviewed() == ["main"]
    of_one = len(statements)
    trade_the_week(engine, name="other")
    execute(engine, "INSERT INTO portfolios (broker_account_id, name) VALUES (1, 'empty')")
    execute(engine, "INSERT INTO cash_balances (portfolio_id, amount) SELECT max(id), 0 FROM portfolios")
    assert reviewed() == ["main", "other"]
    assert len(statements) == of_one


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "nobody"}, "no portfolio named 'nobody'"),
        ({"benchmark": "NOPE"}, "NOPE"),
        ({"benchmark": "IBM"}, "IBM has no daily bar from 2024-07-01 to 2024-07-08"),
        ({"period": Period(first=date(2024, 7, 5), last=date(2024, 7, 2))}, "before it starts on 2024-07-05"),
        ({"period": Period(first=date(2024, 7, 9))}, "main has no snapshot from 2024-07-09"),
        ({"period": Period(last=date(2024, 7, 1))}, "main has no snapshot to 2024-07-01"),
    ],
)
def test_what_cannot_be_reviewed_is_named(week: sa.Engine, options: dict[str, Any], sentence: str) -> None:
    execute(week, "INSERT INTO instruments (symbol) VALUES ('IBM')")
    with pytest.raises(InvalidInputError, match=sentence):
        review(week, **options)


def test_a_period_starts_with_the_total_before_it(week: sa.Engine) -> None:
    assert review(week).performance.start_value == 0
    assert review(week, period=Period(first=date(2024, 7, 5))).performance.start_value == 1022


def test_a_trip_that_ended_before_the_period_is_not_counted(week: sa.Engine) -> None:
    found = review(week, period=Period(first=date(2024, 7, 8)))
    assert [trip.symbol for trip in found.trips] == ["AAPL"]
    assert found.performance.trades.round_trips == 1


def test_nothing_can_be_earned_on_what_was_lost_whole(week: sa.Engine) -> None:
    execute(week, "UPDATE portfolio_snapshots SET total_return = -1 WHERE session <= '2024-07-03'")
    assert review(week, period=Period(first=date(2024, 7, 5))).performance.total_return is None


def test_a_short_position_is_exposure_too(week: sa.Engine) -> None:
    before = review(week).performance.exposure
    execute(week, "UPDATE portfolio_snapshot_positions SET quantity = -quantity, value = -value")
    assert review(week).performance.exposure == before


def test_each_portfolio_is_reviewed_up_to_its_own_last_snapshot(week: sa.Engine) -> None:
    trade_the_week(week, name="other")
    execute(week, "DELETE FROM portfolio_snapshots WHERE portfolio_id = 2 AND session = '2024-07-08'")
    main, other = review_portfolios(begin=partial(transaction, week), calendar=INDEPENDENCE_WEEK)
    assert {main.performance.start_value, other.performance.start_value} == {D(0)}
    assert main.performance.trades.realised_pnl == D("3.6")
    assert earned(other.performance.trades) == (1, 1, D("-56.4"), D("-40"))
