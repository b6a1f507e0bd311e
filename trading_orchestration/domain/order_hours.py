"""When an order counts: from when prices may fill it, and until when. All instants are UTC."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from operator import attrgetter

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.errors import InvalidInputError

_CLOSES_AT = attrgetter("closes_at")


def session_ahead(calendar: MarketCalendar, now: datetime) -> Session:
    """The session that has not closed yet; an order sent at or after a close belongs to the next one.

    Raises InvalidInputError after the calendar's last session.
    """
    index = bisect_right(calendar.sessions, now, key=_CLOSES_AT)
    if index == len(calendar.sessions):
        raise InvalidInputError(f"The calendar {calendar.name} knows no session after {now.isoformat()}.")
    return calendar.sessions[index]


def spans_ahead(calendar: MarketCalendar, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of trading that have not ended yet, with the one that is going on."""
    first = bisect_right(calendar.sessions, now, key=_CLOSES_AT)
    for session in islice(calendar.sessions, first, None):
        yield from (span for span in session.spans if span[1] > now)


def active_from(calendar: MarketCalendar, now: datetime) -> datetime:
    """From when prices count for an order sent now: at once, or from the next open.

    Raises InvalidInputError after the calendar's last session.
    """
    session_ahead(calendar, now)
    return max(now, next(spans_ahead(calendar, now))[0])


def session_priced_at(calendar: MarketCalendar, at: datetime) -> Session | None:
    """The session whose trading a price of that instant belongs to. The close's own price still does."""
    index = bisect_left(calendar.sessions, at, key=_CLOSES_AT)
    if index == len(calendar.sessions):
        return None
    session = calendar.sessions[index]
    return session if any(start <= at <= end for start, end in session.spans) else None
