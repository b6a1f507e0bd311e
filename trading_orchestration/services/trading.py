"""`TradingService`: what the broker says about our orders, brought into trades, ledger and positions.

Fills come from the broker's executions alone; an order's status only tells when no more will come.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import (
    CLOSED_ORDER_STATUSES,
    Broker,
    BrokerOrder,
    BrokerPosition,
    Execution,
    OrderStatus,
)
from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.trade import FINAL_STATUSES, Fill, Trade, TradeStatus
from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.store import ledger, portfolios, trades
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger import BookedFill, NewFill
from trading_orchestration.store.portfolios import Account, HaltLevel
from trading_orchestration.store.trades import Progress

#: Executions may become visible out of order; reading starts this much before the last one booked.
_OVERLAP = timedelta(minutes=10)
#: From here on one list of all orders costs fewer requests than asking for each.
_ASK_ONE_BY_ONE_MAX = 10
_REPLACEMENTS_MAX = 10
_STATUS_OF_CLOSED = {
    OrderStatus.CANCELLED: TradeStatus.CANCELLED,
    OrderStatus.EXPIRED: TradeStatus.EXPIRED,
    OrderStatus.REJECTED: TradeStatus.REJECTED,
}


@dataclass(frozen=True, slots=True)
class TradingService:
    """The orders, fills and positions of one account."""

    begin: Begin
    broker: Broker
    account: Account
    calendar: MarketCalendar
    clock: Clock

    def get_broker_positions(self) -> Sequence[BrokerPosition]:
        """What the broker says the account holds.

        An empty answer while the account is worth more than its cash is no flat account but a failure:
        raises BrokerUnavailableError.
        """
        positions = self.broker.get_positions()
        if not positions:
            account = self.broker.get_account()
            if account.equity != account.cash:
                raise BrokerUnavailableError(
                    f"The broker lists no position, yet equity is {account.equity} and cash {account.cash}."
                )
        return positions

    def get_order_status(self, trade: Trade) -> BrokerOrder | None:
        """The order behind a trade as the broker has it now, replacements followed; None if it has none."""
        if trade.broker_order_id is None:
            return self.broker.get_order_by_client_id(trade.client_order_id)
        order = self.broker.get_order(trade.broker_order_id)
        for _ in range(_REPLACEMENTS_MAX):
            if order is None or order.status is not OrderStatus.REPLACED or order.replaced_by is None:
                return order
            order = self.broker.get_order(order.replaced_by)
        return order

    def update_trade_status(self) -> Counter[str]:
        """Ask the broker about every trade that is not final and book what it answers.

        Counts `checked`, `filled`, `partially_filled`, `cancelled` (expired ones too) and `rejected`.
        """
        with self.begin() as connection:
            open_trades = trades.trades_at_broker(connection, self.account.id)
        open_orders = self.broker.list_open_orders()
        orders = self._orders_of(open_trades, open_orders)
        executions = self._executions(open_trades, orders)
        with self.begin() as connection:
            unbooked = self._unbooked(connection, executions)
            traded = trades.trades_by_broker_orders(
                connection, self.account.id, sorted({e.broker_order_id for e in unbooked})
            )
            self._halt_for_strangers(connection, open_orders)
        counts = Counter(checked=len(open_trades))
        for portfolio_id, group in _by_portfolio([*open_trades, *traded]).items():
            counts += self._settle(portfolio_id, group, orders, unbooked)
        if executions:
            with self.begin() as connection:
                portfolios.set_executions_read_until(
                    connection, self.account.id, max(e.executed_at for e in executions)
                )
        return counts

    def update_position_after_fill(
        self, connection: Connection, portfolio_id: int, booked: Sequence[BookedFill]
    ) -> None:
        """Fold newly booked fills into the cached positions and cash; the portfolio must be held."""
        if booked:
            ledger.apply_booked_fills(connection, portfolio_id, booked)

    def _orders_of(
        self, open_trades: Sequence[Trade], open_orders: Sequence[BrokerOrder]
    ) -> dict[int, BrokerOrder]:
        """The order behind each trade, by trade id."""
        by_id = {order.broker_order_id: order for order in open_orders}
        closed = [t for t in open_trades if t.broker_order_id not in by_id]
        if len(closed) > _ASK_ONE_BY_ONE_MAX:
            first = min(t.submitted_at or t.decided_at for t in closed)
            by_id |= {o.broker_order_id: o for o in self.broker.list_orders(after=first - _OVERLAP)}
        found: dict[int, BrokerOrder] = {}
        for trade in open_trades:
            order = by_id.get(trade.broker_order_id or "")
            if order is None or order.status is OrderStatus.REPLACED:
                order = self.get_order_status(trade)
            if order is not None:
                found[trade.id] = order
        return found

    def _executions(
        self, open_trades: Sequence[Trade], orders: Mapping[int, BrokerOrder]
    ) -> Sequence[Execution]:
        """Executions since those booked last; from further back where an order has more than we booked."""
        since = self.account.executions_read_until or self.clock() - timedelta(days=1)
        started = [since - _OVERLAP]
        for trade in open_trades:
            order = orders.get(trade.id)
            if order is not None and order.filled_quantity > trade.filled_quantity:
                started.append(min(order.submitted_at, trade.submitted_at or order.submitted_at) - _OVERLAP)
        return self.broker.list_executions(after=min(started))

    def _unbooked(self, connection: Connection, executions: Sequence[Execution]) -> list[Execution]:
        booked = ledger.booked_executions(connection, self.account.id, [e.execution_id for e in executions])
        return [e for e in executions if e.execution_id not in booked]

    def _settle(
        self,
        portfolio_id: int,
        group: Sequence[Trade],
        orders: Mapping[int, BrokerOrder],
        executions: Sequence[Execution],
    ) -> Counter[str]:
        """Book the executions of some trades of one portfolio and move their statuses, in one transaction."""
        by_order = _by_order(executions)
        if not any(self._has_news(trade, orders.get(trade.id), by_order) for trade in group):
            return Counter()
        with self.begin() as connection:
            portfolios.hold_portfolio(connection, portfolio_id)
            held = trades.hold_trades(connection, sorted({t.id for t in group}))
            fills = self._new_fills(connection, held.values(), orders, by_order)
            booked = ledger.add_fills(connection, self.account.id, fills) if fills else []
            crashpoint("after_fills")
            self.update_position_after_fill(connection, portfolio_id, booked)
            crashpoint("after_positions")
            progress = self._progress(held.values(), orders, booked)
            if progress:
                trades.set_progress(connection, progress, at=self.clock())
            self._notify_progress(connection, held, progress)
        crashpoint("after_settlement")
        return _count(held, progress)

    def _new_fills(
        self,
        connection: Connection,
        held: Iterable[Trade],
        orders: Mapping[int, BrokerOrder],
        by_order: Mapping[str, Sequence[Execution]],
    ) -> list[NewFill]:
        fills: list[NewFill] = []
        for trade in held:
            total = trade.filled_quantity
            for execution in _executions_of(trade, orders.get(trade.id), by_order):
                if total + execution.quantity > trade.terms.quantity:
                    self._halt_for_overfill(connection, trade, execution)
                    break
                total += execution.quantity
                fills.append(_new_fill(trade, execution, total))
        return fills

    def _progress(
        self, held: Iterable[Trade], orders: Mapping[int, BrokerOrder], booked: Sequence[BookedFill]
    ) -> list[Progress]:
        booked_quantity: dict[int, Decimal] = defaultdict(Decimal)
        for entry in booked:
            booked_quantity[entry.trade_id] += entry.fill.quantity
        progress = []
        for trade in held:
            filled = trade.filled_quantity + booked_quantity[trade.id]
            order = orders.get(trade.id)
            status = self._status_of(trade, order, filled)
            if status is not trade.status or filled != trade.filled_quantity:
                progress.append(
                    Progress(
                        trade_id=trade.id,
                        status=status,
                        filled_quantity=filled,
                        broker_order_id=order.broker_order_id if order else trade.broker_order_id or "",
                        reason=_why(status, order),
                    )
                )
        return progress

    def _status_of(self, trade: Trade, order: BrokerOrder | None, filled: Decimal) -> TradeStatus:
        if trade.status in FINAL_STATUSES:
            return trade.status
        if filled == trade.terms.quantity:
            return TradeStatus.FILLED
        if order is None:
            return TradeStatus.EXPIRED if self._is_gone(trade) else trade.status
        if order.status in CLOSED_ORDER_STATUSES and filled >= order.filled_quantity:
            return _STATUS_OF_CLOSED.get(order.status, TradeStatus.CANCELLED)
        return TradeStatus.PARTIALLY_FILLED if filled else TradeStatus.SUBMITTED

    def _has_news(
        self, trade: Trade, order: BrokerOrder | None, by_order: Mapping[str, Sequence[Execution]]
    ) -> bool:
        if _executions_of(trade, order, by_order):
            return True
        return self._status_of(trade, order, trade.filled_quantity) is not trade.status

    def _is_gone(self, trade: Trade) -> bool:
        """Whether an order that the broker does not know may be given up: its day is over."""
        session = self.calendar.session_at(trade.decided_at)
        return session is None or self.clock() > session.closes_at

    def _halt_for_strangers(self, connection: Connection, open_orders: Sequence[BrokerOrder]) -> None:
        """An order with our kind of name that no trade of ours asked for stops everything."""
        prefix = client_order_id_prefix(self.account)
        named = [o for o in open_orders if o.client_order_id.startswith(f"{prefix}-")]
        known = trades.known_client_order_ids(connection, [o.client_order_id for o in named])
        for order in named:
            if order.client_order_id not in known:
                self._halt(
                    connection,
                    None,
                    f"Account {self.account.account_number} has order {order.client_order_id} "
                    f"({order.terms.side} {order.terms.quantity} {order.terms.symbol}), "
                    "which carries our prefix but belongs to no trade.",
                )

    def _halt_for_overfill(self, connection: Connection, trade: Trade, execution: Execution) -> None:
        self._halt(
            connection,
            trade.portfolio_id,
            f"Execution {execution.execution_id} of {execution.quantity} {execution.symbol} would fill trade "
            f"{trade.id} beyond its {trade.terms.quantity}; it was not booked.",
        )

    def _halt(self, connection: Connection, portfolio_id: int | None, reason: str) -> None:
        at = self.clock()
        portfolios.add_halt(
            connection,
            portfolio_id=portfolio_id,
            level=HaltLevel.NO_NEW,
            reason=reason,
            actor="order_status_check",
            at=at,
        )
        halted = Notification(
            severity=Severity.CRITICAL,
            kind="halt",
            title="Trading was halted",
            body=reason,
            portfolio_id=portfolio_id,
            dedupe_key=f"halt:{reason}",
        )
        add_notifications(connection, [halted], at=at)

    def _notify_progress(
        self, connection: Connection, held: Mapping[int, Trade], progress: Sequence[Progress]
    ) -> None:
        final = [p for p in progress if p.status in FINAL_STATUSES]
        if final:
            add_notifications(connection, [_message(held[p.trade_id], p) for p in final], at=self.clock())


def client_order_id_prefix(account: Account) -> str:
    """What our client order ids start with, so that paper and live can never be taken for each other."""
    return "tl" if account.is_live else "tp"


def _by_portfolio(group: Iterable[Trade]) -> dict[int, list[Trade]]:
    found: dict[int, dict[int, Trade]] = defaultdict(dict)
    for trade in group:
        found[trade.portfolio_id][trade.id] = trade
    return {portfolio_id: list(found[portfolio_id].values()) for portfolio_id in sorted(found)}


def _by_order(executions: Iterable[Execution]) -> dict[str, list[Execution]]:
    found: dict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        found[execution.broker_order_id].append(execution)
    return found


def _executions_of(
    trade: Trade, order: BrokerOrder | None, by_order: Mapping[str, Sequence[Execution]]
) -> list[Execution]:
    """The unbooked executions of a trade, under its first order and under the one that replaced it."""
    ids = {trade.broker_order_id, order.broker_order_id if order else trade.broker_order_id}
    found = [e for order_id in ids if order_id for e in by_order.get(order_id, ())]
    return sorted(found, key=lambda e: (e.executed_at, e.cumulative_quantity))


def _new_fill(trade: Trade, execution: Execution, total: Decimal) -> NewFill:
    return NewFill(
        trade_id=trade.id,
        portfolio_id=trade.portfolio_id,
        execution_id=execution.execution_id,
        fill=Fill(
            symbol=execution.symbol,
            side=execution.side,
            quantity=execution.quantity,
            price=execution.price,
            fee=execution.fee,
            executed_at=execution.executed_at,
        ),
        cumulative_quantity=total,
        is_late=trade.status in FINAL_STATUSES,
    )


def _why(status: TradeStatus, order: BrokerOrder | None) -> str | None:
    if status not in FINAL_STATUSES or status is TradeStatus.FILLED:
        return None
    if order is None:
        return "The broker no longer knows the order."
    return f"The broker says {order.vendor_status}."


def _count(held: Mapping[int, Trade], progress: Sequence[Progress]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for p in progress:
        if p.status is TradeStatus.EXPIRED:
            counts["cancelled"] += 1
        elif p.status is not TradeStatus.SUBMITTED and held[p.trade_id].status not in FINAL_STATUSES:
            counts[p.status.value] += 1
    return counts


def _message(trade: Trade, progress: Progress) -> Notification:
    terms = trade.terms
    is_filled = progress.status is TradeStatus.FILLED
    return Notification(
        severity=Severity.INFO if is_filled else Severity.WARNING,
        kind="fill" if is_filled else "trade",
        title=f"{terms.side} {terms.quantity.normalize():f} {terms.symbol} {progress.status}",
        body=progress.reason or trade.reason,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:{progress.status}:{progress.filled_quantity}",
    )
