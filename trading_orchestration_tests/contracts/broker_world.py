"""What a broker under test is put into, and the words in which tests speak to it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol
from uuid import uuid4

from trading_orchestration.brokers.broker import Broker, BrokerOrder, OrderStatus
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce

#: A Tuesday; the Wednesday after it closes early, the Thursday is a holiday.
START = datetime(2024, 7, 2, 14, 0, tzinfo=UTC)
CLOSE = datetime(2024, 7, 2, 20, 0, tzinfo=UTC)
EARLY_CLOSE = datetime(2024, 7, 3, 17, 0, tzinfo=UTC)
BEFORE = datetime(2024, 7, 1, tzinfo=UTC)
CASH = Decimal(100_000)
#: Both can be bought in fractions.
AAPL, MSFT = "AAPL", "MSFT"
#: Cannot be bought in fractions.
WHOLE_ONLY = "BRK.B"
NOT_TRADABLE = "TWTR"
UNKNOWN = "NOSUCH"
THREADS = 6


class BrokerWorld(Protocol):
    """A market with one account in it.

    It starts at `START` with `CASH`, without orders, holdings or prices, on the XNYS calendar. It knows the
    symbols above, fills whole orders, charges no fee and has no slippage.
    """

    @property
    def broker(self) -> Broker:
        """The broker under test."""
        ...

    def connect(self) -> Broker:
        """Another client of the same account, for use in another thread."""
        ...

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Move the market. The clock may move by milliseconds."""
        ...

    def advance(self, to: datetime) -> None:
        """Move the broker's clock forwards."""
        ...


def order(
    quantity: str | int = 10,
    *,
    symbol: str = AAPL,
    side: Side = Side.BUY,
    limit: str | None = None,
    stop: str | None = None,
    time_in_force: TimeInForce = TimeInForce.DAY,
) -> OrderTerms:
    """The terms of an order; the prices that are given make its type."""
    types = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (False, True): OrderType.STOP,
        (True, True): OrderType.STOP_LIMIT,
    }
    return OrderTerms(
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        order_type=types[limit is not None, stop is not None],
        time_in_force=time_in_force,
        limit_price=None if limit is None else Decimal(limit),
        stop_price=None if stop is None else Decimal(stop),
    )


def sell(quantity: str | int = 10, *, limit: str | None = None, stop: str | None = None) -> OrderTerms:
    """The terms of a sell order in AAPL."""
    return order(quantity, side=Side.SELL, limit=limit, stop=stop)


FAR_LIMIT = order(limit="150")


def fresh_id() -> str:
    return f"contract-{uuid4().hex}"


def held(broker: Broker) -> dict[str, Decimal]:
    """What the account holds, by symbol."""
    return {position.symbol: position.quantity for position in broker.get_positions()}


def status_of(broker: Broker, sent: BrokerOrder) -> OrderStatus:
    """Where an order stands now."""
    found = broker.get_order(sent.broker_order_id)
    assert found is not None
    return found.status
