"""Sessions that should have a snapshot and have none: found again and again, and tried a few times."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from trading_orchestration.domain.job import JobStatus, JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.services.standing_checks import missing_snapshots
from trading_orchestration.store import history, job_alarms, jobs
from trading_orchestration.store.jobs import Begin, ScheduledJob

#: Sessions asked for at once.
BATCH = 5
ATTEMPTS_MAX = 5
PAUSE_S = 3600
#: A session this young is expected to be valued although it has no bars here: closes are fetched.
RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class WantedSnapshot:
    """A session to value, and which attempt it is."""

    session: Session
    attempt: int


def wanted_snapshots(begin: Begin, calendar: MarketCalendar, now: datetime) -> list[WantedSnapshot]:
    """The oldest sessions that are due and missing; none while the job is off, at work or stopped."""
    with begin() as connection:
        job = jobs.read_job(connection, JobType.PORTFOLIO_SNAPSHOT)
        is_at_work = jobs.running_execution(connection, JobType.PORTFOLIO_SNAPSHOT) is not None
        covered = history.snapshot_coverage(connection)
    if is_at_work or not job.is_scheduled or _is_stopped(job, now):
        return []
    days = {day for missing in missing_snapshots(begin, calendar).values() for day in missing}
    for session in _recent(calendar, now):
        since = [p for p in covered if p.first_movement_at <= session.closes_at]
        if any(session.date not in portfolio.sessions for portfolio in since):
            days.add(session.date)
    due = [calendar.session(day) for day in sorted(days) if _is_due(calendar.session(day), job, now)]
    with begin() as connection:
        tried = job_alarms.snapshot_attempts(connection, [session.date for session in due], pause_s=PAUSE_S)
    wanted = []
    for session in due:
        attempts = tried.get(session.date)
        if attempts is None:
            wanted.append(WantedSnapshot(session, 1))
        elif attempts.is_rested and attempts.number < ATTEMPTS_MAX:
            wanted.append(WantedSnapshot(session, attempts.number + 1))
    return wanted[:BATCH]


def _is_stopped(job: ScheduledJob, now: datetime) -> bool:
    """Whether the breaker lets no run of a machine through."""
    if job.breaker.job_status is not JobStatus.ERROR:
        return job.breaker.job_status is JobStatus.DISABLED
    return job.breaker.needs_person or job.breaker.retry_at is None or now < job.breaker.retry_at


def _is_due(session: Session, job: ScheduledJob, now: datetime) -> bool:
    """The schedule's own run comes first."""
    return ticks(job.job_type, session)[-1] + timedelta(seconds=job.missed_after_s) <= now


def _recent(calendar: MarketCalendar, now: datetime) -> tuple[Session, ...]:
    today = calendar.local(now).date()
    return calendar.sessions_between(today - RECENT, today)
