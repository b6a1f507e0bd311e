"""Our books converge to the broker's in one pass, and nothing large is repaired unseen."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import BrokerPosition, BrokerSession
from trading_orchestration.brokers.paper_account import deposit, withdraw
from trading_orchestration.domain.round_trip import keep_book
from trading_orchestration.domain.trade import Fill, OrderTerms, Side
from trading_orchestration.errors import BrokerNotAuthorizedError
from trading_orchestration.store import ledger, portfolios
from trading_orchestration_tests.services.scripted_broker import ScriptedBroker
from trading_orchestration_tests.services.trading_world import AAPL, CASH, IBM, MSFT, TradingWorld

SETTLED = timedelta(seconds=10)
DAY = date(2024, 7, 2)
CLOSES_EARLY = datetime(2024, 7, 2, 17, tzinfo=UTC)


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """Two portfolios on one account: `main` holds 10 AAPL, `second` 30."""
    world = TradingWorld(engine, "main", "second")
    for symbol, price in ((AAPL, "200"), (MSFT, "400"), (IBM, "150")):
        world.set_price(symbol, price)
    world.intend(quantity=10)
    world.intend(quantity=30, portfolio="second")
    world.check()
    world.advance(SETTLED)
    return world


def by_hand(world: TradingWorld, quantity: int, symbol: str = AAPL, side: Side = Side.BUY) -> None:
    """Somebody trades at the broker, past us."""
    terms = OrderTerms(symbol=symbol, side=side, quantity=Decimal(quantity))
    world.paper.submit_order(f"by-hand-{world.now.isoformat()}", terms)
    world.advance(SETTLED)


def resume(world: TradingWorld) -> None:
    with world.begin() as connection:
        for portfolio_id in world.ids.values():
            portfolios.end_halt(
                connection, portfolio_id=portfolio_id, reason="looked", actor="test", at=world.now
            )


def adjustments(world: TradingWorld) -> list[tuple[str, str | None, Any, Any]]:
    rows = world.rows(
        "SELECT p.name, a.symbol, a.quantity, a.cash_amount FROM adjustments a "
        "JOIN portfolios p ON p.id = a.portfolio_id ORDER BY a.id"
    )
    return [(row["name"], row["symbol"], row["quantity"], row["cash_amount"]) for row in rows]


def positions(world: TradingWorld) -> list[tuple[Any, Any, Any]]:
    rows = world.rows("SELECT quantity, average_cost, realised_pnl FROM positions ORDER BY portfolio_id")
    return [(row["quantity"], row["average_cost"], row["realised_pnl"]) for row in rows]


def discrepancies(world: TradingWorld) -> list[tuple[str | None, Any, str, str]]:
    rows = world.rows("SELECT symbol, difference, cause, resolution FROM discrepancies ORDER BY id")
    return [(row["symbol"], row["difference"], row["cause"], row["resolution"]) for row in rows]


def test_books_that_agree_are_compared_and_left_alone(world: TradingWorld):
    before = world.state()
    assert world.sync().counts == {"portfolios": 2, "compared": 2, "discrepancies": 0, "repaired": 0}
    assert world.state() == before
    assert world.account.account_number == world.account_number
    (row,) = world.rows("SELECT reconciled_at FROM broker_accounts")
    assert row["reconciled_at"] == world.now


def test_a_portfolio_alone_differs_from_the_account_and_that_is_no_discrepancy(world: TradingWorld):
    """Each portfolio holds less than the broker does; only the sum counts."""
    assert world.held() == {("main", AAPL): 10, ("second", AAPL): 30}
    assert world.sync().counts["discrepancies"] == 0


def test_a_trade_by_hand_is_repaired_in_one_pass_with_its_cause(world: TradingWorld):
    by_hand(world, 4)
    report = world.sync()
    assert report.counts == {"portfolios": 2, "compared": 2, "discrepancies": 2, "repaired": 2}
    assert discrepancies(world) == [
        (AAPL, 4, "manual_trade", "adjusted"),
        (None, -800, "manual_trade", "adjusted"),
    ]
    assert [entry for entry in adjustments(world) if entry[1] == AAPL] == [
        ("main", AAPL, 1, 0),
        ("second", AAPL, 3, 0),
    ]
    world.assert_books_agree()
    before = world.state()
    assert world.sync().counts["discrepancies"] == 0
    assert world.state() == before


def test_a_symbol_we_never_held_and_a_sale_by_hand_are_repaired(world: TradingWorld):
    by_hand(world, 5, MSFT)
    by_hand(world, 8, AAPL, Side.SELL)
    world.sync()
    world.assert_books_agree()
    assert world.held() == {("main", AAPL): 8, ("second", AAPL): 24, ("main", MSFT): 5}
    assert world.sync().counts["discrepancies"] == 0


def test_every_repair_says_why_who_and_by_what_it_was_found(world: TradingWorld):
    by_hand(world, 4)
    world.sync()
    rows = world.rows(
        "SELECT a.note, a.actor, a.cause, a.occurred_at, d.run_id FROM adjustments a "
        "JOIN discrepancies d ON d.id = a.discrepancy_id WHERE a.symbol IS NOT NULL"
    )
    assert {row["note"] for row in rows} == {"The broker has 44 AAPL, our books 40."}
    assert {(row["actor"], row["cause"], row["occurred_at"]) for row in rows} == {
        ("position_sync", "manual_trade", world.now)
    }
    assert all(row["run_id"].startswith("run-") for row in rows)
    assert "The broker has 44 AAPL, our books 40." in world.titles()


def test_a_fill_that_was_missed_is_booked_and_not_adjusted(world: TradingWorld):
    """Its trade was given up, and its execution lies further back than any check still reads."""
    trade = world.intend(quantity=6, limit="190", portfolio="second")
    world.send()
    world.set_price(AAPL, "190")
    world.broker.chaos = 1.0  # it lists nothing
    world.close_market()
    world.check()
    assert world.status(trade) == ("cancelled", 0)
    assert "of which it lists 0" in world.trade(trade)["status_reason"]
    world.broker.chaos = 0.0
    assert world.sync().counts["discrepancies"] == 0
    assert world.status(trade) == ("cancelled", 6)
    (fill,) = world.rows("SELECT is_late, price FROM fills WHERE trade_id = :id", id=trade)
    assert (fill["is_late"], fill["price"]) == (True, 190)
    assert adjustments(world) == []
    world.assert_books_agree()


def test_a_search_for_missed_fills_leaves_open_trades_to_the_order_check(world: TradingWorld):
    """Their day is over and not all of their executions are there: that is not for the sync to say."""
    trade = world.intend(quantity=5, symbol=MSFT)
    world.send()
    by_hand(world, 2, IBM)
    world.close_market()
    world.sync()
    assert world.status(trade) == ("submitted", 0)
    world.check()
    assert world.status(trade) == ("filled", 5)


def test_a_fill_that_comes_after_its_repair_is_repaired_back(world: TradingWorld):
    """A sale of everything that the broker lists late: to repair it needs no cost that nobody knows."""
    trade = world.intend(Side.SELL, 10, limit="210")
    world.send()
    world.set_price(AAPL, "210")
    world.broker.chaos = 1.0  # it lists nothing
    world.close_market()
    world.check()
    assert world.sync().counts["repaired"] == 2
    world.assert_books_agree()
    world.broker.chaos = 0.0
    world.advance(SETTLED)
    world.intend(Side.SELL, 1, symbol=IBM)  # another discrepancy makes it look
    deposit(world.engine, world.account_number, Decimal(7), reference="interest")
    world.check()
    world.advance(SETTLED)
    assert world.sync().counts["repaired"] > 0
    assert world.status(trade) == ("cancelled", 10)
    world.assert_books_agree()
    assert world.sync().counts["discrepancies"] == 0


def test_a_symbol_in_flight_and_cash_with_it_are_not_compared(world: TradingWorld):
    by_hand(world, 4)
    world.intend(limit="100")
    world.check()
    assert world.sync().counts["discrepancies"] == 0
    assert discrepancies(world) == []


def test_books_that_moved_a_moment_ago_are_not_compared(world: TradingWorld):
    world.intend(quantity=1)
    world.check()
    assert discrepancies(world) == []
    world.broker.account = lambda account: account
    by_hand(world, 4)
    world.now -= SETTLED  # the fill of ours is not five seconds old
    assert world.sync().counts["discrepancies"] == 0
    world.advance(SETTLED)
    assert world.sync().counts["discrepancies"] == 2


@pytest.mark.parametrize("is_filled", [False, True])
def test_books_that_move_while_the_broker_is_asked_are_left_to_the_next_tick(
    world: TradingWorld, is_filled: bool
):
    by_hand(world, 4)
    asked = ScriptedBroker.get_positions

    def trade_meanwhile(broker: ScriptedBroker) -> Sequence[BrokerPosition]:
        answer = asked(broker)
        world.intend(quantity=1)
        if is_filled:
            world.check()
            world.advance(SETTLED)
        return answer

    world.broker.get_positions = lambda: trade_meanwhile(world.broker)  # type: ignore[method-assign]
    assert world.sync().counts["discrepancies"] == 0
    assert discrepancies(world) == []
    del world.broker.get_positions
    world.check()
    world.advance(SETTLED)
    assert world.sync().counts["repaired"] == 2
    world.assert_books_agree()


def test_an_empty_answer_is_not_flat(world: TradingWorld):
    world.broker.positions = []
    report = world.sync()
    assert "lists no position" in report.problems[0]
    assert world.held() == {("main", AAPL): 10, ("second", AAPL): 30}


def test_a_broker_that_does_not_answer_changes_nothing(world: TradingWorld):
    world.broker.is_down = True
    before = world.state()
    assert len(world.sync().problems) == 1
    assert world.state() == before


def test_the_books_of_another_account_are_never_compared(world: TradingWorld):
    other = TradingWorld(world.engine, "other")
    world.broker.inner = other.paper
    with pytest.raises(BrokerNotAuthorizedError, match=other.account_number):
        world.sync()
    assert discrepancies(world) == []


def test_a_large_difference_halts_and_is_stored_once(world: TradingWorld):
    by_hand(world, 60)  # 12,000 of an account of 200,000
    assert world.sync().counts == {"portfolios": 2, "compared": 2, "discrepancies": 2, "repaired": 0}
    assert [entry[2:] for entry in discrepancies(world)] == [("manual_trade", "halted")] * 2
    assert len(world.halts()) == 2
    assert all("too much to repair unseen" in reason for reason in world.halts())
    before = world.state()
    world.advance(timedelta(minutes=5))
    assert world.sync().counts["discrepancies"] == 2
    assert world.state() == before


def test_what_trading_was_halted_for_is_repaired_once_a_person_has_resumed(world: TradingWorld):
    by_hand(world, 60)
    world.sync()
    resume(world)
    assert world.sync().counts["repaired"] == 2
    world.assert_books_agree()
    assert world.halts() == []
    (row, *_) = world.rows("SELECT note FROM adjustments")
    assert "resumed after it was told of" in row["note"]


def test_a_second_difference_after_a_resumed_one_halts_again(world: TradingWorld):
    by_hand(world, 60)
    world.sync()
    resume(world)
    by_hand(world, 60)
    world.sync()
    assert len(world.halts()) == 2
    assert adjustments(world) == []


def test_many_small_differences_together_are_a_large_one(world: TradingWorld):
    """Three of 4 % each: none is repaired unseen."""
    by_hand(world, 40, AAPL)
    by_hand(world, 20, MSFT)
    by_hand(world, 53, IBM)
    world.sync()
    assert {entry[3] for entry in discrepancies(world)} == {"halted"}


def test_a_holding_without_a_quote_is_worth_what_it_cost(world: TradingWorld):
    """It would count for nothing otherwise, and its loss be repaired unseen."""
    world.intend(quantity=60)
    world.check()
    world.advance(SETTLED)
    world.rows("DELETE FROM quotes RETURNING symbol")
    world.broker.positions = [BrokerPosition(symbol=IBM, quantity=Decimal(1), average_entry_price=Decimal(1))]
    world.sync()
    assert (AAPL, -100, "unknown", "halted") in discrepancies(world)


def test_a_split_changes_quantities_and_leaves_what_was_paid(world: TradingWorld):
    world.broker.positions = [
        BrokerPosition(symbol=AAPL, quantity=Decimal(160), average_entry_price=Decimal(50))
    ]
    world.sync()
    assert discrepancies(world) == [(AAPL, 120, "split", "adjusted")]
    assert positions(world) == [(40, 50, 0), (120, 50, 0)]
    assert world.halts() == []
    world.assert_books_are_right()
    with world.begin() as connection:
        entries = ledger.position_entries(connection, until=world.now)[world.ids["main"], AAPL]
    (trip,) = keep_book(AAPL, [(e, "trend" if isinstance(e, Fill) else None) for e in entries]).trips
    assert (trip.owner, trip.closed_at, trip.quantity, trip.entry_price) == (
        "trend",
        None,
        Decimal(40),
        Decimal(50),
    )


def test_a_split_changes_a_short_holding_by_as_much(world: TradingWorld):
    world.intend(side=Side.SELL, quantity=34, portfolio="second")
    world.check()
    world.advance(SETTLED)
    assert positions(world) == [(10, 200, 0), (-4, 200, 0)]
    world.broker.positions = [
        BrokerPosition(symbol=AAPL, quantity=Decimal(24), average_entry_price=Decimal(50))
    ]
    world.sync()
    assert discrepancies(world) == [(AAPL, 18, "split", "adjusted")]
    assert positions(world) == [(40, 50, 0), (-16, 50, 0)]
    world.assert_books_are_right()


def test_a_reverse_split_too(world: TradingWorld):
    world.broker.positions = [
        BrokerPosition(symbol=AAPL, quantity=Decimal(20), average_entry_price=Decimal(400))
    ]
    world.sync()
    assert discrepancies(world) == [(AAPL, -20, "split", "adjusted")]
    assert positions(world) == [(5, 400, 0), (15, 400, 0)]
    world.assert_books_are_right()


def test_cash_within_a_cent_is_the_same(world: TradingWorld):
    deposit(world.engine, world.account_number, Decimal("0.01"), reference="interest")
    assert world.sync().counts["discrepancies"] == 0
    deposit(world.engine, world.account_number, Decimal("0.000000001"), reference="more")
    assert world.sync().counts["repaired"] == 1
    assert sum(entry[3] for entry in adjustments(world)) == Decimal("0.010000001")
    world.assert_books_agree()


def test_cash_that_left_is_taken_from_the_portfolios_in_proportion(world: TradingWorld):
    withdraw(world.engine, world.account_number, Decimal(1920), reference="fees", now=world.now)
    world.sync()
    assert discrepancies(world) == [(None, -1920, "unknown", "adjusted")]
    assert (world.cash("main"), world.cash("second")) == (CASH - 2000 - 980, CASH - 6000 - 940)
    world.assert_books_agree()


@pytest.mark.parametrize(
    ("clock_s", "hours", "told"),
    [
        (16, {}, "The broker's clock and ours are 16 s apart"),
        (-16, {}, "The broker's clock and ours are 16 s apart"),
        (0, {"session": date(2024, 7, 5)}, "The broker says that 2024-07-02 is no session"),
        (0, {"closes_at": CLOSES_EARLY}, "is open 13:30 to 17:00 UTC; by our calendar it is open 13:30 to"),
    ],
)
def test_a_broker_that_keeps_other_hours_is_not_traded_with(
    world: TradingWorld, clock_s: int, hours: dict[str, Any], told: str
):
    clock, calendar = world.paper.get_clock(), world.paper.get_calendar(first=DAY, last=DAY)
    world.broker.get_clock = lambda: replace(clock, now=world.now + timedelta(seconds=clock_s))  # type: ignore[method-assign]
    world.broker.get_calendar = lambda **_: [replace(calendar[0], **hours)]  # type: ignore[method-assign]
    world.sync()
    assert len(world.halts()) == 2
    assert told in world.halts()[0]
    resume(world)
    world.sync()
    assert world.halts() == [], "a person has looked; it is asked again in the next session"


def test_hours_are_compared_once_a_session(world: TradingWorld):
    world.sync()
    world.broker.get_clock = None  # type: ignore[assignment, method-assign]
    assert world.sync().problems == []
    world.now = world.calendar.sessions[2].opens_at
    assert "NoneType" in world.sync().problems[0]


def test_the_next_session_is_compared_at_the_close_and_what_was_looked_at_is_not_halted_for_again(
    world: TradingWorld,
) -> None:
    calendar, asked = world.calendar, world.broker.get_calendar
    today, tomorrow = calendar.sessions[1], calendar.sessions[2]

    def closed_tomorrow(**dates: date) -> list[BrokerSession]:
        return [one for one in asked(**dates) if one.session != tomorrow.date]

    world.broker.get_calendar = closed_tomorrow  # type: ignore[method-assign]
    world.sync()
    assert world.halts() == []
    assert world.titles()[-1] == "The broker will keep other hours than we do"
    world.now = today.closes_at + timedelta(minutes=5)
    world.sync()
    assert len(world.halts()) == 2
    assert f"{tomorrow.date} is no session" in world.halts()[0]
    resume(world)
    world.now = tomorrow.opens_at
    world.sync()
    assert world.halts() == [], "a person has looked at this difference"
