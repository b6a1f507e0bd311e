"""The paper broker's books stay whole whatever is asked of it, in whatever order, and whoever dies of it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from time import sleep

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.brokers.broker import OrderStatus
from trading_orchestration.brokers.paper import PaperRefusedError
from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.matching import PaperSettings, PriceTick
from trading_orchestration.domain.trade import OrderTerms, Side, TimeInForce
from trading_orchestration.errors import BrokerRefusedError
from trading_orchestration.store.database import query
from trading_orchestration_tests.brokers.paper_world import (
    PaperWorld,
    assert_books_balance,
    bar,
    paper_market,
    prices_paid,
    with_settings,
)
from trading_orchestration_tests.contracts.broker_world import (
    AAPL,
    BEFORE,
    CASH,
    FAR_LIMIT,
    MSFT,
    held,
    order,
    status_of,
)


@pytest.fixture
def world(market: sa.Engine) -> Iterator[PaperWorld]:
    world = PaperWorld(market)
    world.set_price(AAPL, Decimal(200))
    yield world
    assert_books_balance(world)


PRICES = st.integers(9_500, 10_500).map(lambda cents: Decimal(cents) / 100)
SYMBOLS = st.sampled_from([AAPL, MSFT])
ORDERS = st.builds(
    lambda quantity, symbol, side, limit, stop, time_in_force: order(
        quantity,
        symbol=symbol,
        side=side,
        limit=limit and str(limit),
        stop=stop and str(stop),
        time_in_force=time_in_force,
    ),
    st.sampled_from(["1", "7", "250", "600", "0.123456789", "33.3"]),
    SYMBOLS,
    st.sampled_from(Side),
    st.none() | PRICES,
    st.none() | PRICES,
    st.sampled_from(TimeInForce),
)
TICKS = st.builds(PriceTick, SYMBOLS, PRICES)
WAITS = st.sampled_from([timedelta(minutes=1), timedelta(hours=3), timedelta(hours=18)])
CANCELS = st.integers(0, 5)
STEPS = st.lists(ORDERS | ORDERS | TICKS | TICKS | WAITS | CANCELS, min_size=5, max_size=25)
SETTINGS = st.builds(
    PaperSettings,
    partial_fill_fraction=st.sampled_from([None, Decimal("0.3")]),
    commission=st.builds(Commission, per_order=st.sampled_from([Decimal(0), Decimal("0.99")])),
    slippage_bps=st.sampled_from([Decimal(0), Decimal("1.7")]),
)

Step = OrderTerms | PriceTick | timedelta | int


def take(world: PaperWorld, number: int, step: Step) -> None:
    """Do one step; a refusal is an answer like any other."""
    try:
        match step:
            case OrderTerms():
                world.broker.submit_order(f"step-{number}", step)
            case PriceTick():
                world.give(step)
            case timedelta():
                world.advance(world.now + step)
            case int():
                sent = world.broker.list_orders(after=BEFORE)
                if sent:
                    world.broker.cancel_order(sent[step % len(sent)].broker_order_id)
    except BrokerRefusedError:
        pass


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, of=SETTINGS)
def test_orders_holdings_and_cash_are_what_the_executions_add_up_to(
    market: sa.Engine, steps: list[Step], of: PaperSettings
):
    world = PaperWorld(market, of)
    for symbol in (AAPL, MSFT):
        world.set_price(symbol, Decimal(100))
    for number, step in enumerate(steps):
        take(world, number, step)
        assert_books_balance(world)
    assert all(quantity > 0 for quantity in held(world.broker).values()), "no short selling"
    assert world.broker.get_account().buying_power >= 0
    limits = {one.broker_order_id: one.terms.limit_price for one in world.broker.list_orders(after=BEFORE)}
    for one in world.broker.list_executions(after=BEFORE):
        limit = limits[one.broker_order_id]
        assert limit is None or one.side.sign * one.price <= one.side.sign * limit
    still_open = {one.broker_order_id for one in world.broker.list_open_orders()}
    assert still_open == {
        one.broker_order_id
        for one in world.broker.list_orders(after=BEFORE)
        if one.status in {"open", "partially_filled"}
    }


def test_the_same_inputs_give_the_same_orders_and_executions(
    server_url: str, template: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "trading_orchestration_tests.brokers.paper_world.new_account_number", lambda: "REPLAY"
    )

    def replay() -> str:
        with paper_market(server_url, template) as engine:
            world = with_settings(engine, partial_fill_fraction=Decimal("0.5"))
            for number in range(3):
                world.broker.submit_order(f"buy-{number}", order(number + 3, limit="199"))
            world.give(bar("200 201 198 199", world.now))
            world.give(bar("199 201 198 199", world.now))
            return repr((world.broker.list_orders(after=BEFORE), world.broker.list_executions(after=BEFORE)))

    first, second = replay(), replay()
    assert first == second
    assert "2b657c5a-f73d-5539-a1ac-0450a6af536a:2" in first


def test_accounts_share_no_order_no_holding_and_no_price(world: PaperWorld):
    other = PaperWorld(world.engine)
    world.broker.submit_order("mine", order(10))
    with pytest.raises(PaperRefusedError, match="never had a price"):
        other.broker.submit_order("mine", order(10))
    other.at("14:00", "2024-07-03")
    other.set_price(AAPL, Decimal(20))
    other.broker.submit_order("mine", order(10))
    assert prices_paid(world) == [200]
    assert prices_paid(other) == [20]
    (mine,) = world.broker.list_orders(after=BEFORE)
    assert other.broker.get_order(mine.broker_order_id) is None
    assert world.broker.get_account().equity == CASH


@pytest.mark.parametrize(("call", "statements"), [("submit", 4), ("give_prices", 3)])
def test_a_call_that_is_killed_at_any_statement_happened_wholly_or_not_at_all(
    world: PaperWorld, call: str, statements: int
):
    world.broker.submit_order("resting", order(5, limit="100"))
    url = world.engine.url.render_as_string(hide_password=False)
    arguments = [sys.executable, "-m", "trading_orchestration_tests.brokers.killed_broker"]
    done = subprocess.run(
        [*arguments, url, world.account_number, call],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n") == [
        *(f"{number} killed" for number in range(1, statements + 1)),
        f"{statements + 1} lived",
        "",
    ], done.stderr
    if call == "submit":
        names = [one.client_order_id for one in world.broker.list_orders(after=BEFORE)]
        assert names == ["resting", f"killed-{statements + 1}"]
        assert prices_paid(world) == [200]
    else:
        assert prices_paid(world) == [90]


def test_an_order_that_is_cancelled_as_the_price_arrives_is_not_filled(world: PaperWorld):
    """The price comes while the cancel is on its way to disk: it waits, and sees the order cancelled."""
    sent = world.broker.submit_order("cancelled", order(limit="190"))
    cancel = query("paper_cancel_order")
    parameters = {
        "order_id": sent.broker_order_id,
        "account_number": world.account_number,
        "now": world.now,
    }
    with ThreadPoolExecutor(1) as pool:
        with world.engine.begin() as connection:
            connection.execute(cancel, parameters)
            filled = pool.submit(world.give, PriceTick(AAPL, Decimal(180)))
            wait_until_one_waits_for_a_lock(world)
        assert filled.result() == 0
    assert status_of(world.broker, sent) is OrderStatus.CANCELLED


def wait_until_one_waits_for_a_lock(world: PaperWorld) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for _ in range(1_000):
            if connection.execute(waiting).scalar_one():
                return
            sleep(0.005)
    pytest.fail("nothing waited for the cancel")


def test_the_table_refuses_a_second_order_with_the_same_id(world: PaperWorld):
    """Whatever the code above it does: this is where the promise is kept."""
    sent = world.broker.submit_order("unique", FAR_LIMIT)
    world.broker.cancel_order(sent.broker_order_id)
    copy = sa.text(
        "INSERT INTO paper.orders (id, account_number, client_order_id, symbol, side, order_type, "
        "time_in_force, quantity, unit_reserve, status, submitted_at, active_from, updated_at) "
        "SELECT gen_random_uuid(), account_number, client_order_id, symbol, side, order_type, "
        "time_in_force, quantity, unit_reserve, 'accepted', submitted_at, active_from, updated_at "
        "FROM paper.orders WHERE id = CAST(:id AS uuid)"
    )
    with pytest.raises(sa.exc.IntegrityError, match="client_order_id_is_unique"), world.engine.begin() as to:
        to.execute(copy, {"id": sent.broker_order_id})


def test_an_order_stays_when_the_callers_own_transaction_is_rolled_back(world: PaperWorld):
    with world.engine.connect() as connection:
        connection.execute(sa.text("UPDATE instruments SET name = 'x'"))
        sent = world.broker.submit_order("remote", FAR_LIMIT)
        connection.rollback()
    assert status_of(world.broker, sent) is OrderStatus.OPEN
