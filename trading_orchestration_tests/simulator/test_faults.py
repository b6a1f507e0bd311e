"""Every fault that the simulator injects, as our own clients meet it."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import BrokerOrder, OrderStatus
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
)
from trading_orchestration.simulator.faults import Fault, FaultKind, FaultPlan
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration_tests.brokers.paper_world import paper_market
from trading_orchestration_tests.contracts.broker_world import BEFORE, order
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world

SELL, FIVE = Side.SELL, Decimal(5)
HALVES = PaperSettings(partial_fill_fraction=Decimal("0.5"))
QUICK = Timeouts(connect_s=2.0, answer_s=0.4, read_s=0.1)


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with paper_market(server_url, template) as engine:
        yield engine


@pytest.fixture
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    with simulated_world(market, QUICK) as world:
        world.set_price("AAPL", Decimal(200))
        yield world


def on_orders(kind: FaultKind, *, status: int = 503, seconds: float = 0.0, reads: int = 2) -> Fault:
    return Fault(kind, method="POST", path="/v2/orders", status=status, seconds=seconds, reads=reads)


def submit(world: SimulatedWorld, name: str = "one") -> BrokerOrder:
    return world.broker.submit_order(name, order())


@pytest.mark.parametrize(
    ("fault", "is_taken"),
    [
        (on_orders(FaultKind.RESET_BEFORE), False),
        (on_orders(FaultKind.STATUS_BEFORE, status=500), False),
        (on_orders(FaultKind.STATUS_BEFORE, status=503), False),
        (on_orders(FaultKind.STATUS_BEFORE, status=429), False),
        (on_orders(FaultKind.RESET_AFTER), True),
        (on_orders(FaultKind.STATUS_AFTER, status=500), True),
        (on_orders(FaultKind.STATUS_AFTER, status=504), True),
        (on_orders(FaultKind.LATENCY, seconds=0.6), True),
        (on_orders(FaultKind.SLOW_BODY, seconds=3.0), True),
        (on_orders(FaultKind.CUT_BODY), True),
        (on_orders(FaultKind.MALFORMED), True),
        (on_orders(FaultKind.HTML, status=200), True),
        (on_orders(FaultKind.HTML, status=502), True),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else str(value),
)
def test_an_order_whose_answer_is_lost_is_unknown_taken_or_not(
    world: SimulatedWorld, fault: Fault, is_taken: bool
) -> None:
    world.simulator.faults.add(fault)
    with pytest.raises(BrokerUnknownError):
        submit(world)
    found = world.broker.get_order_by_client_id("one")
    assert (found is not None) is is_taken
    assert world.simulator.faults.injected.total() == 1


def test_the_second_try_of_a_lost_order_finds_that_it_exists(world: SimulatedWorld) -> None:
    world.simulator.faults.add(on_orders(FaultKind.STATUS_AFTER, status=504))
    with pytest.raises(BrokerUnknownError):
        submit(world)
    with pytest.raises(BrokerRefusedError) as refused:
        submit(world)
    assert refused.value.is_duplicate_client_order_id
    assert len(world.broker.list_orders(after=BEFORE)) == 1


def test_an_order_may_stay_out_of_sight_while_its_id_is_taken(world: SimulatedWorld) -> None:
    world.simulator.faults.add(on_orders(FaultKind.UNSEEN, reads=3))
    sent = submit(world)
    assert world.broker.get_order_by_client_id("one") is None
    assert world.broker.get_order(sent.broker_order_id) is None
    assert not world.broker.list_orders(after=BEFORE)
    with pytest.raises(BrokerRefusedError) as refused:
        submit(world)
    assert refused.value.is_duplicate_client_order_id
    assert world.broker.get_order(sent.broker_order_id) is not None


READS: list[Callable[[SimulatedWorld], object]] = [
    lambda world: world.broker.get_order_by_client_id("one"),
    lambda world: world.broker.list_open_orders(),
    lambda world: world.broker.list_executions(after=BEFORE),
    lambda world: world.broker.get_positions(),
    lambda world: world.broker.get_account(),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.RESET_BEFORE,
        FaultKind.RESET_AFTER,
        FaultKind.STATUS_BEFORE,
        FaultKind.CUT_BODY,
        FaultKind.MALFORMED,
        FaultKind.HTML,
    ],
)
def test_a_read_under_a_lasting_fault_is_unavailable_and_works_once_it_is_gone(
    world: SimulatedWorld, read: Callable[[SimulatedWorld], object], kind: FaultKind
) -> None:
    submit(world)
    world.simulator.faults.add(Fault(kind, method="GET", times=None))
    with pytest.raises(BrokerUnavailableError):
        read(world)
    world.simulator.faults.clear()
    assert read(world) == read(world)


def test_faults_with_a_probability_are_drawn_from_the_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        plan = FaultPlan(seed)
        plan.add(Fault(FaultKind.LATENCY, times=None, probability=0.25))
        return [plan.take("GET", "/v2/orders") is not None for _ in range(400)]

    assert drawn(7) == drawn(7) != drawn(8)
    assert 60 < sum(drawn(7)) < 140


def test_a_fault_meets_only_what_it_names_and_only_so_often(world: SimulatedWorld) -> None:
    world.simulator.faults.add(Fault(FaultKind.STATUS_BEFORE, method="DELETE", path="/v2/orders", times=1))
    sent = world.broker.submit_order("one", order(limit="150"))
    with pytest.raises(BrokerUnknownError):
        world.broker.cancel_order(sent.broker_order_id)
    world.broker.cancel_order(sent.broker_order_id)


def test_a_429_is_told_with_the_time_to_wait(world: SimulatedWorld) -> None:
    world.simulator.budget.per_minute = 1
    world.broker.get_clock()
    with pytest.raises(BrokerUnavailableError, match="429"):
        world.broker.get_clock()


# What is reported ──────────────────────────────────────────────────────────────────────────────────────


def told(world: SimulatedWorld) -> list[Decimal]:
    return [execution.quantity for execution in world.broker.list_executions(after=BEFORE)]


def test_fills_can_be_missing_for_a_while(world: SimulatedWorld) -> None:
    world.broker.submit_order("before", order(1))
    world.market.hide_fills(1)
    world.broker.submit_order("hidden", order(2))
    world.broker.submit_order("after", order(3))
    assert told(world) == [1, 3]
    assert [position.quantity for position in world.broker.get_positions()] == [6]
    world.market.fill_faults.show_missing()
    assert sorted(told(world)) == [1, 2, 3]


def test_fills_that_are_told_twice_come_once_and_in_order(world: SimulatedWorld) -> None:
    world.market.fill_faults.is_doubled = world.market.fill_faults.is_shuffled = True
    for number in range(60):
        world.broker.submit_order(f"order-{number}", order(1))
        world.set_price("AAPL", Decimal(201 + number))
    prices = [execution.price for execution in world.broker.list_executions(after=BEFORE)]
    assert prices == list(range(200, 260))


def test_an_order_is_filled_in_parts_and_can_end_before_the_whole(world: SimulatedWorld) -> None:
    world.market.settings = HALVES
    sent = world.broker.submit_order("parts", order(10, limit="200"))
    partly = world.broker.get_order(sent.broker_order_id)
    assert partly is not None
    assert (partly.status, partly.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, FIVE)
    world.market.expire(sent.broker_order_id)
    ended = world.broker.get_order(sent.broker_order_id)
    assert ended is not None
    assert (ended.status, ended.filled_quantity) == (OrderStatus.EXPIRED, FIVE)


def test_a_bust_takes_back_fill_holding_and_money(world: SimulatedWorld) -> None:
    before = world.broker.get_account()
    kept, erroneous = submit(world, "kept"), submit(world, "erroneous")
    (execution_id,) = (
        e.execution_id for e in world.market.executions() if e.broker_order_id == erroneous.broker_order_id
    )
    world.market.bust(execution_id)
    found = world.broker.get_order(erroneous.broker_order_id)
    assert found is not None
    assert found.filled_quantity == 0
    assert [e.broker_order_id for e in world.broker.list_executions(after=BEFORE)] == [kept.broker_order_id]
    assert [position.quantity for position in world.broker.get_positions()] == [10]
    after = world.broker.get_account()
    assert after.cash == before.cash - 2000
    assert after.equity == before.equity


def test_a_word_that_nobody_knows_is_unrecognised(world: SimulatedWorld) -> None:
    sent = world.broker.submit_order("one", order(limit="150"))
    world.market.set_word(sent.broker_order_id, "pondering")
    found = world.broker.get_order(sent.broker_order_id)
    assert found is not None
    assert (found.status, found.vendor_status) == (OrderStatus.UNRECOGNISED, "pondering")


def test_an_order_placed_by_hand_stands_in_the_list_under_an_id_of_its_own(world: SimulatedWorld) -> None:
    by_hand = world.market.submit(None, order(3, limit="150"))
    (found,) = world.broker.list_open_orders()
    assert found.client_order_id == by_hand.order.client_order_id


def test_a_replacement_carries_the_rest_and_names_what_it_replaces(world: SimulatedWorld) -> None:
    world.market.settings = HALVES
    old = world.broker.submit_order("old", order(10, limit="200"))
    new = world.broker.replace_order(old.broker_order_id, client_order_id="new", limit_price=Decimal(190))
    assert (new.replaces, new.terms.quantity, new.terms.limit_price) == (
        old.broker_order_id,
        FIVE,
        Decimal(190),
    )
    replaced = world.broker.get_order(old.broker_order_id)
    assert replaced is not None
    assert (replaced.status, replaced.replaced_by) == (OrderStatus.REPLACED, new.broker_order_id)
    with pytest.raises(BrokerRefusedError):
        world.broker.replace_order(old.broker_order_id, client_order_id="newer", limit_price=Decimal(180))


def test_a_sell_that_holds_the_whole_position_back_can_be_replaced(world: SimulatedWorld) -> None:
    submit(world, "bought")
    sell_all = order(10, side=SELL, limit="300")
    old = world.broker.submit_order("old", sell_all)
    new = world.broker.replace_order(old.broker_order_id, client_order_id="new", limit_price=Decimal(290))
    assert [one.broker_order_id for one in world.broker.list_open_orders()] == [new.broker_order_id]


def test_a_database_that_is_gone_is_a_500_and_no_verdict(world: SimulatedWorld) -> None:
    world.market.account_number = "nobody"
    with pytest.raises(BrokerError) as failure:
        world.broker.get_account()
    assert isinstance(failure.value, BrokerUnavailableError)


def drive(world: SimulatedWorld, name: str) -> BrokerOrder:
    """Send an order as the design has it: ask before sending again, always under the same id."""
    for attempt in range(60):
        try:
            found = world.broker.get_order_by_client_id(name) if attempt else None
            return found or world.broker.submit_order(name, order(1))
        except (BrokerUnknownError, BrokerUnavailableError):
            continue
        except BrokerRefusedError as refused:
            if not refused.is_duplicate_client_order_id:
                raise
    raise AssertionError(f"{name} was never settled")


def test_a_storm_of_faults_loses_no_order_and_doubles_none(world: SimulatedWorld) -> None:
    kinds = [kind for kind in FaultKind if kind not in (FaultKind.LATENCY, FaultKind.SLOW_BODY)]
    faults = world.simulator.faults
    faults.add(*(Fault(kind, "POST", "/v2/orders", times=None, probability=0.07) for kind in kinds))
    faults.add(Fault(FaultKind.STATUS_BEFORE, "GET", times=None, probability=0.05))
    names = [f"storm-{number}" for number in range(80)]
    sent = [drive(world, name) for name in names]
    faults.clear()
    assert [one.client_order_id for one in sent] == names
    assert [view.order.client_order_id for view in world.market.all_orders()] == names
    assert [position.quantity for position in world.broker.get_positions()] == [80]
    assert faults.injected.total() > 20
