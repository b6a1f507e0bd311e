"""What the broker's word makes of a trade, under every order and subset of its messages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.brokers.broker import BrokerOrder, Execution, OrderStatus
from trading_orchestration.domain.trade import FINAL_STATUSES, OrderTerms, Side, Trade, TradeStatus
from trading_orchestration.services.settlement import Settlement, of_trade, settle

AT = datetime(2024, 7, 2, 14, tzinfo=UTC)
TERMS = OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(10))
TRADE = Trade(
    id=1,
    portfolio_id=1,
    broker_account_id=1,
    decision_id=1,
    terms=TERMS,
    client_order_id="ours",
    status=TradeStatus.SUBMITTED,
    reason="test",
    decided_at=AT,
    broker_order_id="theirs",
)
ORDER = BrokerOrder(
    broker_order_id="theirs",
    client_order_id="ours",
    terms=TERMS,
    status=OrderStatus.OPEN,
    vendor_status="new",
    filled_quantity=Decimal(0),
    filled_average_price=None,
    submitted_at=AT,
)
STATUSES = st.sampled_from(OrderStatus)


def execution(number: int, quantity: int, minute: int) -> Execution:
    return Execution(
        execution_id=f"e{number}",
        broker_order_id="theirs",
        symbol="AAPL",
        side=Side.BUY,
        quantity=Decimal(quantity),
        price=Decimal(100),
        cumulative_quantity=Decimal(quantity),
        executed_at=AT + timedelta(minutes=minute),
    )


EXECUTIONS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=5).map(
    lambda pairs: [execution(number, *pair) for number, pair in enumerate(pairs)]
)


def after(settlement: Settlement) -> Trade:
    """The trade once the settlement is on record."""
    return replace(settlement.trade, status=settlement.status, filled_quantity=settlement.filled_quantity)


@given(executions=EXECUTIONS, status=STATUSES, filled=st.integers(0, 12), is_day_over=st.booleans())
def test_never_more_than_the_quantity_is_filled_and_status_and_fills_agree(
    executions: list[Execution], status: OrderStatus, filled: int, is_day_over: bool
):
    order = replace(ORDER, status=status, filled_quantity=Decimal(filled))
    found = settle(TRADE, order, executions, is_day_over=is_day_over)
    booked = sum((fill.fill.quantity for fill in found.fills), Decimal(0))
    assert booked == found.filled_quantity <= TERMS.quantity
    assert (found.status is TradeStatus.FILLED) == (booked == TERMS.quantity)
    assert (found.status is TradeStatus.SUBMITTED) <= (booked == 0)
    assert len(found.fills) + len(found.refused) == len(executions)
    assert [fill.cumulative_quantity for fill in found.fills] == sorted(
        {fill.cumulative_quantity for fill in found.fills}
    )


@given(executions=EXECUTIONS, status=STATUSES, seen=st.sets(st.integers(0, 4)), data=st.data())
def test_messages_in_two_parts_come_to_what_they_come_to_at_once(
    executions: list[Execution], status: OrderStatus, seen: set[int], data: Any
):
    """As long as they are no more than was asked for: whatever came first, the same is booked in the end."""
    total = sum((e.quantity for e in executions), Decimal(0))
    quantity = max(total, Decimal(1)) + data.draw(st.integers(0, 3))
    trade = replace(TRADE, terms=replace(TERMS, quantity=quantity))
    order = replace(ORDER, status=status, filled_quantity=total)
    first = [e for number, e in enumerate(executions) if number in seen]
    rest = [e for number, e in enumerate(executions) if number not in seen]
    once = settle(trade, order, executions, is_day_over=False)
    half = settle(trade, order, first, is_day_over=False)
    twice = settle(after(half), order, rest, is_day_over=False)
    assert (twice.status, twice.filled_quantity) == (once.status, once.filled_quantity)
    assert {f.execution_id for f in (*half.fills, *twice.fills)} == {e.execution_id for e in executions}


@given(executions=EXECUTIONS, status=STATUSES, is_day_over=st.booleans())
def test_a_settled_trade_has_no_more_news(
    executions: list[Execution], status: OrderStatus, is_day_over: bool
):
    order = replace(ORDER, status=status, filled_quantity=Decimal(5))
    found = settle(TRADE, order, executions, is_day_over=is_day_over)
    if not found.refused:
        assert not settle(after(found), order, [], is_day_over=is_day_over).is_news


@given(
    final=st.sampled_from(sorted(FINAL_STATUSES - {TradeStatus.FILLED})),
    executions=EXECUTIONS,
    order=st.none() | STATUSES.map(lambda status: replace(ORDER, status=status)),
    is_day_over=st.booleans(),
)
def test_a_final_status_absorbs_everything_but_the_quantity_of_a_late_fill(
    final: TradeStatus, executions: list[Execution], order: BrokerOrder | None, is_day_over: bool
):
    found = settle(replace(TRADE, status=final), order, executions, is_day_over=is_day_over)
    assert found.status is final
    assert found.reason is None
    assert all(fill.is_late for fill in found.fills)
    assert bool(found.fills) == any(e.quantity <= 10 for e in executions)


@given(status=STATUSES)
def test_a_closed_order_that_lacks_executions_waits_until_the_day_is_over(status: OrderStatus):
    order = replace(ORDER, status=status, filled_quantity=Decimal(4))
    assert settle(TRADE, order, [], is_day_over=False).status not in FINAL_STATUSES
    ended = settle(TRADE, order, [], is_day_over=True)
    is_closed = status in {
        OrderStatus.FILLED,
        OrderStatus.CANCELLED,
        OrderStatus.EXPIRED,
        OrderStatus.REJECTED,
    }
    assert (ended.status in FINAL_STATUSES) == is_closed
    assert (ended.reason is not None) == is_closed


def test_executions_belong_to_a_trade_under_its_order_and_the_one_that_replaced_it_each_once():
    mine, new, other = (replace(execution(n, 1, 9 - n), broker_order_id=o) for n, o in enumerate("abc"))
    by_order = {"a": [mine, replace(mine)], "b": [new], "c": [other]}
    trade = replace(TRADE, broker_order_id="a")
    assert of_trade(trade, replace(ORDER, broker_order_id="b"), by_order) == [new, mine]
    assert of_trade(trade, None, by_order) == [mine]
