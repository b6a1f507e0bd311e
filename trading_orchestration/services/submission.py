"""Sending each trade's order exactly once.

A trade is claimed in one transaction, sent outside of any, and its outcome recorded in another. Before each
POST the claim is renewed and the attempt is written down, so that whoever claims the trade after a crash
knows whether the broker may have its order, and asks for it by the same client order id before it sends it
again; the broker's refusal of a second order with one id makes doubling impossible.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import Broker, BrokerOrder
from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.trade import Side, TradeStatus
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
)
from trading_orchestration.services import trade_messages
from trading_orchestration.services.account_identity import confirmed_account
from trading_orchestration.services.entry_check import EntryCheck
from trading_orchestration.services.self_halt import halt
from trading_orchestration.services.tick import Report
from trading_orchestration.store import live_permissions, prices, trades
from trading_orchestration.store.alerts import add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account
from trading_orchestration.store.trades import Claim

#: Longer than any one exchange with a broker may take; after it another run drives the trade on.
CLAIM_LEASE_S = 45
#: A decision is not sent later than this: its prices are no longer those it was made on.
SEND_WINDOW = timedelta(minutes=5)
_CLAIM_LIMIT = 50
#: So many orders without an answer, and the rest waits for the next run instead of this one's timeouts.
_UNANSWERED_MAX = 3


@dataclass(frozen=True, slots=True)
class Submission:
    """Sends the pending trades of one account; a claim lasts `lease_s` seconds."""

    begin: Begin
    broker: Broker
    account: Account
    entries: EntryCheck
    clock: Clock
    lease_s: int = CLAIM_LEASE_S

    @property
    def calendar(self) -> MarketCalendar:
        """The exchange's sessions."""
        return self.entries.calendar

    def send_pending(self) -> Report:
        """Send every trade that nobody is sending; counts `trades` sent and `rejected`.

        Raises BrokerNotAuthorizedError at once: no further order can succeed.
        """
        run = _Run(self)
        while claims := run.claim():
            crashpoint("after_claim")
            try:
                run.send(claims)
            finally:
                run.release_rest()
            if run.is_over:
                break
        return run.report


@dataclass(slots=True)
class _Run:
    """One pass over the trades of an account; it claims each once."""

    of: Submission
    report: Report = field(default_factory=Report)
    seen: set[int] = field(default_factory=set)
    rest: list[Claim] = field(default_factory=list)
    is_account_checked: bool = False
    unanswered: int = 0
    is_over: bool = False

    def claim(self) -> Sequence[Claim]:
        with self.of.begin() as connection:
            claims = trades.claim_trades(
                connection,
                self.of.account.id,
                lease_s=self.of.lease_s,
                limit=_CLAIM_LIMIT,
                except_ids=self.seen,
            )
        self.seen |= {claim.trade.id for claim in claims}
        self.rest = list(claims)
        return claims

    def send(self, claims: Sequence[Claim]) -> None:
        try:
            self._check_account()
            for claim in claims:
                self.rest.remove(claim)
                self._send_one(claim)
                if self.unanswered >= _UNANSWERED_MAX:
                    self.is_over = True
                    return
        except BrokerUnavailableError as error:
            self.report.fail(f"account {self.of.account.account_number}", error)
            self.is_over = True

    def release_rest(self) -> None:
        if self.rest:
            with self.of.begin() as connection:
                trades.release_claims(connection, self.rest)

    def _check_account(self) -> None:
        """Nothing is sent to an account that is another one, or that its broker has blocked."""
        if self.is_account_checked:
            return
        found = confirmed_account(self.of.broker, self.of.account)
        if found.is_blocked:
            raise BrokerNotAuthorizedError(
                f"Account {found.account_number} is blocked; its broker can tell why."
            )
        self.is_account_checked = True

    def _send_one(self, claim: Claim) -> None:
        try:
            self.report.add(_Sending(self.of, claim).drive())
        except BrokerUnknownError as error:
            self.unanswered += 1
            name = f"trade {claim.trade.id} ({claim.trade.client_order_id})"
            self.report.fail(f"{name} is in doubt", error)


