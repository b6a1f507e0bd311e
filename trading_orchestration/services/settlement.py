"""What the broker's word on one order makes of its trade: the fills to book and the status. Pure.

Fills come from executions alone; an order's status only tells when no more will come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_orchestration.brokers.broker import CLOSED_ORDER_STATUSES, BrokerOrder, Execution, OrderStatus
from trading_orchestration.domain.money import is_on_grid, plain, rounded
from trading_orchestration.domain.trade import FINAL_STATUSES, Fill, Trade, TradeStatus
from trading_orchestration.store.ledger import NewFill

_STATUS_OF_CLOSED = {
    OrderStatus.CANCELLED: TradeStatus.CANCELLED,
    OrderStatus.EXPIRED: TradeStatus.EXPIRED,
    OrderStatus.REJECTED: TradeStatus.REJECTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is to be booked for a trade and what becomes of it.

    `refused` holds one sentence for each execution that cannot be booked: a person has to look.
    """

    trade: Trade
    fills: tuple[NewFill, ...]
    status: TradeStatus
    filled_quantity: Decimal
    reason: str | None
    refused: tuple[str, ...]

    @property
    def is_news(self) -> bool:
        """Whether it differs from what is on record."""
        return (self.status, self.filled_quantity) != (self.trade.status, self.trade.filled_quantity)


def settle(
    trade: Trade, order: BrokerOrder | None, executions: Iterable[Execution], *, is_day_over: bool
) -> Settlement:
    """Settle a trade with its order as the broker has it (None: it knows none) and its unbooked executions.

    A final trade keeps its status and still books a late fill. An execution that would fill it beyond its
    quantity, or is of another symbol or side, is refused. A closed order is waited for until its executions
    are all there, or the day is over.
    """
    fills, refused = _bookable(trade, executions)
    filled = fills[-1].cumulative_quantity if fills else trade.filled_quantity
    status = _status(trade, order, filled, is_complete=is_day_over or bool(refused))
    return Settlement(
        trade=trade,
        fills=fills,
        status=status,
        filled_quantity=filled,
        reason=_reason(trade, order, status, filled),
        refused=refused,
    )


def of_trade(
    trade: Trade, order: BrokerOrder | None, executions: Mapping[str, Iterable[Execution]]
) -> list[Execution]:
    """The executions (by order) of a trade: under its own order, and under those that replaced it."""
    ids = {trade.broker_order_id, *((order.broker_order_id, *order.earlier_ids) if order else ())}
    found = {e.execution_id: e for order_id in ids if order_id for e in executions.get(order_id, ())}
    return sorted(found.values(), key=lambda e: (e.executed_at, e.cumulative_quantity, e.execution_id))


def _bookable(trade: Trade, executions: Iterable[Execution]) -> tuple[tuple[NewFill, ...], tuple[str, ...]]:
    fills: list[NewFill] = []
    refused: list[str] = []
    total = trade.filled_quantity
    for execution in executions:
        problem = _why_not(trade, execution, total)
        if problem is not None:
            refused.append(problem)
            continue
        total += execution.quantity
        fills.append(_new_fill(trade, execution, total))
    return tuple(fills), tuple(refused)


def _why_not(trade: Trade, execution: Execution, total: Decimal) -> str | None:
    terms = trade.terms
    what = (
        f"Execution {execution.execution_id} ({execution.side} {plain(execution.quantity)} "
        f"{execution.symbol} at {plain(execution.price)})"
    )
    if (execution.symbol, execution.side) != (terms.symbol, terms.side):
        return (
            f"{what} belongs to trade {trade.id}, which is to {terms.side} {terms.symbol}; it was not booked."
        )
    if not is_on_grid(execution.quantity) or execution.quantity <= 0 or rounded(execution.price) <= 0:
        return f"{what} of trade {trade.id} is no fill the ledger can hold; it was not booked."
    if total + execution.quantity > terms.quantity:
        return (
            f"{what} would fill trade {trade.id} beyond its {plain(terms.quantity)}, of which "
            f"{plain(total)} are filled; it was not booked."
        )
    return None


def _new_fill(trade: Trade, execution: Execution, total: Decimal) -> NewFill:
    return NewFill(
        trade_id=trade.id,
        portfolio_id=trade.portfolio_id,
        execution_id=execution.execution_id,
        fill=Fill(
            symbol=execution.symbol,
            side=execution.side,
            quantity=execution.quantity,
            price=rounded(execution.price),
            fee=rounded(execution.fee),
            executed_at=execution.executed_at,
        ),
        cumulative_quantity=total,
        is_late=trade.status in FINAL_STATUSES,
    )


def _status(trade: Trade, order: BrokerOrder | None, filled: Decimal, *, is_complete: bool) -> TradeStatus:
    """The status; `is_complete` tells that no more executions will come than are here."""
    if trade.status in FINAL_STATUSES:
        return trade.status
    if filled == trade.terms.quantity:
        return TradeStatus.FILLED
    if order is None and is_complete:
        return TradeStatus.EXPIRED
    is_closed = order is not None and order.status in CLOSED_ORDER_STATUSES
    if order is not None and is_closed and (is_complete or filled >= order.filled_quantity):
        return _STATUS_OF_CLOSED.get(order.status, TradeStatus.CANCELLED)
    return TradeStatus.PARTIALLY_FILLED if filled else TradeStatus.SUBMITTED


def _reason(trade: Trade, order: BrokerOrder | None, status: TradeStatus, filled: Decimal) -> str | None:
    if status not in FINAL_STATUSES or status is TradeStatus.FILLED or trade.status in FINAL_STATUSES:
        return None
    if order is None:
        return "The broker no longer knows the order."
    if filled < order.filled_quantity:
        return (
            f"The broker says {order.vendor_status} with {plain(order.filled_quantity)} filled, of which it "
            f"lists {plain(filled)}."
        )
    return f"The broker says {order.vendor_status}."
