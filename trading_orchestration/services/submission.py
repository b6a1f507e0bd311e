"""Sending each trade's order exactly once.

A trade is claimed in one transaction, sent outside of any, and its outcome recorded in another. Whatever
dies in between, the next claim asks the broker for the same client order id before it sends it again; the
broker's refusal of a second order with one id makes doubling impossible.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from trading_orchestration.brokers.broker import Broker, BrokerOrder
from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.trade import Trade, TradeStatus
from trading_orchestration.errors import BrokerRefusedError, BrokerUnavailableError, BrokerUnknownError
from trading_orchestration.services.tick import Report
from trading_orchestration.store import portfolios, trades
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account, HaltLevel

#: Longer than any one exchange with a broker may take; after it another run drives the trade on.
CLAIM_LEASE_S = 45
#: A decision is not sent later than this: its prices are no longer those it was made on.
SEND_WINDOW = timedelta(minutes=5)
_CLAIM_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Submission:
    """Sends the pending trades of one account."""

    begin: Begin
    broker: Broker
    account: Account
    calendar: MarketCalendar
    clock: Clock

    def send_pending(self) -> Report:
        """Send every trade that nobody is sending; counts `trades` sent and `rejected`.

        Raises BrokerNotAuthorizedError at once: no further order can succeed.
        """
        report = Report()
        while claimed := self._claim():
            crashpoint("after_claim")
            for trade in claimed:
                self._send_and_note(trade, report)
        return report

    def _claim(self) -> list[Trade]:
        with self.begin() as connection:
            return trades.claim_trades(connection, self.account.id, lease_s=CLAIM_LEASE_S, limit=_CLAIM_LIMIT)

    def _send_and_note(self, trade: Trade, report: Report) -> None:
        try:
            report.add(self._drive(trade))
        except (BrokerUnknownError, BrokerUnavailableError) as error:
            report.fail(f"trade {trade.id} ({trade.client_order_id}) is in doubt", error)

    def _drive(self, trade: Trade) -> Counter[str]:
        if trade.attempts > 1:
            order = self.broker.get_order_by_client_id(trade.client_order_id)
            if order is not None:
                return self._adopt(trade, order)
        if self.clock() - trade.decided_at > SEND_WINDOW:
            return self._give_up(trade)
        halt = self._why_halted(trade)
        if halt is not None:
            return self._end(trade, TradeStatus.CANCELLED, halt)
        return self._post(trade)

    def _post(self, trade: Trade) -> Counter[str]:
        crashpoint("before_post")
        try:
            order = self.broker.submit_order(trade.client_order_id, trade.terms)
        except BrokerRefusedError as error:
            if not error.is_duplicate_client_order_id:
                return self._end(trade, TradeStatus.REJECTED, str(error))
            existing = self.broker.get_order_by_client_id(trade.client_order_id)
            if existing is None:
                raise BrokerUnknownError(
                    f"The broker refused {trade.client_order_id} as a duplicate but does not show it."
                ) from error
            return self._adopt(trade, existing)
        crashpoint("after_post")
        return self._adopt(trade, order)

    def _adopt(self, trade: Trade, order: BrokerOrder) -> Counter[str]:
        asked, held = trade.terms, order.terms
        if (asked.symbol, asked.side, asked.quantity) != (held.symbol, held.side, held.quantity):
            self._halt_for_mismatch(trade, order)
            return Counter(errors=1)
        with self.begin() as connection:
            is_new = trades.set_submitted(
                connection,
                trade.id,
                broker_order_id=order.broker_order_id,
                submitted_at=order.submitted_at,
            )
        crashpoint("after_submitted")
        return Counter(trades=int(is_new))

    def _give_up(self, trade: Trade) -> Counter[str]:
        """End a trade whose moment has passed. One that was sent may exist: only the day's list can tell."""
        if trade.attempts == 1:
            return self._end(trade, TradeStatus.CANCELLED, f"It was not sent within {SEND_WINDOW}.")
        session = self.calendar.session_at(trade.decided_at)
        if session is not None and self.clock() < session.closes_at:
            return Counter()
        for order in self.broker.list_orders(after=trade.decided_at - timedelta(minutes=1)):
            if order.client_order_id == trade.client_order_id:
                return self._adopt(trade, order)
        return self._end(trade, TradeStatus.EXPIRED, "The broker never had it, as its list of the day says.")

    def _why_halted(self, trade: Trade) -> str | None:
        if trade.reserved_cash == 0:  # an exit
            return None
        with self.begin() as connection:
            halt = portfolios.halt_of(portfolios.read_halts(connection), trade.portfolio_id)
        return f"Trading is halted: {halt.reason}" if halt else None

    def _end(self, trade: Trade, status: TradeStatus, reason: str) -> Counter[str]:
        with self.begin() as connection:
            if not trades.set_not_sent(connection, trade, status=status, reason=reason, at=self.clock()):
                return Counter()
            self._notify(connection, trade, f"{trade.terms.side} {trade.terms.symbol} {status}", reason)
        return Counter(rejected=1)

    def _halt_for_mismatch(self, trade: Trade, order: BrokerOrder) -> None:
        reason = (
            f"Order {order.broker_order_id} at the broker carries the id of trade {trade.id} but is "
            f"{order.terms.side} {order.terms.quantity} {order.terms.symbol} instead of "
            f"{trade.terms.side} {trade.terms.quantity} {trade.terms.symbol}."
        )
        with self.begin() as connection:
            portfolios.add_halt(
                connection,
                portfolio_id=trade.portfolio_id,
                level=HaltLevel.NO_NEW,
                reason=reason,
                actor="order submission",
                at=self.clock(),
            )
            self._notify(connection, trade, "An order is not what was asked for", reason, Severity.CRITICAL)

    def _notify(
        self,
        connection: Connection,
        trade: Trade,
        title: str,
        body: str,
        severity: Severity = Severity.WARNING,
    ) -> None:
        notification = Notification(
            severity=severity,
            kind="trade",
            title=title,
            body=body,
            portfolio_id=trade.portfolio_id,
            dedupe_key=f"trade:{trade.id}:{title}",
        )
        add_notifications(connection, [notification], at=self.clock())
