"""Days on which an exchange keeps other hours than its calendar says: closed, or open at others."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.errors import InvalidInputError

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialDay:
    """What is announced for one date.

    `opens` and `closes` count from midnight on the exchange's clocks; what is None stays as the calendar has
    it. `where` says who announced it ("hours.yaml line 3"), `reason` why, for a person.
    """

    day: date
    where: str
    reason: str
    is_closed: bool = False
    opens: timedelta | None = None
    closes: timedelta | None = None


def with_special_days(calendar: MarketCalendar, days: Iterable[SpecialDay]) -> MarketCalendar:
    """The calendar as the announcements leave it. A closure of a day without a session changes nothing.

    Raises `InvalidInputError` naming the place of one that does not fit.
    """
    days = list(days)
    first, last = calendar.sessions[0].date, calendar.sessions[-1].date
    sessions = {session.date: session for session in calendar.sessions}
    for special in days:
        if not first <= special.day <= last:
            raise InvalidInputError(
                f"{special.where}: {special.day} is outside the known sessions of {calendar.name}, "
                f"{first} to {last}."
            )
        if special.is_closed:
            sessions.pop(special.day, None)
        else:
            sessions[special.day] = _session(calendar, sessions.get(special.day), special)
    in_order = tuple(sessions[day] for day in sorted(sessions))
    _refuse_overlaps(in_order, {special.day: special for special in days})
    closures = {special.day: special.reason for special in days if special.is_closed}
    return replace(
        calendar,
        sessions=in_order,
        holidays={**calendar.holidays, **closures},
        special_hours={special.day: special.reason for special in days},
    )


def _session(calendar: MarketCalendar, regular: Session | None, special: SpecialDay) -> Session:
    opens_at = _instant(calendar, special, special.opens) or (regular and regular.opens_at)
    closes_at = _instant(calendar, special, special.closes) or (regular and regular.closes_at)
    if opens_at is None or closes_at is None:
        raise InvalidInputError(
            f"{special.where}: {special.day} is no session of {calendar.name}; "
            "to make it one say both when it opens and when it closes."
        )
    if special.opens is not None and opens_at >= closes_at and _opens_the_evening_before(calendar):
        opens_at = _instant(calendar, special, special.opens - _DAY) or opens_at
    if opens_at >= closes_at:
        raise InvalidInputError(
            f"{special.where}: {special.day} would open at {calendar.local(opens_at):%H:%M} and close at "
            f"{calendar.local(closes_at):%H:%M}; it should open before it closes."
        )
    is_early_close = regular is not None and (
        closes_at < regular.closes_at or (regular.is_early_close and closes_at == regular.closes_at)
    )
    session = Session(special.day, opens_at, closes_at, is_early_close)
    return session if regular is None else _around_the_break(session, regular)


def _around_the_break(session: Session, regular: Session) -> Session:
    """A lunch break is kept where trading goes on after it; nobody trades in one."""
    starts_at, ends_at = regular.break_starts_at, regular.break_ends_at
    if starts_at is None or ends_at is None:
        return session
    if starts_at <= session.opens_at and session.closes_at <= ends_at:
        return session  # announced for the time of the break itself
    if session.closes_at <= ends_at:
        return session._replace(closes_at=min(session.closes_at, starts_at))
    if session.opens_at >= starts_at:
        return session._replace(opens_at=max(session.opens_at, ends_at))
    return session._replace(break_starts_at=starts_at, break_ends_at=ends_at)


def _instant(
    calendar: MarketCalendar, special: SpecialDay, since_midnight: timedelta | None
) -> datetime | None:
    if since_midnight is None:
        return None
    wall = datetime.combine(special.day, datetime.min.time()) + since_midnight
    instant = wall.replace(tzinfo=calendar.timezone).astimezone(UTC)
    if calendar.local(instant).replace(tzinfo=None) != wall:
        raise InvalidInputError(
            f"{special.where}: there is no {wall:%H:%M} on {wall:%Y-%m-%d} in {calendar.timezone.key}; "
            "the clocks go forward."
        )
    return instant


def _opens_the_evening_before(calendar: MarketCalendar) -> bool:
    return any(
        calendar.local(session.opens_at).date() < session.date
        for session in calendar.one_session_of_each_shape
    )


def _refuse_overlaps(sessions: tuple[Session, ...], special: dict[date, SpecialDay]) -> None:
    for before, after in pairwise(sessions):
        if before.closes_at > after.opens_at:
            found = special.get(after.date) or special[before.date]
            raise InvalidInputError(
                f"{found.where}: the sessions of {before.date} and {after.date} would overlap."
            )