@dataclass(slots=True)
class _Sending:
    """One claimed trade on its way to the broker."""

    of: Submission
    claim: Claim

    def drive(self) -> Counter[str]:
        trade, now = self.claim.trade, self.of.clock()
        if trade.attempts:
            order = self.of.broker.get_order_by_client_id(trade.client_order_id)
            if order is not None:
                return self._adopt(order)
        if now - trade.decided_at > SEND_WINDOW:
            return self._give_up(f"It was not sent within {SEND_WINDOW.seconds // 60} minutes.")
        if not self.of.calendar.is_open(now):
            return self._give_up(f"It was not sent before {self.of.calendar.name} closed.")
        with self.of.begin() as connection:
            obstacle = self._obstacle(connection)
            is_ours = obstacle is None and self._begin_attempt(connection)
        if obstacle is not None:
            return self._give_up(obstacle)
        return self._post() if is_ours else Counter()

    def _begin_attempt(self, connection: Connection) -> bool:
        attempt = trades.begin_attempt(connection, self.claim, lease_s=self.of.lease_s)
        self.claim = attempt or self.claim
        return attempt is not None

    def _obstacle(self, connection: Connection) -> str | None:
        """Why an order must not go out now; an exit stops only where real money is not allowed any more."""
        account = self.of.account
        if account.is_live and not live_permissions.is_permitted(
            connection, account.broker, account.account_number
        ):
            return f"Account {account.account_number} may not trade real money any more."
        if self.claim.is_exit:
            return None
        return self.of.entries.why_not_send(connection, self.claim.trade, self.of.account, at=self.of.clock())

    def _post(self) -> Counter[str]:
        trade = self.claim.trade
        crashpoint("before_post")
        try:
            order = self.of.broker.submit_order(trade.client_order_id, trade.terms)
        except (BrokerUnavailableError, BrokerNotAuthorizedError):
            with self.of.begin() as connection:
                trades.take_back_attempt(connection, self.claim)
            raise
        except BrokerRefusedError as error:
            return self._refused(error)
        crashpoint("after_post")
        return self._adopt(order)

    def _refused(self, error: BrokerRefusedError) -> Counter[str]:
        """A refusal is final where no other attempt can have succeeded; otherwise the broker is asked."""
        trade = self.claim.trade
        if trade.attempts == 1 and not error.is_duplicate_client_order_id:
            if error.is_about_fractions:
                # The next decision asks for whole shares, instead of being refused at every tick.
                with self.of.begin() as connection:
                    prices.set_whole_shares_only(connection, trade.terms.symbol)
            return self._end(TradeStatus.REJECTED, str(error))
        existing = self.of.broker.get_order_by_client_id(trade.client_order_id)
        if existing is not None:
            return self._adopt(existing)
        reason = (
            f"The broker refused it ({error}); whether it has the order from before is open until the close."
        )
        with self.of.begin() as connection:
            at = self.of.clock()
            doubt = trade_messages.unsent(trade, trade_messages.IN_DOUBT, reason)
            add_notifications(connection, [doubt], at=at)
        return Counter(errors=1)

    def _adopt(self, order: BrokerOrder) -> Counter[str]:
        trade = self.claim.trade
        asked, held = trade.terms, order.terms
        if (asked.symbol, asked.side, asked.quantity) != (held.symbol, held.side, held.quantity):
            return self._disown(order)
        with self.of.begin() as connection:
            is_new = trades.set_submitted(
                connection,
                trade.id,
                broker_order_id=order.broker_order_id,
                submitted_at=order.submitted_at,
            )
            if is_new:
                add_notifications(connection, [trade_messages.sent(trade)], at=self.of.clock())
        crashpoint("after_submitted")
        return Counter(trades=int(is_new))

    def _give_up(self, reason: str) -> Counter[str]:
        """End a trade that may not be sent any more. If it was sent before, only the day's list can tell."""
        trade = self.claim.trade
        if not trade.attempts:
            return self._end(TradeStatus.CANCELLED, reason)
        session = self.of.calendar.session_at(trade.decided_at)
        if session is not None and self.of.clock() <= session.closes_at:
            return Counter()
        for order in self.of.broker.list_orders(after=trade.decided_at - timedelta(minutes=1)):
            if order.client_order_id == trade.client_order_id:
                return self._adopt(order)
        return self._end(TradeStatus.EXPIRED, "The broker never had it, as its list of the day says.")

    def _end(self, status: TradeStatus, reason: str) -> Counter[str]:
        with self.of.begin() as connection:
            return self._end_in(connection, status, reason)

    def _end_in(self, connection: Connection, status: TradeStatus, reason: str) -> Counter[str]:
        at = self.of.clock()
        if not trades.set_not_sent(connection, self.claim, status=status, reason=reason, at=at):
            return Counter()
        add_notifications(connection, [trade_messages.unsent(self.claim.trade, status, reason)], at=at)
        return Counter(rejected=1)

    def _disown(self, order: BrokerOrder) -> Counter[str]:
        """An order has our name and is not what was asked for: it is no trade of ours, and a person looks."""
        trade = self.claim.trade
        reason = (
            f"Order {order.broker_order_id} at the broker carries the id of trade {trade.id} but is "
            f"{_words(order.terms.side, order.terms.quantity, order.terms.symbol)} instead of "
            f"{_words(trade.terms.side, trade.terms.quantity, trade.terms.symbol)}."
        )
        with self.of.begin() as connection:
            at = self.of.clock()
            halt(connection, trade.portfolio_id, reason=reason, actor="order submission", at=at)
            return self._end_in(connection, TradeStatus.REJECTED, reason) + Counter(errors=1)


def _words(side: Side, quantity: Decimal, symbol: str) -> str:
    return f"{side} {plain(quantity)} {symbol}"
