"""Quotes and bars: prices as the market gave them, raw and unadjusted."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Timeframe(StrEnum):
    """How long a bar lasts. A daily bar spans its session, from the open to the close."""

    DAY = "day"
    MINUTE = "minute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The newest price of a symbol; `quoted_at` (UTC) is the vendor's time of it, not of the answer."""

    symbol: str
    price: Decimal
    quoted_at: datetime
    source: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    previous_close: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Prices of one symbol between two instants (UTC); complete from `ends_at` on."""

    symbol: str
    timeframe: Timeframe
    session: date
    starts_at: datetime
    ends_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    source: str
