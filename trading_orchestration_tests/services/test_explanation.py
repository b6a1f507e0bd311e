"""Every number of a snapshot leads down to the rows that made it, on a week worked out by hand."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import partial

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.money import ZERO
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.explanation import Explanation, explain
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration_tests.conftest import NewDatabase
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
from trading_orchestration_tests.fixtures.traded_week import execute, snapshot, trade_the_week_in

D = Decimal
LATE_FILL = (
    "INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, "
    "quantity, price, cumulative_quantity, executed_at) VALUES (2, 1, 1, 'late', 'AAPL', 'buy', 1, 100, 5, "
    "'2024-07-03T15:00Z')"
)


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


def explained(engine: sa.Engine, day: str, name: str = "main") -> Explanation:
    begin = partial(transaction, engine)
    return explain(name, date.fromisoformat(day), begin=begin, calendar=INDEPENDENCE_WEEK)


@pytest.mark.parametrize("day", ["2024-07-02", "2024-07-03", "2024-07-05", "2024-07-08"])
def test_the_parts_add_up_to_the_total_to_the_last_digit(week: sa.Engine, day: str) -> None:
    found = explained(week, day)
    cash = sum((m.amount for m in found.movements), ZERO)
    cash += sum((line.amount for line in found.cash_of_symbols), ZERO)
    assert cash == found.snapshot.cash
    assert sum((p.holding.value for p in found.positions), ZERO) == found.snapshot.positions_value
    for position in found.positions:
        last = position.steps[-1]
        assert (last.holds, last.average_cost) == (position.holding.quantity, position.holding.average_cost)
    assert found.differences == []


def test_a_position_leads_to_its_fills_trades_decisions_signals_and_bars(week: sa.Engine) -> None:
    apple, _ = explained(week, "2024-07-03").positions
    assert (apple.holding.symbol, apple.unrealised_pnl, apple.holding.bar_source) == ("AAPL", D(24), "test")
    first, second = apple.steps
    assert (first.quantity, first.price, first.fee, first.cash_amount) == (D(4), D(100), D(1), D(-401))
    assert (second.holds, second.average_cost) == (D(8), D(105))
    assert first.trade is not None
    assert second.trade is not None
    assert [first.trade.strategy, second.trade.strategy] == ["trend", "reversal"]
    assert first.trade.signal is not None
    assert first.trade.signal["price"] == "100"
    assert first.trade.bar_close == 99


def test_what_a_symbol_did_to_cash_is_summed(week: sa.Engine) -> None:
    found = explained(week, "2024-07-08")
    assert {line.symbol: (line.entries, line.amount) for line in found.cash_of_symbols} == {
        "AAPL": (4, D("-1.4")),
        "MSFT": (2, D(5)),
    }
    assert found.positions == []


def test_a_position_begins_where_it_was_last_flat(week: sa.Engine) -> None:
    execute(week, LATE_FILL.replace("late", "again").replace("2024-07-03T15:00Z", "2024-07-08T15:00Z"))
    snapshot(week, "2024-07-08")
    (apple,) = explained(week, "2024-07-08").positions
    assert [step.quantity for step in apple.steps] == [1]


def test_a_sale_is_a_step_down(week: sa.Engine) -> None:
    (apple,) = explained(week, "2024-07-05").positions
    assert [step.quantity for step in apple.steps] == [4, 4, -4]


def test_the_close_is_the_daily_bars_or_else_the_last_minutes(week: sa.Engine) -> None:
    execute(
        week,
        "INSERT INTO bars (symbol, timeframe, starts_at, ends_at, session, open, high, low, close, volume, "
        "source) SELECT 'AAPL', 'minute', at, at + interval '1 minute', '2024-07-02', 105, 105, price, "
        "price, 0, 'minutes' FROM (VALUES (timestamptz '2024-07-02T19:58Z', 104), "
        "('2024-07-02T19:59Z', 105)) "
        "AS n (at, price)",
    )
    assert explained(week, "2024-07-02").positions[0].holding.bar_source == "test"
    execute(week, "DELETE FROM bars WHERE timeframe = 'day'")
    found = explained(week, "2024-07-02")
    assert (found.positions[0].holding.bar_timeframe, found.differences) == ("minute", [])


def test_the_trades_of_the_session_are_told_also_where_nothing_is_left_of_them(week: sa.Engine) -> None:
    assert [trade.symbol for trade in explained(week, "2024-07-05").trades_of_session] == ["AAPL", "MSFT"]
    assert explained(week, "2024-07-05").trades_of_session[0].strategy is None


def test_a_trade_that_was_never_filled_is_told_on_the_day_of_its_decision(week: sa.Engine) -> None:
    execute(
        week,
        "INSERT INTO trades (portfolio_id, broker_account_id, decision_id, symbol, side, order_type, "
        "time_in_force, quantity, client_order_id, reason, status, status_reason, decided_at, finalized_at) "
        "VALUES (1, 1, 6, 'SPY', 'buy', 'market', 'day', 1, 'refused', 'test', 'rejected', 'no money', "
        "'2024-07-08T14:00Z', '2024-07-08T14:00Z')",
    )
    refused = explained(week, "2024-07-08").trades_of_session[-1]
    assert (refused.status, refused.status_reason, refused.signal) == ("rejected", "no money", None)
    assert refused.symbol not in [t.symbol for t in explained(week, "2024-07-05").trades_of_session]


def test_an_adjustment_is_a_step_with_its_cause(week: sa.Engine) -> None:
    execute(
        week,
        "INSERT INTO adjustments (portfolio_id, symbol, quantity, unit_cost, cash_amount, cause, note, "
        "actor, occurred_at) VALUES "
        "(1, 'AAPL', 2, 0, 0, 'split', 'three for two', 'test', '2024-07-02T15:00Z'), "
        "(1, NULL, 0, NULL, -7, 'fee', 'custody', 'test', '2024-07-02T15:00Z')",
    )
    snapshot(week, "2024-07-02")
    found = explained(week, "2024-07-02")
    assert found.differences == []
    step = found.positions[0].steps[1]
    assert (step.kind, step.cause, step.note, step.trade) == ("adjustment", "split", "three for two", None)
    assert found.cash_of_symbols[-1].symbol is None
    assert found.cash_of_symbols[-1].amount == -7


def test_a_late_fill_and_a_corrected_bar_are_told(week: sa.Engine) -> None:
    execute(week, LATE_FILL)
    execute(week, "UPDATE bars SET close = 50, high = 51 WHERE symbol = 'MSFT' AND session = '2024-07-03'")
    assert explained(week, "2024-07-03").differences == [
        "It is stale. A fill of AAPL executed at 2024-07-03 15:00 UTC was booked later.",
        "The snapshot has 109 in cash, the ledger 9.",
        "The snapshot holds 8 AAPL, the ledger 9.",
        "The snapshot values MSFT at 49, its bar now closes at 50.",
    ]
    assert explained(week, "2024-07-02").differences == []


def test_a_bar_that_is_gone_is_told(week: sa.Engine) -> None:
    execute(week, "DELETE FROM bars WHERE symbol = 'MSFT' AND session = '2024-07-03'")
    assert explained(week, "2024-07-03").differences == [
        "It is stale. The close of MSFT in 2024-07-03 is gone.",
        "MSFT has no bar of 2024-07-03.",
    ]


def test_the_statements_do_not_grow_with_the_history(week: sa.Engine) -> None:
    statements: list[str] = []
    sa.event.listen(week, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for day in ("2024-07-02", "2024-07-05"):
        statements.clear()
        explained(week, day)
        counts.append(len(statements))
    assert counts == [6, 6]


@pytest.mark.parametrize(
    ("name", "day", "sentence"),
    [
        ("nobody", "2024-07-03", "no portfolio named 'nobody'"),
        ("main", "2024-07-04", "2024-07-04"),
        ("main", "2024-07-01", "main has no snapshot of 2024-07-01"),
    ],
)
def test_what_cannot_be_explained_is_named(week: sa.Engine, name: str, day: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        explained(week, day, name)
