"""Market time: sessions, the ticks of each job in them, and why an instant is not a tick.

Pure: it knows the sessions it is given and no clock. Instants are timezone-aware; those returned are UTC.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from trading_orchestration.domain.job import JOB_DEFAULTS, JobType
from trading_orchestration.errors import InvalidInputError

Clock = Callable[[], datetime]

_DATE = attrgetter("date")
_OPENS_AT = attrgetter("opens_at")
_CLOSES_AT = attrgetter("closes_at")
_WEEK = timedelta(days=7)


class Session(NamedTuple):
    """One trading day of an exchange, named by its date. Instants are UTC.

    Trading stops during a lunch break (Tokyo, Hong Kong); most exchanges have none.
    """

    date: date
    opens_at: datetime
    closes_at: datetime
    is_early_close: bool = False
    break_starts_at: datetime | None = None
    break_ends_at: datetime | None = None

    @property
    def spans(self) -> tuple[tuple[datetime, datetime], ...]:
        """When the exchange is open: one span from open to close, or two around the break."""
        if self.break_starts_at is None or self.break_ends_at is None:
            return ((self.opens_at, self.closes_at),)
        return ((self.opens_at, self.break_starts_at), (self.break_ends_at, self.closes_at))


@dataclass(frozen=True, slots=True)
class NotATick:
    """Why a job does not run at an instant: one sentence for a person."""

    reason: str


@dataclass(frozen=True)
class MarketCalendar:
    """The sessions of one exchange, sorted by date.

    `holidays` names the closed days that have a name; `special_hours` says why a day has other hours than
    the exchange's own.
    """

    name: str
    timezone: ZoneInfo
    sessions: tuple[Session, ...] = field(repr=False)
    holidays: Mapping[date, str] = field(default_factory=dict, repr=False)
    special_hours: Mapping[date, str] = field(default_factory=dict, repr=False)

    def session(self, day: date) -> Session:
        """The session of that date. Raises `InvalidInputError` when there is none."""
        index = bisect_left(self.sessions, day, key=_DATE)
        if index < len(self.sessions) and self.sessions[index].date == day:
            return self.sessions[index]
        if index in (0, len(self.sessions)):
            raise InvalidInputError(_outside(self, day))
        why = f": {self.holidays[day]}" if day in self.holidays else ""
        raise InvalidInputError(
            f"{day} ({day:%A}) is not a session of {self.name}{why}; its neighbours are "
            f"{self.sessions[index - 1].date} and {self.sessions[index].date}."
        )

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on that date."""
        index = bisect_left(self.sessions, day, key=_DATE)
        return index < len(self.sessions) and self.sessions[index].date == day

    def session_at(self, instant: datetime) -> Session | None:
        """The session that is open at the instant, or else the one of its date on the exchange's clocks."""
        index = bisect_right(self.sessions, instant, key=_OPENS_AT) - 1
        if index >= 0 and instant < self.sessions[index].closes_at:
            return self.sessions[index]
        day = self.local(instant).date()
        return self.session(day) if self.is_session(day) else None

    def previous(self, day: date) -> Session:
        """The last session before the date, which need not be one. Raises `InvalidInputError`."""
        index = bisect_left(self.sessions, day, key=_DATE)
        if index == 0:
            raise InvalidInputError(f"No session precedes {day}: {_outside(self, day)}")
        return self.sessions[index - 1]

    def next(self, day: date) -> Session:
        """The first session after the date, which need not be one. Raises `InvalidInputError`."""
        index = bisect_right(self.sessions, day, key=_DATE)
        if index == len(self.sessions):
            raise InvalidInputError(f"No session follows {day}: {_outside(self, day)}")
        return self.sessions[index]

    def sessions_between(self, first: date, last: date) -> tuple[Session, ...]:
        """All known sessions from `first` to `last`, both included; empty when there are none."""
        low = bisect_left(self.sessions, first, key=_DATE)
        return self.sessions[low : bisect_right(self.sessions, last, key=_DATE)]

    def last_closed(self, instant: datetime) -> Session:
        """The newest session that has closed by the instant. Raises `InvalidInputError`."""
        index = bisect_right(self.sessions, instant, key=_CLOSES_AT)
        if index == 0:
            raise InvalidInputError(
                f"No session had closed by {instant}: {_outside(self, self.local(instant).date())}"
            )
        return self.sessions[index - 1]

    def is_open(self, instant: datetime) -> bool:
        """Whether the exchange trades at the instant; at the close itself it does not."""
        index = bisect_right(self.sessions, instant, key=_OPENS_AT) - 1
        return index >= 0 and any(start <= instant < end for start, end in self.sessions[index].spans)

    def add_session_time(self, instant: datetime, seconds: float) -> datetime:
        """The instant at which the exchange has been open for so many more seconds.

        Nights, weekends and breaks do not count: 15 minutes from 15:50 end at 09:35 on the next session.
        Raises `InvalidInputError` past the last known session.
        """
        left = timedelta(seconds=seconds)
        for start, end in self._spans_ending_after(instant):
            begin = max(start, instant)
            if left <= end - begin:
                return begin + left
            left -= end - begin
        raise InvalidInputError(f"{seconds} s of session time after {instant}: {_outside(self, None)}")

    def local(self, instant: datetime) -> datetime:
        """The instant on the exchange's clocks."""
        return instant.astimezone(self.timezone)

    @cached_property
    def one_session_of_each_shape(self) -> tuple[Session, ...]:
        """Thousands of sessions open and close at a handful of local times; one of each is enough."""
        shapes: dict[tuple[object, ...], Session] = {}
        for session in self.sessions:
            opens = self.local(session.opens_at)
            shape = (opens.weekday(), opens.time(), *(end - session.opens_at for _, end in session.spans))
            shapes.setdefault(
                (*shape, opens.utcoffset() == self.local(session.closes_at).utcoffset()), session
            )
        return tuple(shapes.values())

    def _spans_ending_after(self, instant: datetime) -> Iterator[tuple[datetime, datetime]]:
        first = bisect_right(self.sessions, instant, key=_CLOSES_AT)
        for index in range(first, len(self.sessions)):
            yield from (span for span in self.sessions[index].spans if span[1] > instant)


