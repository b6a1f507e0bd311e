"""What every broker must do, whoever it is.

An implementation subclasses `BrokerContract` as a `Test…` class and gives the fixture `world`, nothing else.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from threading import Barrier
from uuid import uuid4

import pytest

from trading_orchestration.brokers.broker import Broker, OrderStatus
from trading_orchestration.domain.money import product
from trading_orchestration.domain.trade import OrderTerms, Side, TimeInForce
from trading_orchestration.errors import BrokerRefusedError
from trading_orchestration_tests.contracts.broker_hours_contract import BrokerHoursContract
from trading_orchestration_tests.contracts.broker_world import (
    AAPL,
    BEFORE,
    CASH,
    CLOSE,
    EARLY_CLOSE,
    FAR_LIMIT,
    MSFT,
    NOT_TRADABLE,
    START,
    THREADS,
    UNKNOWN,
    WHOLE_ONLY,
    BrokerWorld,
    fresh_id,
    held,
    order,
    sell,
    status_of,
)


class BrokerContract(BrokerHoursContract):
    """The claims. Prices are 200 for AAPL, 400 for MSFT and 300 for the rest until a test moves them."""

    @pytest.fixture
    def world(self) -> Iterator[BrokerWorld]:
        raise NotImplementedError

    @pytest.fixture
    def broker(self, world: BrokerWorld) -> Broker:
        for symbol, price in ((AAPL, 200), (MSFT, 400), (WHOLE_ONLY, 300), (NOT_TRADABLE, 300)):
            world.set_price(symbol, Decimal(price))
        return world.broker

    # One order for one id ──────────────────────────────────────────────────────────────────────────────

    def test_an_accepted_order_is_known_by_both_ids_with_its_terms(self, broker: Broker):
        terms = order("7.5", limit="150.25")
        accepted = broker.submit_order("both-ids", terms)
        by_id = broker.get_order(accepted.broker_order_id)
        assert accepted.client_order_id == "both-ids"
        assert accepted.status is OrderStatus.OPEN
        assert by_id is not None
        assert by_id == broker.get_order_by_client_id("both-ids")
        assert by_id.terms == accepted.terms == terms
        assert by_id.broker_order_id == accepted.broker_order_id
        assert by_id.submitted_at.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("fate", ["open", "filled", "cancelled", "expired"])
    def test_a_second_order_with_the_same_id_is_refused_whatever_became_of_the_first(
        self, world: BrokerWorld, broker: Broker, fate: str
    ):
        first = broker.submit_order("once", order() if fate == "filled" else FAR_LIMIT)
        if fate == "cancelled":
            broker.cancel_order(first.broker_order_id)
        if fate == "expired":
            world.advance(CLOSE + timedelta(minutes=1))
        before = broker.get_order(first.broker_order_id)
        assert before is not None
        assert before.status == fate

        with pytest.raises(BrokerRefusedError) as refused:
            broker.submit_order("once", order(3, symbol=MSFT))

        assert refused.value.is_duplicate_client_order_id
        assert broker.get_order_by_client_id("once") == before
        assert [one.client_order_id for one in broker.list_orders(after=BEFORE)] == ["once"]

    def test_a_second_order_is_told_from_one_that_is_refused_for_another_reason(self, broker: Broker):
        """A sender that retries must learn that the order exists, even when it could not be sent anew."""
        broker.submit_order("all-in", order(500))
        with pytest.raises(BrokerRefusedError) as refused:
            broker.submit_order("all-in", order(500))
        assert refused.value.is_duplicate_client_order_id
        with pytest.raises(BrokerRefusedError) as refused:
            broker.submit_order("too-much", order(500))
        assert not refused.value.is_duplicate_client_order_id

    def test_one_order_comes_of_many_submissions_at_once(self, world: BrokerWorld, broker: Broker):
        for number in range(5):
            name, barrier = f"race-{number}", Barrier(THREADS)
            clients = [world.connect() for _ in range(THREADS)]

            def submit(client: Broker, name: str = name, barrier: Barrier = barrier) -> str:
                barrier.wait()
                try:
                    client.submit_order(name, order(1))
                except BrokerRefusedError as refused:
                    return "duplicate" if refused.is_duplicate_client_order_id else str(refused)
                return "accepted"

            with ThreadPoolExecutor(THREADS) as pool:
                answers = sorted(pool.map(submit, clients))
            assert answers == ["accepted", *["duplicate"] * (THREADS - 1)]
        assert len(broker.list_orders(after=BEFORE)) == 5
        assert held(broker) == {AAPL: Decimal(5)}

    def test_orders_sent_at_once_cannot_spend_the_same_cash(self, world: BrokerWorld, broker: Broker):
        clients, barrier = [world.connect() for _ in range(THREADS)], Barrier(THREADS)

        def submit(client: Broker) -> bool:
            barrier.wait()
            try:
                client.submit_order(fresh_id(), order(200))
            except BrokerRefusedError:
                return False
            return True

        with ThreadPoolExecutor(THREADS) as pool:
            assert sum(pool.map(submit, clients)) == 2
        assert broker.get_account().cash == CASH - 2 * 200 * 200

    def test_an_order_that_does_not_exist_is_none(self, broker: Broker):
        assert broker.get_order(str(uuid4())) is None
        assert broker.get_order("not-an-id") is None
        assert broker.get_order_by_client_id("never-sent") is None

    # Refusals ──────────────────────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize(
        "terms",
        [
            pytest.param(order(symbol=UNKNOWN), id="unknown symbol"),
            pytest.param(order(symbol=NOT_TRADABLE), id="not tradable"),
            pytest.param(order("1.5", symbol=WHOLE_ONLY), id="not fractionable"),
            pytest.param(order("1.5", limit="150", time_in_force=TimeInForce.GTC), id="fraction not day"),
            pytest.param(order(0), id="nothing"),
            pytest.param(order(-1), id="less than nothing"),
            pytest.param(order(limit="150.001"), id="sub-penny from one dollar on"),
            pytest.param(order(limit="0.12345"), id="sub-penny below one dollar"),
            pytest.param(order(stop="250.001"), id="sub-penny stop"),
            pytest.param(order(1_000), id="more than the cash"),
            pytest.param(sell(1), id="more than is held"),
        ],
    )
    def test_a_refused_order_leaves_nothing(self, broker: Broker, terms: OrderTerms):
        account, name = broker.get_account(), fresh_id()
        with pytest.raises(BrokerRefusedError) as refused:
            broker.submit_order(name, terms)
        assert not refused.value.is_duplicate_client_order_id
        assert str(refused.value)
        assert broker.get_order_by_client_id(name) is None
        assert not broker.list_orders(after=BEFORE)
        assert broker.get_account() == account

    def test_open_buys_hold_buying_power_back(self, broker: Broker):
        resting = broker.submit_order("big", order(600, limit="150"))
        assert broker.get_account().buying_power == CASH - 600 * 150
        with pytest.raises(BrokerRefusedError):
            broker.submit_order("one-too-many", order(100, limit="150"))
        broker.cancel_order(resting.broker_order_id)
        assert broker.get_account().buying_power == CASH
        broker.submit_order("now-it-fits", order(100, limit="150"))

    def test_open_sells_hold_the_holding_back(self, broker: Broker):
        broker.submit_order("buy", order(10))
        resting = broker.submit_order("sell-most", sell(8, limit="300"))
        with pytest.raises(BrokerRefusedError):
            broker.submit_order("sell-too-many", sell(3, limit="300"))
        broker.cancel_order(resting.broker_order_id)
        broker.submit_order("sell-all", sell(10))
        assert held(broker) == {}

    # Lists ─────────────────────────────────────────────────────────────────────────────────────────────

    def test_more_open_orders_than_a_page_are_listed_whole_and_in_order(self, broker: Broker):
        names = [f"many-{number}" for number in range(510)]
        for name in names:
            broker.submit_order(name, order(1, limit="1"))
        assert [one.client_order_id for one in broker.list_open_orders()] == names
        assert [one.client_order_id for one in broker.list_orders(after=BEFORE)] == names

    def test_orders_are_listed_from_after_an_instant_open_or_closed(self, world: BrokerWorld, broker: Broker):
        sent = []
        for number, terms in enumerate((order(), FAR_LIMIT, FAR_LIMIT)):
            world.advance(START + timedelta(minutes=number + 1))
            sent.append(broker.submit_order(f"listed-{number}", terms))
        broker.cancel_order(sent[1].broker_order_id)

        def listed(after: datetime) -> list[str]:
            return [one.client_order_id for one in broker.list_orders(after=after)]

        assert listed(BEFORE) == ["listed-0", "listed-1", "listed-2"]
        assert listed(sent[0].submitted_at) == ["listed-1", "listed-2"]
        assert listed(sent[2].submitted_at) == []
        assert [one.client_order_id for one in broker.list_open_orders()] == ["listed-2"]

    def test_executions_are_listed_from_after_an_instant_oldest_first(
        self, world: BrokerWorld, broker: Broker
    ):
        for number, symbol in enumerate((AAPL, MSFT, AAPL, MSFT)):
            world.advance(START + timedelta(minutes=number + 1))
            broker.submit_order(f"execution-{number}", order(number + 1, symbol=symbol))
        executions = broker.list_executions(after=BEFORE)
        assert [one.symbol for one in executions] == [AAPL, MSFT, AAPL, MSFT]
        assert all(one.executed_at < two.executed_at for one, two in pairwise(executions))
        assert len({one.execution_id for one in executions}) == 4
        assert list(broker.list_executions(after=executions[1].executed_at)) == list(executions[2:])
        assert not broker.list_executions(after=executions[3].executed_at)
        assert list(broker.list_executions(after=BEFORE)) == list(executions)

    # Fills ─────────────────────────────────────────────────────────────────────────────────────────────

    def test_a_market_order_is_filled_at_the_price(self, broker: Broker):
        accepted = broker.submit_order("market", order("2.123456789"))
        filled = broker.get_order(accepted.broker_order_id)
        assert filled is not None
        assert filled.status is OrderStatus.FILLED
        assert filled.filled_quantity == Decimal("2.123456789")
        assert filled.filled_average_price == 200
        assert not broker.list_open_orders()

    @pytest.mark.parametrize(
        ("terms", "miss", "hit"),
        [
            pytest.param(order(limit="190"), "190.01", "189", id="limit buy"),
            pytest.param(sell(limit="210"), "209.99", "211", id="limit sell"),
            pytest.param(order(stop="210"), "209.99", "210.01", id="stop buy"),
            pytest.param(sell(stop="190"), "190.01", "189.99", id="stop sell"),
            pytest.param(order(stop="210", limit="212"), "209.99", "211", id="stop-limit buy"),
            pytest.param(sell(stop="190", limit="188"), "190.01", "189", id="stop-limit sell"),
        ],
    )
    def test_a_resting_order_is_filled_when_the_price_reaches_it_and_not_before(
        self, world: BrokerWorld, broker: Broker, terms: OrderTerms, miss: str, hit: str
    ):
        broker.submit_order("holding", order(20))
        resting = broker.submit_order("resting", terms)
        world.set_price(AAPL, Decimal(miss))
        assert status_of(broker, resting) is OrderStatus.OPEN
        world.set_price(AAPL, Decimal(hit))
        filled = broker.get_order(resting.broker_order_id)
        assert filled is not None
        assert filled.status is OrderStatus.FILLED
        assert filled.filled_average_price == Decimal(hit)

    def test_a_stop_limit_order_waits_for_its_limit_once_it_was_triggered(
        self, world: BrokerWorld, broker: Broker
    ):
        resting = broker.submit_order("stop-limit", order(stop="210", limit="212"))
        world.set_price(AAPL, Decimal(215))
        assert status_of(broker, resting) is OrderStatus.OPEN
        world.set_price(AAPL, Decimal(205))
        filled = broker.get_order(resting.broker_order_id)
        assert filled is not None
        assert filled.filled_average_price == 205

    def test_a_limit_order_that_the_market_meets_on_arrival_is_filled_at_the_market(self, broker: Broker):
        bought = broker.submit_order("generous", order(limit="250"))
        sold = broker.submit_order("eager", sell(limit="150"))
        assert [one.price for one in broker.list_executions(after=BEFORE)] == [200, 200]
        assert status_of(broker, bought) is status_of(broker, sold) is OrderStatus.FILLED

    def test_executions_positions_and_cash_tell_the_same_story(self, world: BrokerWorld, broker: Broker):
        """Σ executions is the filled quantity of each order, the holding of each symbol and the cash."""
        story: list[tuple[str, str, OrderTerms]] = [
            (AAPL, "200.01", order("10.123456789")),
            (MSFT, "399.99", order("3.5", symbol=MSFT)),
            (AAPL, "203.33", sell("4.000000001")),
            (AAPL, "198.5", order("0.000000001")),
            (MSFT, "401.07", order("1.25", symbol=MSFT, side=Side.SELL)),
        ]
        for number, (symbol, price, terms) in enumerate(story):
            world.set_price(symbol, Decimal(price))
            broker.submit_order(f"story-{number}", terms)

        executions = broker.list_executions(after=BEFORE)
        cash = CASH
        by_order: dict[str, Decimal] = defaultdict(Decimal)
        by_symbol: dict[str, Decimal] = defaultdict(Decimal)
        for one in executions:
            by_order[one.broker_order_id] += one.quantity
            assert by_order[one.broker_order_id] == one.cumulative_quantity
            by_symbol[one.symbol] += one.side.sign * one.quantity
            cash -= one.side.sign * product(one.quantity, one.price) + one.fee
        orders = broker.list_orders(after=BEFORE)
        assert {one.broker_order_id: one.filled_quantity for one in orders} == by_order
        assert [one.filled_quantity for one in orders] == [terms.quantity for _, _, terms in story]
        assert [one.filled_average_price for one in orders] == [Decimal(price) for _, price, _ in story]
        assert held(broker) == by_symbol == {AAPL: Decimal("6.123456789"), MSFT: Decimal("2.25")}
        assert broker.get_account().cash == cash

    def test_the_average_entry_price_is_the_average_cost(self, world: BrokerWorld, broker: Broker):
        broker.submit_order("first", order(10))
        world.set_price(AAPL, Decimal(210))
        broker.submit_order("second", order(10))
        world.set_price(AAPL, Decimal(220))
        broker.submit_order("third", sell(15))
        (position,) = broker.get_positions()
        assert position.quantity == 5
        assert position.average_entry_price == 205

    def test_the_account_is_worth_its_cash_and_its_holdings(self, world: BrokerWorld, broker: Broker):
        broker.submit_order("buy", order(100))
        world.set_price(AAPL, Decimal(210))
        account = broker.get_account()
        assert account.cash == CASH - 100 * 200
        assert account.equity == CASH + 100 * 10
        assert account.buying_power == account.cash
        assert account.currency == "USD"
        assert not account.is_blocked
        assert account.account_number == world.connect().get_account().account_number != ""

    # Cancels and expiry ────────────────────────────────────────────────────────────────────────────────

    def test_an_open_order_can_be_cancelled_once_and_is_not_filled_any_more(
        self, world: BrokerWorld, broker: Broker
    ):
        resting = broker.submit_order("cancel", FAR_LIMIT)
        broker.cancel_order(resting.broker_order_id)
        assert status_of(broker, resting) is OrderStatus.CANCELLED
        with pytest.raises(BrokerRefusedError):
            broker.cancel_order(resting.broker_order_id)
        world.set_price(AAPL, Decimal(100))
        assert status_of(broker, resting) is OrderStatus.CANCELLED
        assert not broker.list_executions(after=BEFORE)

    def test_a_closed_or_unknown_order_cannot_be_cancelled(self, world: BrokerWorld, broker: Broker):
        filled, expired = broker.submit_order("filled", order()), broker.submit_order("expired", FAR_LIMIT)
        world.advance(CLOSE + timedelta(minutes=1))
        for order_id in (filled.broker_order_id, expired.broker_order_id, str(uuid4())):
            with pytest.raises(BrokerRefusedError):
                broker.cancel_order(order_id)
        assert status_of(broker, filled) is OrderStatus.FILLED
        assert status_of(broker, expired) is OrderStatus.EXPIRED

    def test_a_day_order_ends_with_its_session_and_a_gtc_order_does_not(
        self, world: BrokerWorld, broker: Broker
    ):
        day = broker.submit_order("day", FAR_LIMIT)
        gtc = broker.submit_order("gtc", order(limit="150", time_in_force=TimeInForce.GTC))
        world.advance(CLOSE - timedelta(minutes=1))
        assert status_of(broker, day) is OrderStatus.OPEN
        world.advance(CLOSE + timedelta(minutes=1))
        assert status_of(broker, day) is OrderStatus.EXPIRED
        assert [one.client_order_id for one in broker.list_open_orders()] == ["gtc"]
        assert broker.get_account().buying_power == CASH - 10 * 150
        world.advance(datetime(2024, 7, 3, 14, 0, tzinfo=UTC))
        world.set_price(AAPL, Decimal(140))
        assert status_of(broker, day) is OrderStatus.EXPIRED
        assert status_of(broker, gtc) is OrderStatus.FILLED

    def test_an_order_sent_after_the_close_waits_for_the_next_session(
        self, world: BrokerWorld, broker: Broker
    ):
        """A market order meets the next open's price; a day order ends with the next session."""
        world.advance(CLOSE + timedelta(hours=1))
        market, limit = broker.submit_order("overnight", order()), broker.submit_order("patient", FAR_LIMIT)
        assert status_of(broker, market) is OrderStatus.OPEN
        world.advance(datetime(2024, 7, 3, 13, 30, tzinfo=UTC))
        assert status_of(broker, market) is OrderStatus.OPEN
        world.set_price(AAPL, Decimal(207))
        (execution,) = broker.list_executions(after=BEFORE)
        assert execution.price == 207
        assert execution.executed_at >= datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
        world.advance(EARLY_CLOSE - timedelta(minutes=1))
        assert status_of(broker, limit) is OrderStatus.OPEN
        world.advance(EARLY_CLOSE + timedelta(minutes=1))
        assert status_of(broker, limit) is OrderStatus.EXPIRED
