"""Sessions whose snapshots are missing or no longer hold: found again and again, and tried a few times."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading_orchestration.domain.job import JobStatus, JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.services.standing_checks import missing_snapshots
from trading_orchestration.store import history, job_alarms, jobs, snapshots
from trading_orchestration.store.jobs import Begin, ScheduledJob

#: Ranges asked for at once, and sessions in one of them.
BATCH = 5
SESSIONS_MAX = 260
#: Sessions that hold and lie between two that do not are taken again with them, up to so many.
GAP_MAX = 3
ATTEMPTS_MAX = 5
PAUSE_S = 3600
#: A session this young is expected to be valued although it has no bars here: closes are fetched.
RECENT = timedelta(days=7)
#: So long before the schedule's own run nothing is asked for: a failure's breaker would be open at its tick.
QUIET = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WantedSnapshots:
    """The sessions to value in one run, from the first to the last, and which attempt it is.

    `stale_since` (UTC) is of the last one; None where it is missing.
    """

    first: Session
    last: Session
    attempt: int
    stale_since: datetime | None


def wanted_snapshots(begin: Begin, calendar: MarketCalendar, now: datetime) -> list[WantedSnapshots]:
    """The oldest sessions that are due and whose snapshots are missing or stale, as ranges.

    None while the job is off, at work or stopped, and shortly before its schedule runs it. A range that fails
    is tried `ATTEMPTS_MAX` times: those of its sessions that could be valued are no longer in it.
    """
    with begin() as connection:
        job = jobs.read_job(connection, JobType.PORTFOLIO_SNAPSHOT)
        is_at_work = jobs.running_execution(connection, JobType.PORTFOLIO_SNAPSHOT) is not None
        covered = history.snapshot_coverage(connection)
        stale = snapshots.stale_sessions(connection)
    if is_at_work or not job.is_scheduled or _is_stopped(job, now) or _is_quiet(calendar, now):
        return []
    wanted: dict[date, datetime | None] = dict(stale)
    wanted |= {day: None for missing in missing_snapshots(begin, calendar).values() for day in missing}
    for session in _recent(calendar, now):
        since = [p for p in covered if p.first_movement_at <= session.closes_at]
        if any(session.date not in portfolio.sessions for portfolio in since):
            wanted[session.date] = None
    due = [calendar.session(day) for day in sorted(wanted) if _is_due(calendar.session(day), job, now)]
    ranges = list(_ranges(due, calendar))
    with begin() as connection:
        last = {session.date: wanted[session.date] for _, session in ranges}
        tried = job_alarms.snapshot_attempts(connection, last, pause_s=PAUSE_S)
    numbered = ((*of, _attempt(tried.get(of[1].date))) for of in ranges)
    return [
        WantedSnapshots(first, last, attempt, wanted[last.date])
        for first, last, attempt in numbered
        if attempt is not None
    ][:BATCH]


def _ranges(due: list[Session], calendar: MarketCalendar) -> Iterator[tuple[Session, Session]]:
    """First and last session of runs of sessions (sorted) that lie close together."""
    first = last = None
    for session in due:
        if first is None or last is None:
            first = last = session
            continue
        gap = len(calendar.sessions_between(last.date, session.date)) - 2
        length = len(calendar.sessions_between(first.date, session.date))
        if gap > GAP_MAX or length > SESSIONS_MAX:
            yield first, last
            first = session
        last = session
    if first is not None and last is not None:
        yield first, last


def _attempt(tried: job_alarms.Attempts | None) -> int | None:
    """Which attempt is due; None where the last one is too young, or was the last."""
    if tried is None:
        return 1
    return tried.number + 1 if tried.is_rested and tried.number < ATTEMPTS_MAX else None


def _is_stopped(job: ScheduledJob, now: datetime) -> bool:
    """Whether the breaker lets no run of a machine through."""
    if job.breaker.job_status is not JobStatus.ERROR:
        return job.breaker.job_status is JobStatus.DISABLED
    return job.breaker.needs_person or job.breaker.retry_at is None or now < job.breaker.retry_at


def _is_due(session: Session, job: ScheduledJob, now: datetime) -> bool:
    """The schedule's own run comes first."""
    return ticks(job.job_type, session)[-1] + timedelta(seconds=job.missed_after_s) <= now


def _is_quiet(calendar: MarketCalendar, now: datetime) -> bool:
    session = calendar.session_at(now)
    if session is None:
        return False
    return any(tick - QUIET <= now < tick for tick in ticks(JobType.PORTFOLIO_SNAPSHOT, session))


def _recent(calendar: MarketCalendar, now: datetime) -> tuple[Session, ...]:
    today = calendar.local(now).date()
    return calendar.sessions_between(today - RECENT, today)