def ticks(job_type: JobType, session: Session) -> tuple[datetime, ...]:
    """The instants (UTC) at which a job runs in a session. Each part around a lunch break has its own."""
    cadence = JOB_DEFAULTS[job_type].cadence
    if cadence.every is None:
        return (session.closes_at + cadence.after_close,)
    instants: set[datetime] = set()
    for start, close in session.spans:
        end = close + cadence.after_close
        count, rest = divmod(end - start, cadence.every)
        is_end_a_tick = not rest and cadence.is_end_included
        number = count + 1 if rest or is_end_a_tick else count
        instants.update(start + index * cadence.every for index in range(number))
    return tuple(sorted(instants))


def verdict(job_type: JobType, instant: datetime, calendar: MarketCalendar) -> Session | NotATick:
    """The session of which the instant is a tick of the job, or the reason why it is none.

    A tick after the close may fall on the next date, or on the next session where a market never rests.
    """
    after = bisect_right(calendar.sessions, instant, key=_OPENS_AT)
    for session in reversed(calendar.sessions[max(0, after - 2) : after]):
        if instant in ticks(job_type, session):
            return session
    session_of_day = calendar.session_at(instant)
    if session_of_day is None:
        return NotATick(_why_closed(calendar.local(instant).date(), calendar))
    return NotATick(_why_between(job_type, instant, session_of_day, calendar))


def _why_closed(day: date, calendar: MarketCalendar) -> str:
    index = bisect_left(calendar.sessions, day, key=_DATE)
    if index in (0, len(calendar.sessions)):
        return _outside(calendar, day)
    following = f"{calendar.name} opens again on {calendar.sessions[index].date}."
    if day in calendar.holidays:
        return f"{day} is a holiday ({calendar.holidays[day]}); {following}"
    if calendar.is_session(day - _WEEK) or calendar.is_session(day + _WEEK):
        return f"{day} is a holiday; {following}"
    return f"{day} is a {day:%A}; {following}"


