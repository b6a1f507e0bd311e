"""Actions change the books once, on their day, however late they are entered, and conserve what they must."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import Execution
from trading_orchestration.brokers.paper_account import deposit
from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.services.corporate_actions import apply_due_actions
from trading_orchestration.store import portfolios
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.services.action_world import NEXT, ActionWorld
from trading_orchestration_tests.services.trading_world import AAPL

NewDatabase = Callable[[str], AbstractContextManager[str]]
#: Midnight in New York before the session of the actions.
MIDNIGHT = datetime(2024, 7, 3, 4, 0, tzinfo=UTC)
META = "META"


@pytest.fixture
def world(engine: sa.Engine) -> ActionWorld:
    return ActionWorld(engine)


def test_a_split_changes_units_and_cost_and_no_value(world: ActionWorld):
    world.hold(100, "645.57")
    world.split(7)
    world.apply()
    assert world.positions() == [(AAPL, 100, Decimal("645.57"))], "it is not the day yet"
    worth = world.worth("645.57")
    world.next_open()
    assert [recorded.action.sentence for recorded in world.apply()] == ["AAPL is split 7:1 on 2024-07-03"]
    assert world.positions() == [(AAPL, 700, Decimal("92.224285714"))]
    assert world.entries() == [(AAPL, 600, 0, "split", MIDNIGHT)]
    assert abs(world.worth(Decimal("645.57") / 7) - worth) < Decimal("1e-9") * 700
    world.assert_books_agree()
    (told,) = world.rows("SELECT severity, title, body FROM notifications WHERE kind = 'corporate_action'")
    assert dict(told) == {
        "severity": "info",
        "title": "AAPL is split 7:1 on 2024-07-03",
        "body": "main: +600 AAPL.",
    }
    before = world.state()
    assert world.apply() == []
    assert world.state() == before
    assert world.sync().counts["discrepancies"] == 0


def test_a_reverse_split_pays_the_fraction_of_the_account_in_cash(engine: sa.Engine):
    world = ActionWorld(engine, "main", "second")
    world.hold(105, 10)
    world.hold(17, 10, portfolio="second")
    cash = world.cash("main"), world.cash("second")
    world.split(1, 10, fraction_price=Decimal("98.50"))
    world.next_open()
    world.apply()
    # 12.2 in all: 12 stay, 0.2 are paid for, out of the larger fraction.
    assert world.held() == {("main", AAPL): Decimal("10.5"), ("second", AAPL): Decimal("1.5")}
    assert (world.cash("main"), world.cash("second")) == (cash[0], cash[1] + Decimal("19.7"))
    assert {cost for _, _, cost in world.positions()} == {100}
    world.assert_books_agree()


def test_a_dividend_goes_to_whoever_held_before_the_ex_date_and_comes_when_it_is_paid(world: ActionWorld):
    world.hold(100)
    cash = world.cash()
    world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal("0.385"), pays_on=date(2024, 7, 8))
    world.next_open()
    world.hold(50)
    bought_after = world.cash()
    world.now = datetime(2024, 7, 5, 14, tzinfo=UTC)
    world.apply()
    assert world.cash() == bought_after == cash - 5_000
    world.now = datetime(2024, 7, 8, 13, 30, tzinfo=UTC)
    world.apply()
    assert world.cash() == bought_after + Decimal("38.50")
    assert world.entries() == [(AAPL, 0, Decimal("38.50"), "dividend", datetime(2024, 7, 8, 4, tzinfo=UTC))]
    world.assert_books_agree()


def test_a_new_symbol_takes_over_the_holding_its_cost_and_its_alerts(world: ActionWorld):
    world.hold(100)
    world.rows(
        "INSERT INTO price_alerts (symbol, condition, threshold) VALUES ('AAPL', 'above', 150) RETURNING id"
    )
    world.add_strategy("trend")
    world.enter(ActionKind.SYMBOL_CHANGE, new_symbol=META)
    world.next_open()
    world.apply()
    assert world.positions() == [(META, 100, 100)]
    assert [row["symbol"] for row in world.rows("SELECT symbol FROM price_alerts")] == [META]
    (told,) = world.rows("SELECT severity, body FROM notifications WHERE kind = 'corporate_action'")
    assert told["severity"] == "warning"
    assert "Strategy trend of main still names AAPL." in told["body"]
    assert not world.rows("SELECT is_tradable FROM instruments WHERE symbol = 'AAPL'")[0]["is_tradable"]
    world.assert_books_agree()


def test_a_delisting_ends_the_holding_for_what_it_pays_and_its_alerts_until_it_is_withdrawn(
    world: ActionWorld,
):
    world.hold(100)
    cash = world.cash()
    world.rows(
        "INSERT INTO price_alerts (symbol, condition, threshold, status) VALUES "
        "('AAPL', 'above', 150, 'active'), ('AAPL', 'above', 160, 'disabled'), "
        "('IBM', 'above', 9, 'active') RETURNING id"
    )

    def alerts() -> list[str]:
        return [row["status"] for row in world.rows("SELECT status FROM price_alerts ORDER BY id")]

    delisted = world.enter(ActionKind.DELISTING, cash_per_unit=Decimal("1.25"))
    world.next_open()
    world.apply()
    assert world.positions() == []
    assert world.cash() == cash + 125
    assert alerts() == ["disabled", "disabled", "active"]
    world.assert_books_agree()
    world.withdraw(delisted.id)
    assert world.positions() == [(AAPL, 100, 100)]
    assert alerts() == ["active", "disabled", "active"], "what a person switched off stays off"
    assert world.rows("SELECT is_tradable FROM instruments WHERE symbol = 'AAPL'")[0]["is_tradable"]


def test_a_delisting_that_does_not_say_what_it_pays_waits_for_a_person(world: ActionWorld):
    entered = world.enter(ActionKind.DELISTING)
    world.hold(100)
    world.next_open()
    assert world.apply() == []
    world.apply()
    assert world.positions() == [(AAPL, 100, 100)]
    assert world.titles()[-1] == "AAPL is no longer listed from 2024-07-03 on, and it is held"
    world.withdraw(entered.id)
    world.enter(ActionKind.DELISTING, cash_per_unit=Decimal(0))
    world.apply()
    assert world.positions() == []


def test_an_action_entered_late_gives_the_books_of_one_entered_in_time(
    engine: sa.Engine, new_database: NewDatabase, template: str
):
    def trade(engine: sa.Engine, *, is_late: bool) -> tuple[object, ...]:
        world = ActionWorld(engine)
        world.hold(100, 70)
        if not is_late:
            world.split(7)
        world.next_open()
        if not is_late:
            world.apply()
        world.hold(21, 10)
        if is_late:
            world.split(7)
            world.apply()
        world.assert_books_agree()
        return world.positions(), world.cash(), world.entries()

    in_time = trade(engine, is_late=False)
    assert in_time[0] == [(AAPL, 721, 10)]
    with new_database(template) as url:
        other = create_engine(url, application_name="tests")
        assert trade(other, is_late=True) == in_time
        other.dispose()


def test_a_fill_from_before_a_split_that_comes_in_after_it_is_split_too(world: ActionWorld):
    world.hold(100, 70)
    world.intend(quantity=10)
    world.send()
    world.split(7)
    world.next_open()
    world.apply()
    assert world.positions() == [(AAPL, 700, 10)]
    world.moves_market = False
    world.check()
    assert world.positions() == [(AAPL, 770, 10)]
    assert [entry[1] for entry in world.entries()] == [600, 60]
    world.assert_books_are_right()


def test_a_late_sale_of_everything_before_a_split_leaves_nothing(world: ActionWorld):
    world.hold(100, 70)
    world.intend(Side.SELL, quantity=100)
    world.send()
    world.split(7)
    world.next_open()
    world.apply()
    world.check()
    assert world.positions() == []
    world.assert_books_are_right()


def test_alerts_and_quotes_from_before_a_split_speak_of_the_new_units(world: ActionWorld):
    world.hold(100, 70)
    world.rows(
        "INSERT INTO price_alerts (symbol, condition, threshold, reference_price, created_at) VALUES "
        "('AAPL', 'below', 63, NULL, '2024-07-01'), ('AAPL', 'percent_change', 0.05, 70, '2024-07-01'), "
        "('AAPL', 'below', 9, NULL, '2024-07-04') RETURNING id"
    )
    world.split(7)
    world.next_open()
    world.apply()
    rows = world.rows("SELECT threshold, reference_price FROM price_alerts ORDER BY id")
    kept: list[Any] = [(row["threshold"], row["reference_price"]) for row in rows]
    assert kept == [(9, None), (Decimal("0.05"), 10), (9, None)]
    (quote,) = world.rows("SELECT price FROM quotes WHERE symbol = 'AAPL'")
    assert quote["price"] == 10
    (marked,) = world.rows("SELECT market_value FROM positions")
    assert marked["market_value"] == 7_000


def test_an_order_that_rests_over_a_split_is_cancelled_at_the_paper_broker(world: ActionWorld):
    from trading_orchestration.domain.trade import OrderTerms, OrderType, TimeInForce

    world.hold(100, 70)
    terms = OrderTerms(
        symbol=AAPL,
        side=Side.SELL,
        quantity=Decimal(100),
        order_type=OrderType.LIMIT,
        limit_price=Decimal(80),
        time_in_force=TimeInForce.GTC,
    )
    world.paper.submit_order("resting", terms)
    world.split(7)
    world.next_open()
    world.apply()
    assert world.paper.list_open_orders() == []
    order = world.paper.get_order_by_client_id("resting")
    assert order is not None
    assert order.vendor_status == "cancelled"


def test_an_order_that_its_broker_changes_over_a_split_is_told_of_and_never_books_more_than_was_sent(
    world: ActionWorld,
):
    """The worst that a broker may do: seven times the units, and all of them bought."""
    world.hold(100, 70)
    trade_id = world.intend(quantity=10, limit="60", reserved=700)
    world.send()
    (order,) = world.paper.list_open_orders()
    world.moves_market = False
    world.split(7)
    world.next_open()
    world.apply()
    (told,) = world.rows("SELECT severity, body FROM notifications WHERE kind = 'corporate_action'")
    assert told["severity"] == "warning"
    assert (
        f"Trade {trade_id} of main (buy 10) was decided before it and is still open; its broker says what "
        "becomes of it. What fills it beyond 10 is not booked, and halts the portfolio."
    ) in told["body"]
    world.broker.more_orders = [replace(order, terms=replace(order.terms, quantity=Decimal(70)))]
    world.check()
    assert world.titles()[-1] == (
        f"The order of trade {trade_id} is for 70 AAPL at the broker, and was sent for 10"
    )
    bought = Execution(
        execution_id="all-of-it",
        broker_order_id=order.broker_order_id,
        symbol=AAPL,
        side=Side.BUY,
        quantity=Decimal(70),
        price=Decimal(10),
        cumulative_quantity=Decimal(70),
        executed_at=world.now,
    )
    world.broker.more_executions = [bought]
    world.check()
    assert world.positions() == [(AAPL, 700, 10)]
    (halted,) = world.rows("SELECT reason FROM halts WHERE resumed_at IS NULL")
    assert f"would fill trade {trade_id} beyond its 10" in halted["reason"]


def test_what_was_decided_before_a_split_and_not_sent_is_never_sent_after_it(world: ActionWorld):
    world.set_price(AAPL, "70")
    world.intend(quantity=10)
    world.split(7)
    world.next_open()
    world.apply()
    world.send()
    assert world.paper.list_orders(after=datetime(2024, 1, 1, tzinfo=UTC)) == []
    (trade,) = world.rows("SELECT status, status_reason FROM trades")
    assert (trade["status"], trade["status_reason"]) == ("cancelled", "It was not sent within 5 minutes.")


def test_what_dies_between_the_market_and_the_books_is_gone_through_once(world: ActionWorld):
    world.hold(100, 70)
    world.split(7)
    world.next_open()

    def dies(actions: Sequence[RecordedAction], at: datetime) -> None:
        world.paper.apply_actions(actions, at=at)
        raise BrokerUnavailableError("gone")

    with pytest.raises(BrokerUnavailableError):
        apply_due_actions(world.begin, world.now, dies)
    assert world.positions() == [(AAPL, 100, 70)]
    world.apply()
    world.assert_books_agree()
    assert world.positions() == [(AAPL, 700, 10)]


def test_a_withdrawn_action_is_taken_back_from_both_books(world: ActionWorld):
    world.hold(100, 70)
    cash = world.cash()
    split = world.split(7)
    dividend = world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal(1))
    world.next_open()
    world.apply()
    assert world.cash() == cash + 100, "a dividend is that of the units of the day before"
    world.withdraw(dividend.id)
    world.withdraw(split.id)
    assert (world.positions(), world.cash()) == ([(AAPL, 100, 70)], cash)
    world.assert_books_agree()
    world.split(2)
    world.apply()
    assert world.positions() == [(AAPL, 200, 35)]
    world.assert_books_agree()


def test_a_guessed_split_is_explained_by_the_action_that_comes_later(world: ActionWorld):
    world.hold(100, 70)
    world.next_open()
    entered = world.split(7)
    (recorded,) = [r for r in _recorded(world) if r.id == entered.id]
    world.paper.apply_actions([recorded], at=world.now)
    world.advance(timedelta(seconds=6))
    assert world.sync().counts["repaired"] == 1
    assert world.positions() == [(AAPL, 700, 10)]
    world.apply()
    assert world.positions() == [(AAPL, 700, 10)]
    assert world.entries() == []
    world.assert_books_agree()


def test_a_dividend_that_was_repaired_without_being_known_is_not_booked_again(world: ActionWorld):
    world.hold(100, 70)
    world.next_open()
    deposit(world.engine, world.account_number, Decimal(38), reference="a dividend, as the broker pays it")
    world.advance(timedelta(seconds=6))
    assert world.sync().counts["repaired"] == 1
    cash = world.cash()
    world.moves_market = False
    world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal("0.38"))
    world.apply()
    assert world.cash() == cash
    assert world.entries() == []
    world.assert_books_agree()


def test_what_the_broker_has_not_gone_through_yet_is_left_alone_for_some_days(world: ActionWorld):
    world.hold(100, 70)
    world.moves_market = False
    world.split(7)
    world.next_open()
    world.apply()
    world.advance(timedelta(seconds=6))
    report = world.sync()
    assert report.counts["discrepancies"] == 0
    assert world.positions() == [(AAPL, 700, 10)]
    assert world.titles()[-1] == "The broker has not applied an action yet: AAPL is split 7:1 on 2024-07-03"
    world.now = datetime(2024, 7, 8, 14, tzinfo=UTC)
    with world.begin() as connection:
        portfolios.set_reconciled(connection, world.account.id, world.now)  # the hours were compared
    assert world.sync().counts["discrepancies"] == 1


def _recorded(world: ActionWorld) -> list[RecordedAction]:
    from trading_orchestration.store.corporate_actions import list_actions

    with world.begin() as connection:
        return list_actions(connection)


def test_next_is_a_session_after_the_start(world: ActionWorld):
    assert world.calendar.session(NEXT).opens_at > world.now
