"""What the six jobs ask of a broker. A new vendor is one new file that answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from trading_orchestration.domain.reconciliation import AdjustmentCause
from trading_orchestration.domain.trade import OrderTerms, Side


class OrderStatus(StrEnum):
    """A vendor's many words, reduced to what a caller reacts to; the vendor's own is kept beside it."""

    OPEN = "open"  # accepted, new, held …: at the broker, nothing filled
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"  # lives on under `replaced_by`
    UNRECOGNISED = "unrecognised"  # a word this code does not know: treated as open, and alerted


#: The broker will not fill any more of it.
CLOSED_ORDER_STATUSES = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOrder:
    """An order as the broker holds it. Instants are UTC; quantities in units, prices in currency.

    `earlier_ids` are the orders that it replaced, one after the other, as far as they were asked for.
    """

    broker_order_id: str
    client_order_id: str
    terms: OrderTerms
    status: OrderStatus
    vendor_status: str
    filled_quantity: Decimal
    filled_average_price: Decimal | None
    submitted_at: datetime
    replaces: str | None = None
    replaced_by: str | None = None
    earlier_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One fill at the broker. `cumulative_quantity` is the order's filled quantity after it."""

    execution_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    executed_at: datetime
    fee: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashActivity:
    """Money that came (positive) or went without a trade, and why: a dividend or a fee."""

    activity_id: str
    cause: AdjustmentCause
    amount: Decimal
    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPosition:
    """What the account holds of a symbol; negative when short."""

    symbol: str
    quantity: Decimal
    average_entry_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAccount:
    """The account's money, in `currency`."""

    account_number: str
    currency: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerClock:
    """The broker's own view of the market's hours, in UTC; None is past the last session that it knows."""

    now: datetime
    is_open: bool
    next_open: datetime | None
    next_close: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSession:
    """One trading day in the broker's calendar, in UTC."""

    session: date
    opens_at: datetime
    closes_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerEquity:
    """What the broker says the account was worth at a session's close, in its currency."""

    session: date
    equity: Decimal


@runtime_checkable
class HasEquityHistory(Protocol):
    """A broker that keeps what its account was worth; not every one does."""

    def get_equity_history(self, *, first: date, last: date) -> Sequence[BrokerEquity]:
        """The sessions between two dates (inclusive) that the broker has a value of, oldest first.

        Raises BrokerUnavailableError and BrokerNotAuthorizedError as `Broker`.
        """
        ...


class Broker(Protocol):
    """One account at one broker.

    Every call raises `BrokerUnavailableError` when it can be asked again and `BrokerNotAuthorizedError`
    when a person must mend the credentials. Only `submit_order`, `replace_order` and `cancel_order` act;
    they alone raise `BrokerRefusedError` and `BrokerUnknownError`.
    """

    def submit_order(self, client_order_id: str, terms: OrderTerms) -> BrokerOrder:
        """Send an order. A second one with the same id is refused, whatever became of the first."""
        ...

    def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        """The order, or None where the broker knows none."""
        ...

    def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order, or None where the broker knows none."""
        ...

    def list_open_orders(self) -> Sequence[BrokerOrder]:
        """Every order that may still be filled, oldest first, however many pages that takes."""
        ...

    def list_orders(self, *, after: datetime) -> Sequence[BrokerOrder]:
        """Every order submitted after that instant, open or closed, oldest first."""
        ...

    def list_executions(self, *, after: datetime) -> Sequence[Execution]:
        """Every execution after that instant (exclusive), oldest first."""
        ...

    def list_cash_activities(self, *, after: datetime) -> Sequence[CashActivity]:
        """Dividends and fees that were booked after that instant."""
        ...

    def cancel_order(self, broker_order_id: str) -> None:
        """Ask for a cancel; refused when the order is closed. It is cancelled when its status says so."""
        ...

    def get_positions(self) -> Sequence[BrokerPosition]:
        """Every position that is not flat, by symbol."""
        ...

    def get_account(self) -> BrokerAccount:
        """The account's money."""
        ...

    def get_clock(self) -> BrokerClock:
        """The broker's time and market state."""
        ...

    def get_calendar(self, *, first: date, last: date) -> Sequence[BrokerSession]:
        """The broker's trading days between two dates, inclusive."""
        ...

    def unfamiliar(self) -> Sequence[str]:
        """What the broker has said that this version does not know, each once, as words for a person."""
        ...
