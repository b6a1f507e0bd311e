"""Orders and prices for the tests of the matching rules, in few words."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import strategies as st

from trading_orchestration.domain.matching import (
    BookOrder,
    OrderState,
    PaperSettings,
    PriceRange,
    PriceTick,
)
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side

AT = datetime(2024, 7, 2, 14, 0, tzinfo=UTC)
NO_COST = PaperSettings()
BUY, SELL = "buy", "sell"


def terms(
    side: str, *, limit: str | None = None, stop: str | None = None, quantity: str = "10"
) -> OrderTerms:
    types = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (False, True): OrderType.STOP,
        (True, True): OrderType.STOP_LIMIT,
    }
    return OrderTerms(
        symbol="AAPL",
        side=Side(side),
        quantity=Decimal(quantity),
        order_type=types[limit is not None, stop is not None],
        limit_price=None if limit is None else Decimal(limit),
        stop_price=None if stop is None else Decimal(stop),
    )


def resting(of: OrderTerms) -> BookOrder:
    return BookOrder(
        order_id="order-1",
        client_order_id="client-1",
        terms=of,
        state=OrderState.ACCEPTED,
        submitted_at=AT,
        active_from=AT,
        expires_at=None,
        updated_at=AT,
    )


def ended(text: str, symbol: str = "AAPL") -> Bar:
    """A bar from "open high low close" that began at `AT`."""
    opening, high, low, close = map(Decimal, text.split())
    return Bar(
        symbol=symbol,
        timeframe=Timeframe.MINUTE,
        session=AT.date(),
        starts_at=AT,
        ends_at=AT + timedelta(minutes=1),
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=Decimal(1),
        source="test",
    )


def prices_of(text: str) -> PriceRange:
    """A range from "open high low close", or from a price alone."""
    values = list(map(Decimal, text.split()))
    return PriceRange.at(values[0]) if len(values) == 1 else PriceRange(*values)


def tick(text: str) -> PriceTick:
    """A tick at the end of the bar "open high low close", or of a price alone."""
    price = Decimal(text.split()[-1])
    return PriceTick("AAPL", price, ended(text) if " " in text else None)


CENTS = st.integers(90, 110)
SIDES = st.sampled_from([BUY, SELL])
PRICES = CENTS.map(str)
ANY_TERMS = st.builds(terms, SIDES, limit=st.none() | PRICES, stop=st.none() | PRICES)


@st.composite
def price_paths(draw: st.DrawFn) -> list[int]:
    """A price that goes from turn to turn in steps of one, as a market that skips nothing does."""
    turns = draw(st.lists(CENTS, min_size=1, max_size=7))
    path = turns[:1]
    for start, end in pairwise(turns):
        step = 1 if end > start else -1
        path += range(start + step, end + step, step) if start != end else []
    return path
