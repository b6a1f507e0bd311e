"""The account and the market behind the simulated interfaces: the paper broker and what Alpaca adds to it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import NAMESPACE_URL, uuid4, uuid5

from trading_orchestration.brokers.broker import (
    BrokerAccount,
    BrokerOrder,
    BrokerPosition,
    Execution,
    OrderStatus,
)
from trading_orchestration.brokers.paper import PaperBroker, PaperRefusedError
from trading_orchestration.brokers.paper_account import deposit, withdraw
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.matching import PaperSettings, PriceTick
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.domain.order_acceptance import RefusalReason
from trading_orchestration.domain.order_hours import active_from, session_ahead
from trading_orchestration.domain.trade import OrderTerms, TimeInForce
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.fill_faults import FillFaults
from trading_orchestration.simulator.prices import SimulatedPrices
from trading_orchestration.store.database import Engine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How long Alpaca keeps an order that is good till cancelled.
GTC_LIFE = timedelta(days=90)

_WORDS = {
    OrderStatus.PARTIALLY_FILLED: "partially_filled",
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELLED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.REJECTED: "rejected",
}
#: What an order that is replaced may still lack while the old one holds it back.
_HELD_BACK = (RefusalReason.INSUFFICIENT_QUANTITY, RefusalReason.INSUFFICIENT_BUYING_POWER)


@dataclass(slots=True)
class Notes:
    """What Alpaca tells of an order and the paper broker's book does not hold.

    `word` stands for the book's status; the order stays out of sight for `unseen_reads` reads.
    """

    word: str | None = None
    notional: Decimal | None = None
    is_extended_hours: bool = False
    replaces: str | None = None
    replaced_by: str | None = None
    closed_at: datetime | None = None
    filled_at: datetime | None = None
    unseen_reads: int = 0


@dataclass(frozen=True, slots=True)
class CashEntry:
    """Money that moved without a trade; `kind` is Alpaca's word."""

    activity_id: str
    kind: str
    amount: Decimal
    symbol: str | None
    booked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """An order as Alpaca shows it. `word` is Alpaca's status."""

    order: BrokerOrder
    notes: Notes
    word: str
    filled_quantity: Decimal
    expires_at: datetime


