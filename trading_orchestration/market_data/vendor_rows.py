"""What a vendor's row needs before it is a quote or a bar of ours."""

import logging
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.vendor_http.failures import UnreadableAnswerError

_log = logging.getLogger(__name__)


def positive(number: Decimal, what: str) -> Decimal:
    """A price; `UnreadableAnswerError` when it is not above zero."""
    if number <= 0:
        raise UnreadableAnswerError(f"The {what} was {number}; a price is above 0.")
    return number


def positive_or_none(number: Decimal | None) -> Decimal | None:
    """A price that vendors write as 0 where there is none."""
    return number if number is not None and number > 0 else None


def daily_bar(
    calendar: MarketCalendar, day: date, *, symbol: str, source: str, values: list[Decimal]
) -> Bar | None:
    """The bar of a session from open, high, low, close and volume; None where the day is none."""
    if not calendar.is_session(day):
        return None
    session = calendar.session(day)
    return _bar(symbol, Timeframe.DAY, day, session.opens_at, session.closes_at, source, values)


def minute_bar(
    calendar: MarketCalendar, starts_at: datetime, *, symbol: str, source: str, values: list[Decimal]
) -> Bar | None:
    """The bar of a minute from open, high, low, close and volume; None outside of trading hours."""
    session = calendar.session_at(starts_at)
    if session is None or not calendar.is_open(starts_at):
        return None
    ends_at = starts_at + timedelta(minutes=1)
    return _bar(symbol, Timeframe.MINUTE, session.date, starts_at, ends_at, source, values)


def _bar(
    symbol: str,
    timeframe: Timeframe,
    session: date,
    starts_at: datetime,
    ends_at: datetime,
    source: str,
    values: list[Decimal],
) -> Bar:
    opening, high, low, close, volume = values
    return Bar(
        symbol=symbol,
        timeframe=timeframe,
        session=session,
        starts_at=starts_at,
        ends_at=ends_at,
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=volume,
        source=source,
    )


def usable(bars: Iterable[Bar | None], *, start: datetime, end: datetime, now: datetime) -> Iterator[Bar]:
    """The complete bars that start in [start, end); one that contradicts itself is left out and logged."""
    for bar in bars:
        if bar is None or not start <= bar.starts_at < end or bar.ends_at > now:
            continue
        if (
            0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            and bar.volume >= 0
        ):
            yield bar
        else:
            _log.warning("A bar of %s contradicts itself and is left out: %s", bar.source, bar)
