"""How the six jobs stand: breaker, last run, average duration, next tick."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.job import JobStatus, JobType
from trading_orchestration.domain.market_time import MarketCalendar, ticks
from trading_orchestration.store import jobs
from trading_orchestration.store.jobs import Begin

#: Longer than any exchange rests.
_SEARCH_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOverview:
    """One job, for a person. All instants are UTC; `last_status` None is a job that never ran."""

    job_type: JobType
    job_status: JobStatus
    is_scheduled: bool
    consecutive_failures: int
    needs_person: bool
    retry_at: datetime | None
    last_run_at: datetime | None
    last_status: str | None
    last_duration_ms: Decimal | None
    average_duration_ms: Decimal | None
    last_error: str | None
    next_tick: datetime | None


def job_overviews(begin: Begin, calendar: MarketCalendar, *, now: datetime) -> list[JobOverview]:
    """Every job, in the order of `JobType`."""
    with begin() as connection:
        found = {job.job_type: job for job in jobs.read_jobs(connection)}
        last = jobs.last_executions(connection)
    overviews = []
    for job_type in JobType:
        job, execution = found[job_type], last.get(job_type)
        overviews.append(
            JobOverview(
                job_type=job_type,
                job_status=job.breaker.job_status,
                is_scheduled=job.is_scheduled,
                consecutive_failures=job.breaker.consecutive_failures,
                needs_person=job.breaker.needs_person,
                retry_at=job.breaker.retry_at,
                last_run_at=execution["started_at"] if execution else None,
                last_status=execution["execution_status"] if execution else None,
                last_duration_ms=execution["duration_ms"] if execution else None,
                average_duration_ms=job.average_duration_ms,
                last_error=job.breaker.last_error,
                next_tick=next_tick(job_type, calendar, now=now),
            )
        )
    return overviews


def next_tick(job_type: JobType, calendar: MarketCalendar, *, now: datetime) -> datetime | None:
    """The first tick of a job after an instant; None past the last known session."""
    today = calendar.local(now).date()
    # A tick after the close may fall on the date after its session's.
    near = calendar.sessions_between(today - timedelta(days=1), today + timedelta(days=_SEARCH_DAYS))
    return next((tick for session in near for tick in ticks(job_type, session) if tick > now), None)