@dataclass(slots=True)
class Market:
    """One account. Every call holds `lock`, so that the many threads of a server see one market."""

    engine: Engine
    account_number: str
    calendar: MarketCalendar
    clock: SimulatorClock
    settings: PaperSettings = field(default_factory=PaperSettings)
    fill_faults: FillFaults = field(default_factory=FillFaults)
    #: Told after everything that may have changed an order.
    listeners: list[Callable[[], None]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    prices: SimulatedPrices = field(init=False)
    cash_entries: list[CashEntry] = field(default_factory=list)
    #: Corporate actions that vendors tell of; the account goes through none of them by itself.
    announced: list[NewAction] = field(default_factory=list)
    _notes: dict[str, Notes] = field(default_factory=dict)
    _fed: dict[str, tuple[datetime, Decimal]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prices = SimulatedPrices(self.engine, self.clock)

    @property
    def broker(self) -> PaperBroker:
        """The book, with the settings of this moment."""
        return PaperBroker(
            self.engine,
            account_number=self.account_number,
            calendar=self.calendar,
            clock=self.clock,
            settings=self.settings,
        )

    # The market ────────────────────────────────────────────────────────────────────────────────────────

    def set_prices(self, given: Mapping[str, Decimal]) -> None:
        """Move the market, a millisecond later: it takes no two prices for one instant."""
        with self.lock:
            self.clock.step(timedelta(milliseconds=1))
            self.prices.give(given, at=self.clock())
            self._feed(given)
        self._tell()

    def advance(self, to: datetime) -> None:
        """Move the clock forwards, and the market with it."""
        self.clock.advance(to)
        self.pulse()

    def pulse(self) -> None:
        """Let what the market costs now meet the orders that rest."""
        with self.lock:
            self._feed({order.terms.symbol for order in self.broker.list_open_orders()})
            self._feed({position.symbol for position in self.broker.get_positions()})
        self._tell()

    def _feed(self, symbols: Mapping[str, object] | set[str]) -> None:
        quotes = self.prices.quotes(symbols)
        new = [q for q in quotes.values() if self._fed.get(q.symbol) != (q.quoted_at, q.price)]
        if new:
            ticks = [PriceTick(quote.symbol, quote.price) for quote in new]
            self.broker.give_prices(ticks, at=self.clock())
            self._fed |= {quote.symbol: (quote.quoted_at, quote.price) for quote in new}

    # Orders ────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, client_order_id: str | None, terms: OrderTerms, notes: Notes | None = None) -> OrderView:
        """Take an order, as Alpaca shows it on arrival; raises PaperRefusedError."""
        with self.lock:
            self._feed({terms.symbol})
            order = self.broker.submit_order(client_order_id or str(uuid4()), terms)
            self._notes[order.broker_order_id] = notes or Notes()
            view = self._view(order)
        self._tell()
        return replace(view, word="pending_new") if view.word == "new" else view

    def replace(self, order_id: str, client_order_id: str | None, terms: OrderTerms) -> OrderView:
        """Put a new order in the place of an open one; raises BrokerRefusedError with both as they were.

        The new one is sent first. Where the old one holds back what it needs, the old one goes first.
        """
        with self.lock:
            old = self._notes.setdefault(order_id, Notes())
            try:
                new = self.submit(client_order_id, terms, Notes(replaces=order_id))
                self.broker.cancel_order(order_id)
            except PaperRefusedError as refused:
                if refused.reason not in _HELD_BACK:
                    raise
                self.broker.cancel_order(order_id)
                new = self.submit(client_order_id, terms, Notes(replaces=order_id))
            old.word, old.replaced_by, old.closed_at = "replaced", new.order.broker_order_id, self.clock()
        self._tell()
        return new

    def cancel(self, order_id: str) -> None:
        """Cancel an order at once; raises BrokerRefusedError."""
        self._close(order_id, word=None)

    def expire(self, order_id: str) -> None:
        """End an open order before its time; raises BrokerRefusedError."""
        self._close(order_id, word="expired")

    def _close(self, order_id: str, *, word: str | None) -> None:
        with self.lock:
            self.broker.cancel_order(order_id)
            notes = self._notes.setdefault(order_id, Notes())
            notes.closed_at, notes.word = self.clock(), word
        self._tell()

    def set_word(self, order_id: str, word: str | None) -> None:
        """Show an order with another status than it has; None shows its own again."""
        with self.lock:
            self._notes.setdefault(order_id, Notes()).word = word
        self._tell()

    def order(self, order_id: str) -> OrderView | None:
        """An order by Alpaca's id, unless it is out of sight."""
        with self.lock:
            return self._seen(self.broker.get_order(order_id))

    def order_by_client_id(self, client_order_id: str) -> OrderView | None:
        """An order by its sender's id, unless it is out of sight."""
        with self.lock:
            return self._seen(self.broker.get_order_by_client_id(client_order_id))

    def orders(self) -> list[OrderView]:
        """Every order in sight, oldest first."""
        with self.lock:
            found = (self._seen(order) for order in self.broker.list_orders(after=EPOCH))
            return [view for view in found if view is not None]

    def all_orders(self) -> list[OrderView]:
        """Every order, in sight or not: the truth."""
        with self.lock:
            return [self._view(order) for order in self.broker.list_orders(after=EPOCH)]

    def _seen(self, order: BrokerOrder | None) -> OrderView | None:
        if order is None:
            return None
        notes = self._notes.setdefault(order.broker_order_id, Notes())
        if notes.unseen_reads:
            notes.unseen_reads -= 1
            return None
        return self._view(order)

    def _view(self, order: BrokerOrder) -> OrderView:
        notes = self._notes.setdefault(order.broker_order_id, Notes())
        if order.status is OrderStatus.FILLED and notes.filled_at is None:
            self._note_fill_times()
        return OrderView(
            order=order,
            notes=notes,
            word=notes.word or _WORDS.get(order.status) or self._open_word(order),
            filled_quantity=order.filled_quantity - self.fill_faults.busted_of(order.broker_order_id),
            expires_at=self._expires_at(order),
        )

    def _open_word(self, order: BrokerOrder) -> str:
        return "accepted" if active_from(self.calendar, order.submitted_at) > self.clock() else "new"

    def _expires_at(self, order: BrokerOrder) -> datetime:
        if order.terms.time_in_force is TimeInForce.DAY:
            return session_ahead(self.calendar, order.submitted_at).closes_at
        return order.submitted_at + GTC_LIFE

    def _note_fill_times(self) -> None:
        for execution in self.broker.list_executions(after=EPOCH):
            self._notes.setdefault(execution.broker_order_id, Notes()).filled_at = execution.executed_at

    # The account ───────────────────────────────────────────────────────────────────────────────────────

    def executions(self) -> list[Execution]:
        """Every fill that happened, oldest first: the truth."""
        with self.lock:
            return list(self.broker.list_executions(after=EPOCH))

    def reported_executions(self) -> list[Execution]:
        """The fills as a client is told of them."""
        with self.lock:
            return self.fill_faults.reported(self.executions())

    def hide_fills(self, count: int) -> None:
        """Let the next `count` fills stay unreported until `fill_faults.show_missing`."""
        with self.lock:
            self.fill_faults.hide_next(count, known=self.executions())

    def bust(self, execution_id: str) -> None:
        """Take a fill back; raises InvalidInputError for one that does not exist."""
        with self.lock:
            found = [e for e in self.executions() if e.execution_id == execution_id]
            if not found:
                raise InvalidInputError(f"There is no execution {execution_id} to take back.")
            self.fill_faults.bust(found[0])
        self._tell()

    def book_cash(self, kind: str, amount: Decimal, symbol: str | None) -> None:
        """Book money that comes or goes without a trade, as Alpaca's `kind` (DIV, FEE …).

        Raises BrokerRefusedError for more than the account has, InvalidInputError for an amount of 0.
        """
        with self.lock:
            now, number = self.clock(), len(self.cash_entries)
            name = f"{now:%Y%m%d}000000000::{uuid5(NAMESPACE_URL, f'{self.account_number}|cash|{number}')}"
            if amount < 0:
                withdraw(self.engine, self.account_number, -amount, reference=name, now=now)
            else:
                deposit(self.engine, self.account_number, amount, reference=name)
            self.cash_entries.append(CashEntry(name, kind, amount, symbol, now))

    def positions(self) -> Sequence[BrokerPosition]:
        """What is held, by symbol."""
        with self.lock:
            return self.fill_faults.positions(self.broker.get_positions())

    def account(self) -> BrokerAccount:
        """The account's money."""
        with self.lock:
            account = self.broker.get_account()
            cash, taken = self.fill_faults.cash(account), self.fill_faults.taken()
            quotes = self.prices.quotes(taken)
        back = cash - account.cash
        lost = sum((quantity * quotes[symbol].price for symbol, quantity in taken.items()), ZERO)
        return replace(
            account,
            cash=cash,
            equity=account.equity + back - lost,
            buying_power=account.buying_power + back,
        )

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()
