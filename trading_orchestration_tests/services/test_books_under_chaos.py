"""The books under random decisions and fills, and a broker that loses, repeats and shuffles its answers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import BrokerRefusedError
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.services.trading_world import AAPL, CASH, MSFT, TradingWorld

NewDatabase = Callable[[str], AbstractContextManager[str]]
SYMBOLS = (AAPL, MSFT)


@dataclass(frozen=True)
class Intend:
    side: Side
    quantity: str
    symbol: str
    portfolio: str
    limit: str | None


@dataclass(frozen=True)
class Price:
    symbol: str
    cents: int


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Faults:
    submits: tuple[str | None, ...]


@dataclass(frozen=True)
class Wait:
    by: timedelta


@dataclass(frozen=True)
class Job:
    name: str


INTENTS = st.builds(
    Intend,
    st.sampled_from(Side),
    st.sampled_from(["1", "7", "12", "0.5", "3.141592653"]),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["main", "second"]),
    st.none() | st.sampled_from(["95", "100", "104.5"]),
)
STEPS = st.lists(
    INTENTS
    | INTENTS
    | st.builds(Price, st.sampled_from(SYMBOLS), st.integers(9_000, 11_000))
    | st.builds(Cancel, st.integers(0, 5))
    | st.builds(
        Faults,
        st.lists(st.sampled_from([None, "lost", "accepted", "down", "refused"]), max_size=3).map(tuple),
    )
    | st.builds(Wait, st.sampled_from([timedelta(seconds=7), timedelta(minutes=4), timedelta(minutes=20)]))
    | st.builds(Job, st.sampled_from(["check", "check", "sync"])),
    min_size=8,
    max_size=20,
)
SETTINGS = st.builds(
    PaperSettings,
    partial_fill_fraction=st.sampled_from([None, Decimal("0.3")]),
    commission=st.builds(Commission, per_order=st.sampled_from([Decimal(0), Decimal("0.99")])),
)


@contextmanager
def new_world(
    new_database: NewDatabase, template: str, of: PaperSettings, seed: int
) -> Iterator[TradingWorld]:
    with new_database(template) as url:
        engine = create_engine(url, application_name="tests")
        try:
            world = TradingWorld(engine, "main", "second", settings=of)
            world.broker.random.seed(seed)
            world.quote_age_max = timedelta(days=1)
            for symbol in SYMBOLS:
                world.set_price(symbol, "100")
            yield world
        finally:
            engine.dispose()


def take(world: TradingWorld, step: object) -> None:
    match step:
        case Intend():
            world.intend(
                step.side, step.quantity, symbol=step.symbol, portfolio=step.portfolio, limit=step.limit
            )
        case Price():
            world.set_price(step.symbol, Decimal(step.cents) / 100)
        case Cancel():
            cancel(world, step.number)
        case Faults():
            world.broker.submit_faults = list(step.submits)
        case Wait():
            world.advance(step.by)
        case Job("check"):
            world.check(lease_s=0)
        case Job():
            world.sync()


def cancel(world: TradingWorld, number: int) -> None:
    """Somebody cancels an order at the broker."""
    sent = world.paper.list_orders(after=world.now - timedelta(days=1))
    if sent:
        with suppress(BrokerRefusedError):
            world.paper.cancel_order(sent[number % len(sent)].broker_order_id)


def settle_everything(world: TradingWorld) -> None:
    """A broker that has come to rest, and the jobs of the end of the day."""
    world.broker.chaos = world.broker.order_chaos = 0
    world.broker.submit_faults = []
    world.check(lease_s=0)
    world.close_market()
    world.check(lease_s=0)
    world.advance(timedelta(minutes=1))
    world.sync()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS, of=SETTINGS, chaos=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 1000))
def test_books_hold_after_every_step_and_agree_with_the_brokers_at_the_end(
    new_database: NewDatabase, template: str, steps: list[object], of: PaperSettings, chaos: float, seed: int
):
    with new_world(new_database, template, of, seed) as world:
        world.broker.chaos = world.broker.order_chaos = chaos
        for step in steps:
            take(world, step)
            world.assert_books_are_right()
        settle_everything(world)
        world.assert_books_agree()
        assert world.rows("SELECT 1 FROM trades WHERE finalized_at IS NULL") == []
        orders = world.paper.list_orders(after=world.now - timedelta(days=1))
        assert len({order.client_order_id for order in orders}) == len(orders)
        names = {row["client_order_id"] for row in world.rows("SELECT client_order_id FROM trades")}
        assert {order.client_order_id for order in orders} <= names
        assert world.rows("SELECT 1 FROM adjustments") == [], "nothing was lost that had to be repaired"
        assert_cash_is_what_came_and_went(world)
        before = world.state()
        world.check(lease_s=0)
        world.sync()
        assert world.state() == before, "every answer given twice changes nothing"


def assert_cash_is_what_came_and_went(world: TradingWorld) -> None:
    """cash = deposits + Σ signed notional − fees, worked out here once more."""
    for name, portfolio_id in world.ids.items():
        rows = world.rows("SELECT * FROM fills WHERE portfolio_id = :id", id=portfolio_id)
        moved = sum(
            (row["quantity"] * row["price"] * (1 if row["side"] == "sell" else -1)).quantize(Decimal("1e-9"))
            - row["fee"]
            for row in rows
        )
        assert world.cash(name) == CASH + moved
