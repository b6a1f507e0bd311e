"""What the broker says about an order is booked once, whatever it says, in whatever order, however often."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import OrderStatus
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.errors import BrokerNotAuthorizedError, BrokerUnavailableError, LedgerError
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.store import ledger, trades
from trading_orchestration_tests.services.scripted_broker import with_status
from trading_orchestration_tests.services.trading_world import AAPL, CASH, MSFT, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """One price fills two fifths of an order."""
    world = TradingWorld(engine, settings=PaperSettings(partial_fill_fraction=Decimal("0.4")))
    world.set_price(AAPL, "200")
    return world


def hide_executions(world: TradingWorld, *numbers: int) -> None:
    """Hide some of the executions that there are, by their order in time."""
    known = world.paper.list_executions(after=world.now - timedelta(days=1))
    world.broker.hidden = {known[number].execution_id for number in numbers}


def fills(world: TradingWorld, trade_id: int) -> list[tuple[Any, Any, bool]]:
    rows = world.rows(
        "SELECT quantity, cumulative_quantity, is_late FROM fills WHERE trade_id = :id ORDER BY id",
        id=trade_id,
    )
    return [(row["quantity"], row["cumulative_quantity"], row["is_late"]) for row in rows]


def test_an_accepted_order_is_not_a_filled_one(world: TradingWorld):
    trade = world.intend()
    world.send()
    assert world.status(trade) == ("submitted", 0)
    assert world.held() == {}


def test_partial_fills_add_up_and_each_counts_once(world: TradingWorld):
    trade = world.intend()
    assert world.check().counts == {"checked": 1, "partially_filled": 1, "rejected": 0}
    assert world.status(trade) == ("partially_filled", 4)
    before = world.state()
    world.check()
    assert world.state() == before
    world.set_price(AAPL, "201")
    world.check()
    world.set_price(AAPL, "202")
    assert world.check().counts["filled"] == 1
    assert fills(world, trade) == [(4, 4, False), (4, 8, False), (2, 10, False)]
    assert world.titles() == [
        "buy 10 AAPL was sent to the broker",
        "bought 4 of 10 AAPL at 200",
        "bought 4 of 10 AAPL at 201",
        "bought 2 of 10 AAPL at 202",
    ]
    assert world.cash() == CASH - 4 * 200 - 4 * 201 - 2 * 202
    world.assert_books_agree()


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
def test_an_order_that_ends_half_filled_keeps_its_fills(world: TradingWorld, ending: str):
    trade = world.intend()
    world.check()
    if ending == "cancelled":
        world.paper.cancel_order(world.trade(trade)["broker_order_id"])
    else:
        world.close_market()
    assert world.check().counts["cancelled"] == 1
    assert world.status(trade) == (ending, 4)
    assert world.trade(trade)["reserved_cash"] == 0
    assert world.trade(trade)["status_reason"] == f"The broker says {ending}."
    world.assert_books_agree()


def test_a_closed_order_is_final_only_once_all_its_executions_are_there(world: TradingWorld):
    """Else the fill that is still to come would be late, and the cash be spent again meanwhile."""
    trade = world.intend()
    world.send()
    world.set_price(AAPL, "201")
    world.paper.cancel_order(world.trade(trade)["broker_order_id"])
    hide_executions(world, 0)
    world.check()
    assert world.status(trade) == ("partially_filled", 4)
    world.broker.hidden = set()
    world.check()
    assert world.status(trade) == ("cancelled", 8)
    world.assert_books_agree()


def test_a_fill_after_the_end_is_booked_flagged_and_told_and_changes_no_status(world: TradingWorld):
    trade = world.intend()
    world.send()
    world.paper.cancel_order(world.trade(trade)["broker_order_id"])
    hide_executions(world, 0)
    world.broker.order = lambda order: replace(order, filled_quantity=Decimal(0))
    world.check()
    assert world.status(trade) == ("cancelled", 0)
    world.broker.hidden = set()
    world.check()
    assert world.status(trade) == ("cancelled", 4)
    assert fills(world, trade) == [(4, 4, True)]
    assert "buy 10 AAPL was filled after it was cancelled" in world.titles()
    world.assert_books_agree()


def test_an_execution_that_becomes_visible_late_changes_average_cost_as_if_it_had_come_in_time(
    world: TradingWorld,
):
    first, second = world.intend(), world.intend(Side.BUY, 5)
    world.send()
    world.set_price(AAPL, "260")
    world.intend(Side.SELL, 5)
    world.set_price(AAPL, "240")
    world.check()
    hide_executions(world, 0)
    world.set_price(AAPL, "250")
    world.broker.hidden = set()
    world.check()
    assert {world.status(trade)[0] for trade in (first, second)} == {"filled"}
    world.assert_books_agree()


def test_executions_that_come_twice_shuffled_and_with_gaps_are_booked_once_each(world: TradingWorld):
    placed = [world.intend(quantity=quantity) for quantity in (10, 7, "3.3")]
    world.broker.chaos = 0.4
    for price in range(200, 210):
        world.set_price(AAPL, str(price))
        world.check()
        world.assert_books_are_right()
    world.broker.chaos = 0
    world.check()
    assert [world.status(trade) for trade in placed] == [
        ("filled", 10),
        ("filled", 7),
        ("filled", Decimal("3.3")),
    ]
    world.assert_books_agree()


def test_two_workers_that_settle_at_once_book_each_execution_once(world: TradingWorld):
    """Each has read the same unbooked executions before it comes to hold the portfolio."""
    trade = world.intend()
    world.send()
    world.set_price(AAPL, "201")
    world.set_price(AAPL, "202")
    with ThreadPoolExecutor(4) as pool:
        reports = [pool.submit(world.trading().update_trade_status) for _ in range(4)]
    assert sum(report.result().counts["filled"] for report in reports) == 1
    assert world.halts() == []
    assert len(fills(world, trade)) == 3
    world.assert_books_agree()


def test_an_execution_beyond_the_quantity_is_refused_and_halts(world: TradingWorld):
    trade = world.intend()
    world.check()
    (known,) = world.paper.list_executions(after=world.now - timedelta(days=1))
    more = replace(known, execution_id="more", quantity=Decimal(7), cumulative_quantity=Decimal(11))
    world.broker.more_executions = [more]
    world.check()
    assert world.status(trade) == ("partially_filled", 4)
    assert "beyond its 10, of which 4 are filled" in world.halts()[0]
    before = world.state()
    world.check()
    assert world.state() == before
    world.broker.order = with_status(OrderStatus.FILLED, "filled")
    world.check()
    assert world.status(trade) == ("cancelled", 4)
    world.assert_books_are_right()


@pytest.mark.parametrize("change", [{"symbol": MSFT}, {"side": Side.SELL}, {"price": Decimal("1e-10")}])
def test_an_execution_that_is_not_what_the_trade_asked_for_is_refused_and_halts(
    world: TradingWorld, change: dict[str, object]
):
    trade = world.intend()
    world.check()
    (known,) = world.paper.list_executions(after=world.now - timedelta(days=1))
    world.broker.more_executions = [replace(known, execution_id="odd", **change)]  # type: ignore[arg-type]
    world.check()
    assert world.status(trade) == ("partially_filled", 4)
    assert f"trade {trade}" in world.halts()[0]


def test_a_price_with_more_places_than_the_ledger_is_rounded(world: TradingWorld):
    trade = world.intend()
    world.check()
    (known,) = world.paper.list_executions(after=world.now - timedelta(days=1))
    finer = replace(
        known,
        execution_id="finer",
        quantity=Decimal(1),
        price=Decimal("200.1234567895"),
        fee=Decimal("1e-10"),
    )
    world.broker.more_executions = [finer]
    world.check()
    (row,) = world.rows("SELECT price, fee FROM fills WHERE trade_id = :id AND quantity = 1", id=trade)
    assert (row["price"], row["fee"]) == (Decimal("200.123456790"), 0)
    world.assert_books_are_right()


def test_an_unknown_status_counts_as_open_and_is_told_once(world: TradingWorld):
    trade = world.intend()
    world.check()
    world.broker.order = with_status(OrderStatus.UNRECOGNISED, "on_the_moon")
    world.check()
    world.check()
    assert world.status(trade) == ("partially_filled", 4)
    assert [title for title in world.titles() if "on_the_moon" in title] == [
        f"The broker says 'on_the_moon' of trade {trade}"
    ]


def test_a_fill_that_the_broker_takes_back_is_told(world: TradingWorld):
    trade = world.intend()
    world.check()
    world.broker.order = lambda order: replace(order, filled_quantity=Decimal(1))
    world.check()
    assert f"The broker took back a fill of trade {trade}" in world.titles()


@pytest.mark.parametrize("is_filled_before", [False, True])
def test_a_replaced_order_lives_on_under_its_new_name(world: TradingWorld, is_filled_before: bool):
    """Somebody changed it at the broker: a chain of two replacements."""
    trade = world.intend(limit="190")
    world.send()
    if is_filled_before:
        world.set_price(AAPL, "190")
        world.check()
    old = world.trade(trade)["broker_order_id"]
    terms = OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(6 if is_filled_before else 10))
    new = world.paper.submit_order("by-hand", terms)
    original = world.paper.get_order(old)
    assert original is not None
    between = replace(original, broker_order_id="between", replaced_by=new.broker_order_id, replaces=old)
    world.broker.more_orders = [
        replace(between, status=OrderStatus.REPLACED, vendor_status="replaced"),
        replace(original, status=OrderStatus.REPLACED, vendor_status="replaced", replaced_by="between"),
    ]
    world.paper.cancel_order(old)
    for price in ("201", "202", "203"):
        world.check()
        world.set_price(AAPL, price)
    world.check()
    assert world.status(trade) == ("filled", 10)
    assert world.trade(trade)["broker_order_id"] == old
    world.assert_books_agree()


def test_the_orders_of_another_account_say_nothing_about_ours(world: TradingWorld):
    """Keys of another account: our order is unknown there, and that ends no trade of ours."""
    trade = world.intend(limit="190")
    world.send()
    world.close_market()
    other = TradingWorld(world.engine, "other")
    world.broker.inner = other.paper
    with pytest.raises(BrokerNotAuthorizedError, match=other.account_number):
        world.check()
    assert world.status(trade) == ("submitted", 0)


def test_an_order_the_broker_no_longer_knows_is_expired_after_the_day(world: TradingWorld):
    trade = world.intend()
    world.send()
    world.broker.get_order = lambda _: None  # type: ignore[assignment, method-assign]
    world.broker.list_open_orders = list  # type: ignore[method-assign]
    world.broker.hidden = {world.trade(trade)["client_order_id"]}
    hidden_executions = world.paper.list_executions(after=world.now - timedelta(days=1))
    world.broker.hidden |= {execution.execution_id for execution in hidden_executions}
    world.check()
    assert world.status(trade) == ("submitted", 0)
    world.close_market()
    world.check()
    assert world.status(trade) == ("expired", 0)
    assert world.trade(trade)["status_reason"] == "The broker no longer knows the order."


def test_an_order_that_only_the_list_of_the_day_knows_is_not_given_up(world: TradingWorld):
    trade = world.intend()
    world.send()
    world.broker.get_order = lambda _: None  # type: ignore[assignment, method-assign]
    world.close_market()
    world.check()
    assert world.status(trade) == ("expired", 4)
    assert world.trade(trade)["status_reason"] == "The broker says expired."
    world.assert_books_agree()


def test_an_order_that_shows_up_late_is_booked_from_when_it_was_sent(world: TradingWorld):
    """Executions of others were read up to half an hour after it was filled."""
    late = world.intend()
    world.broker.submit_faults = ["accepted"]
    world.broker.hidden = {world.trade(late)["client_order_id"]}
    world.send(lease_s=0)
    world.advance(timedelta(minutes=30))
    world.set_price(AAPL, "201")
    world.intend(quantity=1)
    world.check()
    world.broker.hidden = set()
    for price in ("202", "203"):
        world.check()
        world.set_price(AAPL, price)
    world.check()
    assert world.status(late) == ("filled", 10)
    world.assert_books_agree()


def test_many_orders_are_asked_for_in_one_list(world: TradingWorld):
    placed = [world.intend(quantity=1, reserved=1000) for _ in range(15)]
    world.send()
    world.broker.get_order = None  # type: ignore[assignment, method-assign]
    assert world.check().counts["filled"] == len(placed)


def test_an_order_with_our_kind_of_name_and_no_trade_halts_everything(world: TradingWorld):
    name = f"tp-{'0123456789abcdef' * 2}"
    world.paper.submit_order(name, OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(5)))
    world.paper.submit_order("tp-by-hand", OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(5)))
    world.check()
    (row,) = world.rows("SELECT portfolio_id, reason FROM halts")
    assert row["portfolio_id"] is None
    assert name in row["reason"]
    before = world.state()
    world.check()
    assert world.state() == before


def test_an_order_that_appears_for_a_trade_that_was_given_up_halts(world: TradingWorld):
    trade = world.intend()
    row = world.trade(trade)
    world.rows(
        "UPDATE trades SET status = 'expired', finalized_at = now(), reserved_cash = 0 "
        "WHERE id = :id RETURNING id",
        id=trade,
    )
    world.paper.submit_order(
        row["client_order_id"], OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(10))
    )
    world.check()
    assert row["client_order_id"] in world.halts()[0]


def test_an_account_that_fails_does_not_stop_the_others_and_refused_keys_are_told_last(world: TradingWorld):
    other = TradingWorld(world.engine, "other")
    other.set_price(AAPL, "200")
    trade = other.intend()

    def refuse() -> list[object]:
        raise BrokerNotAuthorizedError("these keys are wrong")

    pairs = [(w.submission(), w.trading()) for w in (world, other)]
    world.broker.is_down = True
    assert len(check_orders(pairs).problems) == 1
    assert other.status(trade) == ("filled", 10)
    world.broker.is_down = False
    world.broker.list_open_orders = refuse  # type: ignore[assignment, method-assign]
    another = other.intend()
    with pytest.raises(BrokerNotAuthorizedError):
        check_orders([(w.submission(), w.trading()) for w in (world, other)])
    assert other.status(another) == ("filled", 10)


def test_a_ledger_that_refuses_one_portfolio_does_not_stop_another(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
):
    world = TradingWorld(engine, "main", "second")
    world.set_price(AAPL, "200")
    mine, theirs = world.intend(), world.intend(portfolio="second")
    world.send()
    apply = ledger.apply_booked_fills

    def refuse_main(connection: sa.Connection, portfolio_id: int, booked: object) -> None:
        if portfolio_id == world.ids["main"]:
            raise LedgerError("no")
        apply(connection, portfolio_id, booked)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "apply_booked_fills", refuse_main)
    assert len(world.check().problems) == 1
    assert (world.status(mine), world.status(theirs)) == (("submitted", 0), ("filled", 10))
    monkeypatch.undo()
    world.check()
    assert world.status(mine) == ("filled", 10)
    world.assert_books_agree()


def test_an_empty_answer_with_equity_in_it_is_a_failure(world: TradingWorld):
    world.intend()
    world.check()
    world.broker.positions = []
    with pytest.raises(BrokerUnavailableError, match="lists no position"):
        world.trading().get_broker_positions()
    world.broker.account = lambda account: replace(account, equity=account.cash)
    assert world.trading().get_broker_positions() == []


def test_the_status_of_an_order_can_be_asked_for_by_either_name(world: TradingWorld):
    trade = world.intend()
    world.send()
    with world.begin() as connection:
        (known,) = trades.trades_at_broker(connection, world.account.id)
    by_id = world.trading().get_order_status(known)
    by_name = world.trading().get_order_status(replace(known, broker_order_id=None))
    assert by_id == by_name
    assert by_id is not None
    assert by_id.client_order_id == world.trade(trade)["client_order_id"]


def test_equal_instants_are_booked_in_the_order_of_the_cumulative_quantity(world: TradingWorld):
    trade = world.intend()
    world.send()
    world.set_price(AAPL, "201")
    first, second = world.paper.list_executions(after=world.now - timedelta(days=1))
    at = first.executed_at
    world.broker.hidden = {first.execution_id, second.execution_id}
    world.broker.more_executions = [
        replace(second, execution_id="b", executed_at=at),
        replace(first, execution_id="a", executed_at=at),
    ]
    world.check()
    assert fills(world, trade) == [(4, 4, False), (4, 8, False)]
    rows = world.rows("SELECT broker_execution_id FROM fills ORDER BY id")
    assert [row["broker_execution_id"] for row in rows] == ["a", "b"]
    world.assert_books_are_right()
