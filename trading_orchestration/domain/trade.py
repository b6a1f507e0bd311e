"""A trade: our intent to buy or sell, and what became of it."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

CLIENT_ORDER_ID_MAX_LENGTH = 48


class Side(StrEnum):
    """Which way a trade goes."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, −1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How a price bounds an order."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    """How long an order stays with the broker."""

    DAY = "day"
    GTC = "gtc"


class TradeStatus(StrEnum):
    """Where a trade stands."""

    PENDING = "pending"  # decided; nothing was sent
    SUBMITTING = "submitting"  # claimed: the broker may or may not have it
    SUBMITTED = "submitted"  # the broker has it
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


#: No status follows; a late fill is still booked, and flagged.
FINAL_STATUSES = frozenset(
    {TradeStatus.FILLED, TradeStatus.CANCELLED, TradeStatus.EXPIRED, TradeStatus.REJECTED}
)
#: Cash or quantity is still set aside.
OPEN_STATUSES = frozenset(TradeStatus) - FINAL_STATUSES
#: The broker is known to have the order.
AT_BROKER_STATUSES = frozenset({TradeStatus.SUBMITTED, TradeStatus.PARTIALLY_FILLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What is asked of a broker: quantities in units of the instrument, prices in its currency."""

    symbol: str
    side: Side
    quantity: Decimal
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One row of `trades`: our intent and what became of it. All instants are UTC."""

    id: int
    portfolio_id: int
    broker_account_id: int
    decision_id: int
    terms: OrderTerms
    client_order_id: str
    status: TradeStatus
    reason: str
    decided_at: datetime
    filled_quantity: Decimal = Decimal(0)
    reserved_cash: Decimal = Decimal(0)
    attempts: int = 0
    broker_order_id: str | None = None
    status_reason: str | None = None
    submitted_at: datetime | None = None

    @property
    def open_quantity(self) -> Decimal:
        """What is not filled yet."""
        return self.terms.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of an order. `fee` is positive when we pay; `executed_at` is UTC."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    executed_at: datetime
    fee: Decimal = Decimal(0)


def client_order_id(
    *, prefix: str, account: str, portfolio_id: int, strategy_id: int, tick: datetime, number: int
) -> str:
    """The name under which a broker knows the `number`-th trade of one decision.

    It depends on nothing but the decision, so that every retry sends the same one: the broker's refusal of
    a second order with it is what makes doubling impossible.
    """
    instant = tick.astimezone(UTC).isoformat()
    text = "|".join((account, str(portfolio_id), str(strategy_id), instant, str(number)))
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
