"""Whether the broker keeps the hours that we go by: its clock and its calendar, twice a session.

At the open the session itself decides; at the close the next one, so that a person has the night to look.
Later days are only told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading_orchestration.brokers.broker import Broker, BrokerSession
from trading_orchestration.domain.market_time import Clock, MarketCalendar, Session

#: Ticks are at least a minute apart, and the shortest limit on a tick's age is 30 s.
CLOCKS_APART_MAX = timedelta(seconds=15)
#: Closures at short notice are announced some days before.
AHEAD = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class HoursDifference:
    """One sentence on what differs, and whether trading must wait for a person."""

    sentence: str
    is_at_hand: bool


def comparison_due(session: Session, now: datetime, last: datetime | None) -> bool:
    """Whether hours that were compared at `last` are to be again: once from each open and each close on."""
    since = session.opens_at if now < session.closes_at else session.closes_at
    return last is None or last < since


def differing_hours(
    broker: Broker, session: Session, calendar: MarketCalendar, clock: Clock
) -> list[HoursDifference]:
    """How the broker's clock and calendar differ from ours, from the session, or from its end, on.

    Hours that a person gave are no difference where they lie within the broker's.
    """
    asked_at = clock()
    theirs = broker.get_clock().now
    answered_at = clock()
    found = []
    if not asked_at - CLOCKS_APART_MAX <= theirs <= answered_at + CLOCKS_APART_MAX:
        apart = abs((theirs - answered_at).total_seconds())
        sentence = f"The broker's clock and ours are {apart:,.0f} s apart; mend this machine's (NTP)."
        found.append(HoursDifference(sentence, is_at_hand=True))
    is_open = answered_at < session.closes_at
    first = session.date if is_open else session.date + timedelta(days=1)
    is_last = session.date == calendar.sessions[-1].date
    at_hand = session.date if is_open or is_last else calendar.next(session.date).date
    last = max(first + AHEAD, at_hand)
    listed = broker.get_calendar(first=first, last=last)
    ours = calendar.sessions_between(first, last)
    for day, sentence in _differences(ours, listed, calendar):
        found.append(HoursDifference(sentence, is_at_hand=day <= at_hand))
    return found


def _differences(
    ours: tuple[Session, ...], listed: Sequence[BrokerSession], calendar: MarketCalendar
) -> Iterator[tuple[date, str]]:
    here = {one.date: one for one in ours}
    there = {one.session: one for one in listed}
    for day in sorted(here.keys() | there.keys()):
        we, they = here.get(day), there.get(day)
        if (we and (we.opens_at, we.closes_at)) == (they and (they.opens_at, they.closes_at)):
            continue
        if day in calendar.special_hours and _is_within(we, they):
            continue
        said = f"open {_span(they.opens_at, they.closes_at)}" if they else "no session"
        known = f"open {_span(we.opens_at, we.closes_at)}" if we else "no session"
        yield (
            day,
            (
                f"The broker says that {day} is {said}; by our calendar it is {known}. "
                "Where the broker is right, TRADING_HOURS_FILE mends ours."
            ),
        )


def _is_within(we: Session | None, they: BrokerSession | None) -> bool:
    if we is None or they is None:
        return we is None
    return they.opens_at <= we.opens_at and we.closes_at <= they.closes_at


def _span(opens_at: datetime, closes_at: datetime) -> str:
    return f"{opens_at:%H:%M} to {closes_at:%H:%M} UTC"