def _why_between(job_type: JobType, instant: datetime, session: Session, calendar: MarketCalendar) -> str:
    clocks = _clocks(calendar.timezone)
    if session.date in calendar.special_hours:
        clocks += f" ({calendar.special_hours[session.date]})"
    now = f"{calendar.local(instant):%H:%M:%S}".removesuffix(":00")
    window = _window(job_type, session, calendar)
    if instant < session.opens_at:
        return f"{session.date} opens at {_time(session.opens_at, calendar)} {clocks}; {window}"
    if instant >= session.closes_at:
        return f"{session.date} closed at {_time(session.closes_at, calendar)} {clocks}; {window}"
    if not calendar.is_open(instant):
        return f"{calendar.name} rests at {now} {clocks}; {window}"
    return f"{now} {clocks} is not a tick; {window}"


def _window(job_type: JobType, session: Session, calendar: MarketCalendar) -> str:
    cadence = JOB_DEFAULTS[job_type].cadence
    if cadence.every is None:
        return f"{job_type} runs once, at {_time(session.closes_at + cadence.after_close, calendar)}."
    minutes = cadence.every // timedelta(minutes=1)
    every = "every minute" if minutes == 1 else f"every {minutes} minutes"
    to = "to" if cadence.is_end_included else "to before"
    parts = (
        f"{_time(start, calendar)} {to} {_time(end + cadence.after_close, calendar)}"
        for start, end in session.spans
    )
    return f"{job_type} runs {every} from {' and from '.join(parts)}."


def _time(instant: datetime, calendar: MarketCalendar) -> str:
    return f"{calendar.local(instant):%H:%M}"


def _outside(calendar: MarketCalendar, day: date | None) -> str:
    if not calendar.sessions:
        return f"{calendar.name} has no known session."
    subject = "that" if day is None else str(day)
    first, last = calendar.sessions[0].date, calendar.sessions[-1].date
    return f"{subject} is outside the known sessions of {calendar.name}, {first} to {last}."


def _clocks(timezone: ZoneInfo) -> str:
    city = timezone.key.rpartition("/")[2].replace("_", " ")
    return city if city == "UTC" else f"{city} time"


def cron_strings(job_type: JobType, calendar: MarketCalendar) -> list[str]:
    """Cron strings, in the exchange's time zone, that contain every tick of every known session.

    They only bound the search: `verdict` decides. Derived from the sessions themselves, so that early
    closes, lunch breaks, opens at any minute and Sunday sessions are in.
    """
    minutes: dict[tuple[int, int], set[int]] = defaultdict(set)
    for session in calendar.one_session_of_each_shape:
        for tick in map(calendar.local, ticks(job_type, session)):
            minutes[tick.isoweekday() % 7, tick.hour].add(tick.minute)
    weekdays: dict[tuple[int, tuple[int, ...]], set[int]] = defaultdict(set)
    for (weekday, hour), of_hour in minutes.items():
        weekdays[hour, tuple(sorted(of_hour))].add(weekday)
    hours: dict[tuple[tuple[int, ...], tuple[int, ...]], set[int]] = defaultdict(set)
    for (hour, of_hour_sorted), on in weekdays.items():
        hours[of_hour_sorted, tuple(sorted(on))].add(hour)
    lines = sorted((min(at), of_hour, on, at) for (of_hour, on), at in hours.items())
    return [
        f"{_cron_field(of_hour, 60)} {_cron_field(sorted(at), 24)} * * {_cron_field(on, 7)}"
        for _, of_hour, on, at in lines
    ]


def _cron_field(values: Sequence[int], size: int) -> str:
    if len(values) == size:
        return "*"
    step = values[1] - values[0] if len(values) > 2 else 0
    if step > 1 and list(values) == list(range(0, size, step)):
        return f"*/{step}"
    return ",".join(f"{low}-{high}" if high > low + 1 else _pair(low, high) for low, high in _runs(values))


def _pair(low: int, high: int) -> str:
    return str(low) if low == high else f"{low},{high}"


def _runs(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    low = high = values[0]
    for value in values[1:]:
        if value != high + 1:
            yield low, high
            low = value
        high = value
    yield low, high
