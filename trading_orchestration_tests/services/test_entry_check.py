"""Every limit on entries holds twice: when they are decided, and again before the order is sent."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import Side
from trading_orchestration.services import entry_obstacles
from trading_orchestration_tests.services.trading_world import AAPL, IBM, MSFT, TradingWorld

Change = Callable[[TradingWorld], object]


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """Half an hour after the open, `main` holds 100 AAPL bought at 200."""
    world = TradingWorld(engine)
    for symbol, price in ((AAPL, "200"), (MSFT, "400"), (IBM, "150")):
        world.set_price(symbol, price)
    world.intend(quantity=100)
    world.check()
    world.execute()
    return world


def sql(statement: str) -> Change:
    return lambda world: world.rows(f"{statement} RETURNING 1")


def age_quotes(where: str) -> Change:
    return sql(f"UPDATE quotes SET quoted_at = quoted_at - interval '16 minutes' WHERE {where}")


def fall_by_a_tenth(world: TradingWorld) -> None:
    world.set_price(AAPL, "149")


def drawdown(world: TradingWorld) -> None:
    world.rows("UPDATE portfolios SET max_drawdown_pct = 0.1 RETURNING 1")
    world.rows(
        "INSERT INTO portfolio_snapshots (portfolio_id, session, cash, positions_value, total_value, "
        "gross_value, position_count, net_deposits, total_return, valued_at) "
        "VALUES (:id, '2024-07-01', 120000, 0, 120000, 0, 0, 0, 0.2, '2024-07-01T20:00Z') RETURNING 1",
        id=world.ids["main"],
    )


#: What happens between decision and order, what is then told, and the rule for which trading is halted.
BROKEN: dict[str, tuple[Change, str, str | None]] = {
    "a symbol's price is too old": (age_quotes("symbol = 'MSFT'"), "No price of MSFT is younger", None),
    "all prices are too old": (age_quotes("true"), "Prices have stopped", "stale prices"),
    "a holding has no price": (age_quotes("symbol = 'AAPL'"), "equity is unknown", None),
    "the price left the collar": (
        sql("UPDATE quotes SET previous_close = 200 WHERE symbol = 'MSFT'"),
        "prices are believed unseen within 30%",
        None,
    ),
    "the day's loss is reached": (fall_by_a_tenth, "since the open", "daily loss"),
    "the drawdown is reached": (drawdown, "below the highest value", "drawdown"),
    "too many orders were sent": (
        lambda _: setattr(entry_obstacles, "ORDERS_PER_HOUR_MAX", 2),
        "2 orders came within an hour",
        "order rate",
    ),
    "the books are not compared": (
        sql("UPDATE broker_accounts SET reconciled_at = NULL"),
        "position_sync comes first",
        None,
    ),
    "positions are too many": (sql("UPDATE portfolios SET max_positions = 1"), "the limit is 1", None),
    "the position is too large": (
        sql("UPDATE portfolios SET max_position_pct = 0.03"),
        "10 MSFT at 400 would now be 4.00% of equity; the limit is 3.00%.",
        None,
    ),
    "its reserve no longer pays for it": (lambda w: w.quote(MSFT, "420.01"), "MSFT rose to 420.01", None),
    "somebody halted trading": (lambda w: w.halt(), "Trading is halted", None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_between_decision_and_order_keeps_the_entry_back_and_lets_exits_go(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch, case: str
):
    monkeypatch.setattr(entry_obstacles, "ORDERS_PER_HOUR_MAX", entry_obstacles.ORDERS_PER_HOUR_MAX)
    change, told, rule = BROKEN[case]
    entry = world.intend(symbol=MSFT, reserved=4_200)
    exit_ = world.intend(Side.SELL, 40)
    change(world)
    world.send()
    assert world.status(exit_)[0] == "submitted"
    assert world.status(entry) == ("cancelled", 0)
    assert told in world.trade(entry)["status_reason"]
    rows = world.rows("SELECT actor FROM halts WHERE actor <> 'test'")
    assert [row["actor"] for row in rows] == ([rule] if rule else [])
    assert world.trade(entry)["reserved_cash"] == 0
    assert any(told in row["body"] for row in world.rows("SELECT body FROM notifications"))


def test_an_entry_that_breaks_nothing_is_sent(world: TradingWorld):
    entry = world.intend(symbol=MSFT, reserved=4_200)
    world.rows("UPDATE portfolios SET max_positions = 2, max_position_pct = 0.0386 RETURNING 1")
    world.quote(MSFT, "400.99")
    world.send()
    assert world.status(entry)[0] == "submitted", "the buffer for moving prices counts for the share, too"


def test_prices_that_stop_halt_once_a_session_and_not_before_they_could_have_come(world: TradingWorld):
    world.now = world.calendar.sessions[2].opens_at
    world.execute()
    assert world.halts() == [], "yesterday's prices at the open are no fault"
    world.advance(timedelta(minutes=15, seconds=1))
    for _ in range(2):
        world.execute()
        assert [halt.split(":")[0] for halt in world.halts()] == ["Prices have stopped"]
    world.rows("UPDATE halts SET resumed_at = now(), resumed_by = 'x', resumed_reason = 'y' RETURNING 1")
    world.advance(timedelta(minutes=15))
    world.execute()
    assert world.halts() == [], "a person has looked"


def test_a_duplicated_decision_is_refused_by_the_database(world: TradingWorld):
    """The guard that no bug above it can get around."""
    tick = world.tick
    world.add_strategy()
    world.execute(tick)
    rows = "SELECT portfolio_id, strategy_id, tick, session, equity, cash, signals FROM decisions"
    with pytest.raises(sa.exc.IntegrityError, match="one_decision_per_portfolio_strategy_and_tick"):
        world.rows(
            "INSERT INTO decisions (portfolio_id, strategy_id, tick, session, equity, cash, signals) "
            f"{rows} WHERE tick = :tick RETURNING 1",
            tick=tick.at,
        )


def test_a_second_order_for_one_decision_is_refused_by_the_database(world: TradingWorld):
    world.intend(quantity=1)
    with pytest.raises(sa.exc.IntegrityError, match="client_order_id"):
        world.rows(
            "INSERT INTO trades (portfolio_id, broker_account_id, decision_id, symbol, side, order_type, "
            "time_in_force, quantity, client_order_id, reason, decided_at) SELECT portfolio_id, "
            "broker_account_id, decision_id, symbol, side, order_type, time_in_force, quantity, "
            "client_order_id, reason, decided_at FROM trades RETURNING 1"
        )
