"""What the paper broker does beyond the contract: its market, its costs, its accounts, its books."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import OrderStatus
from trading_orchestration.brokers.paper import PaperBroker, PaperRefusedError
from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.domain.order_acceptance import RefusalReason
from trading_orchestration.domain.trade import TimeInForce
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    BrokerUnavailableError,
    BrokerUnknownError,
    InvalidInputError,
)
from trading_orchestration.store import paper_market as paper_market_rows
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.brokers.paper_world import (
    PaperWorld,
    assert_books_balance,
    bar,
    new_york,
    prices_paid,
    with_settings,
)
from trading_orchestration_tests.contracts.broker_world import (
    AAPL,
    BEFORE,
    CASH,
    CLOSE,
    FAR_LIMIT,
    MSFT,
    START,
    held,
    order,
    sell,
    status_of,
)


@pytest.fixture
def world(market: sa.Engine) -> Iterator[PaperWorld]:
    world = PaperWorld(market)
    world.set_price(AAPL, Decimal(200))
    yield world
    assert_books_balance(world)


# The market ────────────────────────────────────────────────────────────────────────────────────────────


def test_orders_that_one_price_meets_are_filled_oldest_first(world: PaperWorld):
    for number, limit in enumerate(("199", "197", "198")):
        world.broker.submit_order(f"queue-{number}", order(number + 1, limit=limit))
    assert world.give(PriceTick(AAPL, Decimal(196))) == 3
    assert [one.quantity for one in world.broker.list_executions(after=BEFORE)] == [1, 2, 3]
    assert prices_paid(world) == [196, 196, 196]


def test_a_bar_fills_several_symbols_in_one_go(world: PaperWorld):
    world.set_price(MSFT, Decimal(400))
    world.broker.submit_order("apple", order(limit="190"))
    world.broker.submit_order("microsoft", order(symbol=MSFT, stop="410"))
    assert world.give(bar("200 201 189 195", world.now), bar("400 412 399 405", world.now, MSFT)) == 2
    assert prices_paid(world) == [190, 410]
    assert held(world.broker) == {AAPL: 10, MSFT: 10}


def test_a_bar_counts_only_for_orders_that_were_there_when_it_began(world: PaperWorld):
    world.broker.submit_order("there", order(limit="190"))
    began = world.now
    world.at("15:00")
    late = world.broker.submit_order("late", order(limit="191"))
    assert world.give(bar("200 201 189 195", began)) == 1
    assert status_of(world.broker, late) is OrderStatus.OPEN
    assert world.give(bar("195 196 189 195", world.now)) == 1
    assert prices_paid(world) == [190, 191]


def test_an_order_sent_before_the_open_meets_the_whole_session(world: PaperWorld):
    world.at("22:00")
    world.broker.submit_order("overnight", order(limit="190"))
    world.at("13:29", "2024-07-03")
    world.broker.submit_order("before-the-bell", order(limit="191"))
    opens_at = world.at("13:30", "2024-07-03")
    world.at("17:00", "2024-07-03")
    assert world.broker.give_prices([bar("195 196 189 195", opens_at)], at=world.now) == 2
    assert prices_paid(world) == [190, 191]


def test_a_price_that_is_not_newer_changes_nothing(world: PaperWorld):
    resting = world.broker.submit_order("resting", FAR_LIMIT)
    for at in (world.now, world.now - timedelta(seconds=1)):
        assert world.broker.give_prices([PriceTick(AAPL, Decimal(100))], at=at) == 0
    assert status_of(world.broker, resting) is OrderStatus.OPEN
    assert world.broker.get_account().buying_power == CASH - 1500
    world.broker.submit_order("market", order(1))
    assert prices_paid(world) == [200]


def test_a_price_outside_the_session_is_noted_and_fills_nothing(world: PaperWorld):
    resting = world.broker.submit_order("gtc", replace(order(limit="150"), time_in_force=TimeInForce.GTC))
    world.at("21:00")
    assert world.give(PriceTick(AAPL, Decimal(100))) == 0
    assert status_of(world.broker, resting) is OrderStatus.OPEN
    world.broker.submit_order("overnight", order(1))
    assert world.broker.get_account().buying_power == CASH - 1500 - 100


def test_a_price_of_yesterday_fills_nothing_today(world: PaperWorld):
    world.at("13:31", "2024-07-03")
    early = world.broker.submit_order("early", order(1))
    assert status_of(world.broker, early) is OrderStatus.OPEN
    world.set_price(AAPL, Decimal(203))
    assert prices_paid(world) == [203]


def test_a_market_order_that_opens_higher_than_the_cash_reaches_is_filled_all_the_same(world: PaperWorld):
    world.at("21:00")
    world.broker.submit_order("all-in", order(500))
    world.at("13:30", "2024-07-03")
    world.set_price(AAPL, Decimal(210))
    account = world.broker.get_account()
    assert account.cash == CASH - 500 * 210 == -5_000
    assert account.buying_power == 0


def test_the_price_of_the_close_fills_a_day_order_and_no_later_one_does(world: PaperWorld):
    for name in ("at-the-close", "too-late"):
        world.broker.submit_order(name, order(limit="190" if name == "at-the-close" else "150"))
    world.advance(CLOSE)
    assert len(world.broker.list_open_orders()) == 2
    assert world.broker.give_prices([PriceTick(AAPL, Decimal(189))], at=CLOSE) == 1
    assert [one.client_order_id for one in world.broker.list_open_orders()] == ["too-late"]
    world.at("14:00", "2024-07-03")
    assert world.give(PriceTick(AAPL, Decimal(100))) == 0
    statuses = [one.status for one in world.broker.list_orders(after=BEFORE)]
    assert statuses == [OrderStatus.FILLED, OrderStatus.EXPIRED]


def test_an_order_sent_at_the_close_is_not_met_by_the_price_of_the_close(world: PaperWorld):
    world.advance(CLOSE)
    late = world.broker.submit_order("late", order(1))
    assert world.broker.give_prices([PriceTick(AAPL, Decimal(189))], at=CLOSE) == 0
    assert status_of(world.broker, late) is OrderStatus.OPEN


def test_an_order_sent_in_a_lunch_break_waits_for_its_end(world: PaperWorld):
    opens_at, closes_at = START.replace(hour=13, minute=30), CLOSE
    noon, one = START.replace(hour=16), START.replace(hour=17)
    session = Session(START.date(), opens_at, closes_at, break_starts_at=noon, break_ends_at=one)
    broker = PaperBroker(
        world.engine,
        account_number=world.account_number,
        calendar=MarketCalendar("LUNCH", ZoneInfo("UTC"), (session,)),
        clock=lambda: world.now,
    )
    world.at("16:30")
    sent = broker.submit_order("at-lunch", order(1))
    assert not broker.get_clock().is_open
    assert broker.get_clock().next_open == one
    assert broker.give_prices([PriceTick(AAPL, Decimal(201))], at=world.now) == 0
    assert broker.give_prices([PriceTick(AAPL, Decimal(202))], at=one) == 1
    assert status_of(broker, sent) is OrderStatus.FILLED
    assert prices_paid(world) == [202]


def test_the_clock_says_that_nothing_is_known_past_the_last_session(world: PaperWorld):
    session = Session(START.date(), START, CLOSE)
    broker = PaperBroker(
        world.engine,
        account_number=world.account_number,
        calendar=MarketCalendar("SHORT", ZoneInfo("UTC"), (session,)),
        clock=lambda: world.now,
    )
    clock = broker.get_clock()
    assert (clock.is_open, clock.next_open, clock.next_close) == (True, None, CLOSE)
    world.advance(CLOSE)
    clock = broker.get_clock()
    assert (clock.is_open, clock.next_open, clock.next_close) == (False, None, None)


def test_an_expired_order_reads_the_same_before_and_after_it_is_written_down(world: PaperWorld):
    sent = world.broker.submit_order("day", FAR_LIMIT)
    world.at("14:00", "2024-07-03")
    computed = world.broker.get_order(sent.broker_order_id)
    world.set_price(AAPL, Decimal(200))
    assert world.broker.get_order(sent.broker_order_id) == computed
    with world.engine.connect() as connection:
        statement = sa.text("SELECT status, updated_at FROM paper.orders WHERE account_number = :account")
        written = connection.execute(statement, {"account": world.account_number}).one()
    assert tuple(written) == ("expired", CLOSE)


def test_one_batch_gives_a_symbol_one_price(world: PaperWorld):
    with pytest.raises(InvalidInputError, match="2 prices were given for 1 symbols"):
        world.give(PriceTick(AAPL, Decimal(1)), PriceTick(AAPL, Decimal(2)))


def test_no_order_needs_a_statement_of_its_own(world: PaperWorld, monkeypatch: pytest.MonkeyPatch):
    names: list[str] = []
    read, write = paper_market_rows._rows, paper_market_rows._execute

    def counted_read(connection: sa.Connection, name: str, parameters: Mapping[str, object]) -> Any:
        names.append(name)
        return read(connection, name, parameters)

    def counted_write(connection: sa.Connection, name: str, parameters: Mapping[str, object]) -> None:
        names.append(name)
        write(connection, name, parameters)

    monkeypatch.setattr(paper_market_rows, "_rows", counted_read)
    monkeypatch.setattr(paper_market_rows, "_execute", counted_write)
    for number in range(30):
        world.broker.submit_order(f"bulk-{number}", order(1, limit="190"))
    names.clear()
    assert world.give(PriceTick(AAPL, Decimal(180))) == 30
    assert names == ["paper_lock_account", "paper_move_prices", "paper_apply_matches"]
    names.clear()
    world.broker.list_orders(after=BEFORE)
    world.broker.list_executions(after=BEFORE)
    assert names == ["paper_orders_after", "paper_executions_after"]


# Settings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_with_a_fill_fraction_each_price_fills_a_part(market: sa.Engine):
    world = with_settings(
        market, partial_fill_fraction=Decimal("0.4"), commission=Commission(per_order=Decimal(1))
    )
    sent = world.broker.submit_order("parts", order(10))
    partial = world.broker.get_order(sent.broker_order_id)
    assert partial is not None
    assert (partial.status, partial.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal(4))
    assert [one.client_order_id for one in world.broker.list_open_orders()] == ["parts"]
    assert world.broker.get_account().buying_power == CASH - 801 - 6 * Decimal("200.1")
    world.set_price(AAPL, Decimal(210))
    world.set_price(AAPL, Decimal(220))
    filled = world.broker.get_order(sent.broker_order_id)
    assert filled is not None
    assert filled.status is OrderStatus.FILLED
    assert filled.filled_average_price == 208
    executions = world.broker.list_executions(after=BEFORE)
    assert [one.quantity for one in executions] == [4, 4, 2]
    assert [one.price for one in executions] == [200, 210, 220]
    assert [one.fee for one in executions] == [1, 0, 0]
    assert [one.cumulative_quantity for one in executions] == [4, 8, 10]
    assert world.broker.get_account().cash == CASH - 2081
    assert_books_balance(world)


def test_a_partly_filled_order_keeps_its_fills_when_it_is_cancelled_or_expires(market: sa.Engine):
    world = with_settings(market, partial_fill_fraction=Decimal("0.4"))
    cancelled, expired = (world.broker.submit_order(name, order(10)) for name in ("cancelled", "expired"))
    world.broker.cancel_order(cancelled.broker_order_id)
    world.at("21:00")
    for sent, status in ((cancelled, OrderStatus.CANCELLED), (expired, OrderStatus.EXPIRED)):
        found = world.broker.get_order(sent.broker_order_id)
        assert found is not None
        assert (found.status, found.filled_quantity) == (status, Decimal(4))
    assert held(world.broker) == {AAPL: 8}
    assert world.broker.get_account().buying_power == CASH - 1600
    assert_books_balance(world)


def test_fees_and_slippage_are_paid_in_cash(market: sa.Engine):
    world = with_settings(market, commission=Commission(per_order=Decimal("1.25")), slippage_bps=Decimal(10))
    world.broker.submit_order("buy", order(10))
    world.broker.submit_order("sell", sell(10))
    assert prices_paid(world) == [Decimal("200.2"), Decimal("199.8")]
    assert world.broker.get_account().cash == CASH - 4 - Decimal("2.5")
    assert_books_balance(world)


def test_short_sales_hold_half_their_value_back_beside_the_proceeds(market: sa.Engine):
    world = with_settings(market, allow_short=True)
    world.broker.submit_order("short", sell(100))
    account = world.broker.get_account()
    assert held(world.broker) == {AAPL: -100}
    assert (account.cash, account.equity, account.buying_power) == (CASH + 20_000, CASH, CASH - 10_000)
    with pytest.raises(PaperRefusedError, match="insufficient buying power"):
        world.broker.submit_order("too-short", sell(901))
    world.broker.submit_order("cover", order(100))
    assert held(world.broker) == {}
    assert world.broker.get_account().buying_power == CASH
    assert_books_balance(world)


# Refusals and failures ─────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_carries_its_reason(world: PaperWorld):
    with pytest.raises(PaperRefusedError) as refused:
        world.broker.submit_order("sell", sell(1))
    assert refused.value.reason is RefusalReason.INSUFFICIENT_QUANTITY


def test_an_account_that_was_never_opened_is_named(world: PaperWorld):
    broker = PaperBroker(world.engine, account_number="NOWHERE", calendar=new_york(), clock=lambda: START)
    for call in (
        broker.get_account,
        lambda: broker.submit_order("lost", FAR_LIMIT),
        lambda: broker.give_prices([PriceTick(AAPL, Decimal(1))], at=START),
    ):
        with pytest.raises(BrokerNotAuthorizedError, match="NOWHERE"):
            call()


def test_a_database_that_is_away_leaves_reads_to_be_repeated_and_acts_unknown(unused_url: str):
    broker = PaperBroker(
        create_engine(unused_url, application_name="tests"),
        account_number="ANY",
        calendar=new_york(),
        clock=lambda: START,
    )
    with pytest.raises(BrokerUnavailableError):
        broker.list_open_orders()
    with pytest.raises(BrokerUnavailableError):
        broker.give_prices([PriceTick(AAPL, Decimal(1))], at=START)
    with pytest.raises(BrokerUnknownError):
        broker.submit_order("away", FAR_LIMIT)
    with pytest.raises(BrokerUnknownError):
        broker.cancel_order("9ca90e12-b12e-5f46-a6ea-98fc0b1d0a2f")


@pytest.fixture
def unused_url() -> str:
    """A database URL where nothing listens."""
    return "postgresql://nobody:nothing@127.0.0.1:1/trading"


def test_an_account_that_another_writer_holds_too_long_leaves_the_order_unknown(world: PaperWorld):
    url = world.engine.url.update_query_dict({"options": "-c lock_timeout=20"})
    engine = create_engine(url.render_as_string(hide_password=False), application_name="tests")
    broker = PaperBroker(
        engine, account_number=world.account_number, calendar=new_york(), clock=lambda: world.now
    )
    lock = sa.text("SELECT 1 FROM paper.accounts WHERE account_number = :account FOR UPDATE")
    with world.engine.begin() as connection:
        connection.execute(lock, {"account": world.account_number})
        with pytest.raises(BrokerUnknownError, match="lock timeout"):
            broker.submit_order("waited", FAR_LIMIT)
        assert broker.get_account().cash == CASH
    engine.dispose()
    assert world.broker.get_order_by_client_id("waited") is None
