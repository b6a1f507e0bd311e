"""`TradingService`: what the broker says about our orders, brought into trades, ledger and positions."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.trade import FINAL_STATUSES, Trade, TradeStatus
from trading_orchestration.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
)
from trading_orchestration.services import corporate_actions, trade_messages
from trading_orchestration.services.account_identity import confirmed_account
from trading_orchestration.services.self_halt import halt
from trading_orchestration.services.settlement import Settlement, of_trade, settle
from trading_orchestration.services.tick import Report
from trading_orchestration.store import ledger, portfolios, trades
from trading_orchestration.store.alerts import add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger import BookedFill
from trading_orchestration.store.portfolios import Account
from trading_orchestration.store.trades import Progress

#: Executions may become visible out of order; reading starts this much before the last one booked.
_OVERLAP = timedelta(minutes=10)
#: From here on one list of all orders costs fewer requests than asking for each.
_ASK_ONE_BY_ONE_MAX = 10
_REPLACEMENTS_MAX = 10
#: An order that is gone, or lacks executions, is given up this long after its session's close.
_GRACE_AFTER_CLOSE = timedelta(minutes=4)
_CENT = Decimal("0.01")


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
            if abs(account.equity - account.cash) > _CENT:
                raise BrokerUnavailableError(
                    f"The broker lists no position, yet equity is {account.equity} and cash {account.cash}."
                )
        return positions

    def get_order_status(self, trade: Trade) -> BrokerOrder | None:
        """The order behind a trade as the broker has it now, replacements followed; None if it has none.

        A replacement goes on with what its forebears had left: their fills count as its own.
        """
        if trade.broker_order_id is None:
            order = self.broker.get_order_by_client_id(trade.client_order_id)
        else:
            order = self.broker.get_order(trade.broker_order_id)
        for _ in range(_REPLACEMENTS_MAX):
            if order is None or order.status is not OrderStatus.REPLACED or order.replaced_by is None:
                return order
            heir = self.broker.get_order(order.replaced_by)
            order = heir and replace(
                heir,
                earlier_ids=(*order.earlier_ids, order.broker_order_id),
                filled_quantity=order.filled_quantity + heir.filled_quantity,
            )
        return order

    def update_trade_status(self) -> Report:
        """Ask the broker about every trade that is not final and book what it answers.

        Open entries of portfolios whose halt asks for it are cancelled first. Counts `checked`, `filled`,
        `partially_filled`, `cancelled` (expired ones too) and `rejected`. A portfolio whose ledger refuses a
        booking does not stop the others.
        """
        with self.begin() as connection:
            open_trades = trades.trades_at_broker(connection, self.account.id)
            entries = trades.entries_to_cancel(connection, self.account.id) if open_trades else []
        report = self._cancel(entries)
        confirmed_account(self.broker, self.account)
        open_orders = self.broker.list_open_orders()
        orders = self._orders_of(open_trades, open_orders)
        executions = self._executions(open_trades, orders)
        with self.begin() as connection:
            unbooked = self._unbooked(connection, executions)
            traded = trades.trades_by_broker_orders(connection, self.account.id, order_ids(unbooked))
            self._halt_for_strays(connection, open_orders)
            told = [m for t in open_trades for m in trade_messages.oddities(t, orders.get(t.id))]
            add_notifications(connection, told, at=self.clock())
            self.tell_of_unfamiliar(connection)
        report.include(self.settle_trades([*open_trades, *traded], orders, unbooked))
        report.counts["checked"] = len(open_trades)
        if not report.problems:
            self._note_how_far(executions)
        return report

    def update_position_after_fill(
        self, connection: Connection, portfolio_id: int, booked: Sequence[BookedFill]
    ) -> None:
        """Fold newly booked fills into the cached positions and cash; the portfolio must be held.

        What a corporate action did is brought up to fills from before its day that come in after it.
        """
        if not booked:
            return
        ledger.apply_booked_fills(connection, portfolio_id, booked)
        today = self.calendar.local(self.clock()).date()
        late = [entry.fill for entry in booked if self.calendar.local(entry.fill.executed_at).date() < today]
        if late:
            corporate_actions.reapply_after_late_fills(connection, portfolio_id, late)

    # What the broker says ──────────────────────────────────────────────────────────────────────────────

    def _orders_of(
        self, open_trades: Sequence[Trade], open_orders: Sequence[BrokerOrder]
    ) -> dict[int, BrokerOrder]:
        """The order behind each trade, by trade id."""
        by_id = {order.broker_order_id: order for order in open_orders}
        closed = [t for t in open_trades if t.broker_order_id not in by_id]
        if len(closed) > _ASK_ONE_BY_ONE_MAX:
            by_id |= self._listed_since(closed)
        found: dict[int, BrokerOrder] = {}
        for trade in open_trades:
            order = by_id.get(trade.broker_order_id or "")
            if order is None or order.status is OrderStatus.REPLACED:
                order = self.get_order_status(trade)
            if order is not None:
                found[trade.id] = order
        lost = [t for t in open_trades if t.id not in found and self._is_day_over(t)]
        if lost:
            # Not found is a verdict only when the list of all orders says so, too.
            listed = self._listed_since(lost)
            found |= {t.id: listed[t.broker_order_id or ""] for t in lost if t.broker_order_id in listed}
        return found

    def _listed_since(self, of: Sequence[Trade]) -> dict[str, BrokerOrder]:
        first = min(t.submitted_at or t.decided_at for t in of)
        return {o.broker_order_id: o for o in self.broker.list_orders(after=first - _OVERLAP)}

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

    def _cancel(self, entries: Sequence[Trade]) -> Report:
        """Ask for the cancel of each; one that cannot be cancelled any more is settled as what it became."""
        report = Report()
        for trade in entries:
            try:
                self._cancel_as_it_lives_on(trade)
            except BrokerUnknownError as error:
                report.fail(f"cancel of trade {trade.id}", error)
            crashpoint("after_cancel")
        return report

    def _cancel_as_it_lives_on(self, trade: Trade) -> None:
        """Cancel a trade's order, or the one that replaced it; one that is closed is left to its status."""
        try:
            self.broker.cancel_order(trade.broker_order_id or "")
        except BrokerRefusedError:
            order = self.get_order_status(trade)
            if order is not None and order.earlier_ids and order.status not in CLOSED_ORDER_STATUSES:
                with suppress(BrokerRefusedError):
                    self.broker.cancel_order(order.broker_order_id)

    def _note_how_far(self, executions: Sequence[Execution]) -> None:
        """Keep up to when executions are booked; the next reading starts a little before."""
        newest = max((e.executed_at for e in executions), default=None)
        known = self.account.executions_read_until
        if newest is not None and (known is None or newest > known):
            with self.begin() as connection:
                portfolios.set_executions_read_until(connection, self.account.id, newest)

    def _unbooked(self, connection: Connection, executions: Sequence[Execution]) -> list[Execution]:
        booked = ledger.booked_executions(connection, self.account.id, [e.execution_id for e in executions])
        return [e for e in executions if e.execution_id not in booked]

    # What becomes of it ────────────────────────────────────────────────────────────────────────────────

    def settle_trades(
        self, of: Iterable[Trade], orders: Mapping[int, BrokerOrder], executions: Iterable[Execution]
    ) -> Report:
        """Book what is new in orders (by trade id) and unbooked executions; one transaction a portfolio.

        Counts as `update_trade_status`. A portfolio that fails is a problem of the report.
        """
        report = Report()
        by_order = executions_by_order(executions)
        with_news = [t for t in of if self._has_news(t, orders.get(t.id), by_order)]
        for portfolio_id, group in _by_portfolio(with_news).items():
            with report.part(f"portfolio {portfolio_id}"):
                report.add(self._settle(portfolio_id, group, orders, by_order))
        return report

    def _has_news(
        self, trade: Trade, order: BrokerOrder | None, by_order: Mapping[str, Sequence[Execution]]
    ) -> bool:
        settlement = settle(
            trade, order, of_trade(trade, order, by_order), is_day_over=self._is_day_over(trade)
        )
        return settlement.is_news or bool(settlement.refused)

    def _settle(
        self,
        portfolio_id: int,
        group: Collection[int],
        orders: Mapping[int, BrokerOrder],
        by_order: Mapping[str, Sequence[Execution]],
    ) -> Counter[str]:
        """Book what is new about some trades of one portfolio, in one transaction."""
        with self.begin() as connection:
            portfolios.hold_portfolio(connection, portfolio_id)
            held = trades.hold_trades(connection, sorted(group))
            settlements = self._settlements(connection, held.values(), orders, by_order)
            fills = [fill for settlement in settlements for fill in settlement.fills]
            booked = ledger.add_fills(connection, self.account.id, fills) if fills else []
            crashpoint("after_fills")
            self.update_position_after_fill(connection, portfolio_id, booked)
            crashpoint("after_positions")
            news = [settlement for settlement in settlements if settlement.is_news]
            if news:
                trades.set_progress(connection, [_progress(s) for s in news], at=self.clock())
            self._tell(connection, settlements)
        crashpoint("after_settlement")
        return _count(news)

    def _settlements(
        self,
        connection: Connection,
        held: Collection[Trade],
        orders: Mapping[int, BrokerOrder],
        by_order: Mapping[str, Sequence[Execution]],
    ) -> list[Settlement]:
        """Settle trades as they are now that they are held; another worker may have booked meanwhile."""
        found = {trade.id: of_trade(trade, orders.get(trade.id), by_order) for trade in held}
        ids = [e.execution_id for executions in found.values() for e in executions]
        booked = ledger.booked_executions(connection, self.account.id, ids)
        return [
            settle(
                trade,
                orders.get(trade.id),
                [e for e in found[trade.id] if e.execution_id not in booked],
                is_day_over=self._is_day_over(trade),
            )
            for trade in held
        ]

    def _is_day_over(self, trade: Trade) -> bool:
        session = self.calendar.session_at(trade.decided_at)
        return session is None or self.clock() >= session.closes_at + _GRACE_AFTER_CLOSE

    # What people hear of ───────────────────────────────────────────────────────────────────────────────

    def _halt_for_strays(self, connection: Connection, open_orders: Sequence[BrokerOrder]) -> None:
        """An order with our kind of name that no trade of ours asked for stops everything."""
        ours = re.compile(rf"{client_order_id_prefix(self.account)}-[0-9a-f]{{32}}")
        named = {o.client_order_id: o for o in open_orders if ours.fullmatch(o.client_order_id)}
        for name in sorted(trades.stray_orders(connection, self.account.id, list(named))):
            terms = named[name].terms
            reason = (
                f"Account {self.account.account_number} has order {name} ({terms.side} "
                f"{plain(terms.quantity)} {terms.symbol}), which carries our kind of id and is no trade's."
            )
            halt(connection, None, reason=reason, actor="order_status_check", at=self.clock())

    def tell_of_unfamiliar(self, connection: Connection) -> None:
        """Keep and tell what the broker said that this version does not know, each thing once for good."""
        words = self.broker.unfamiliar()
        if words:
            told = [trade_messages.unfamiliar(self.account, word) for word in words]
            add_notifications(connection, told, at=self.clock())

    def _tell(self, connection: Connection, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            for reason in settlement.refused:
                portfolio_id = settlement.trade.portfolio_id
                halt(connection, portfolio_id, reason=reason, actor="order_status_check", at=self.clock())
        messages = [m for m in map(trade_messages.outcome, settlements) if m is not None]
        add_notifications(connection, messages, at=self.clock())


def client_order_id_prefix(account: Account) -> str:
    """What our client order ids start with, so that paper and live can never be taken for each other."""
    return "tl" if account.is_live else "tp"


def order_ids(executions: Iterable[Execution]) -> list[str]:
    """The orders of some executions, each once."""
    return sorted({execution.broker_order_id for execution in executions})


def executions_by_order(executions: Iterable[Execution]) -> dict[str, list[Execution]]:
    """Executions under the broker's id of their order."""
    found: dict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        found[execution.broker_order_id].append(execution)
    return found


def _by_portfolio(group: Iterable[Trade]) -> dict[int, set[int]]:
    """The ids of trades by portfolio, in the order in which portfolios are held."""
    found: dict[int, set[int]] = defaultdict(set)
    for trade in sorted(group, key=lambda trade: trade.portfolio_id):
        found[trade.portfolio_id].add(trade.id)
    return found


def _progress(settlement: Settlement) -> Progress:
    return Progress(
        trade_id=settlement.trade.id,
        status=settlement.status,
        filled_quantity=settlement.filled_quantity,
        reason=settlement.reason,
    )


def _count(news: Sequence[Settlement]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for settlement in news:
        if settlement.status is TradeStatus.EXPIRED:
            counts["cancelled"] += 1
        elif settlement.trade.status not in FINAL_STATUSES and settlement.status is not TradeStatus.SUBMITTED:
            counts[settlement.status.value] += 1
    return counts
