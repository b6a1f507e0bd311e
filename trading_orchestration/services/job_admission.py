"""Whether a run of a job may start: the rules, apart from the breaker's. Each answers a sentence or None."""

from datetime import UTC, datetime, timedelta

from trading_orchestration.domain.job import ExecutionTrigger, JobStatus, JobType
from trading_orchestration.domain.market_time import MarketCalendar, NotATick, Session, ticks, verdict
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import jobs
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import RunKey, ScheduledJob

#: Nothing is traded on books or prices that these do not keep.
NEEDED_TO_TRADE = (JobType.ORDER_STATUS_CHECK, JobType.POSITION_SYNC, JobType.PRICE_UPDATE)

#: Dagster's clock may be ahead of ours by so much.
_CLOCKS_APART = timedelta(seconds=5)
_FOR_A_TICK = (ExecutionTrigger.SCHEDULE, ExecutionTrigger.REPLAY)


def session_of_run(
    calendar: MarketCalendar, job_type: JobType, trigger: ExecutionTrigger, tick: datetime
) -> Session | None:
    """The session that a run is about: that of its tick, or by hand the current or last one."""
    if trigger in _FOR_A_TICK:
        found = verdict(job_type, tick, calendar)
        return None if isinstance(found, NotATick) else found
    try:
        if job_type is JobType.PORTFOLIO_SNAPSHOT:
            return calendar.last_closed(tick)
        return calendar.session_at(tick) or calendar.last_closed(tick)
    except InvalidInputError:
        return None


def why_not_now(job: ScheduledJob, key: RunKey, calendar: MarketCalendar, now: datetime) -> str | None:
    """What the calendar and the clock have against a run."""
    if key.unfit is not None:
        return key.unfit
    if key.trigger in _FOR_A_TICK:
        found = verdict(key.job_type, key.tick, calendar)
        return found.reason if isinstance(found, NotATick) else _why_untimely(job, key, now)
    if key.session is None:
        return f"{calendar.local(key.tick):%Y-%m-%d} lies in no known session of {calendar.name}."
    if key.trigger is ExecutionTrigger.BACKFILL:
        return _why_not_closed(calendar.session(key.session), calendar, now)
    if key.job_type is JobType.STRATEGY_EXECUTION and not calendar.is_open(now):
        return f"{calendar.name} is closed; {key.job_type} trades in market hours only."
    return None


def why_overlapping(connection: Connection, key: RunKey, *, is_final: bool) -> str | None:
    """What other runs of the job have against it. `is_final`: a lease that is over counts as held."""
    running = jobs.running_execution(connection, key.job_type)
    if running is not None and (is_final or not running.is_expired):
        return f"Run {running.run_id} of this job is still at work on the tick of {running.tick:%H:%M} UTC."
    if key.trigger not in _FOR_A_TICK:
        return None
    earlier = jobs.execution_of_tick(connection, key.job_type, key.tick)
    return f"Run {earlier} ran this tick already." if earlier else None


def why_gated(connection: Connection, key: RunKey, calendar: MarketCalendar, now: datetime) -> str | None:
    """What the jobs that trading stands on have against it: one that is stopped, or that fell behind."""
    if key.job_type is not JobType.STRATEGY_EXECUTION or key.trigger is ExecutionTrigger.REPLAY:
        return None
    needed = [job for job in jobs.read_jobs(connection) if job.job_type in NEEDED_TO_TRADE]
    for job in needed:
        if job.breaker.job_status in (JobStatus.ERROR, JobStatus.DISABLED):
            state = "is paused" if job.breaker.job_status is JobStatus.DISABLED else "has an open breaker"
            return f"Nothing is traded while {job.job_type} {state}."
    session = calendar.session_at(now)
    if session is None:
        return None
    completed = jobs.completed_ticks(connection, NEEDED_TO_TRADE)
    for job in needed:
        due = due_tick(job.job_type, session, now - timedelta(seconds=job.missed_after_s))
        if due is not None and _is_before(completed[job.job_type], due):
            return (
                f"Nothing is traded on what may be out of date: {job.job_type} was due at "
                f"{calendar.local(due):%H:%M} and has not succeeded since."
            )
    return None


def due_tick(job_type: JobType, session: Session, at: datetime) -> datetime | None:
    """The last tick of a job in a session by an instant; None before the first."""
    past = [tick for tick in ticks(job_type, session) if tick <= at]
    return past[-1] if past else None


def _is_before(completed: datetime | None, due: datetime) -> bool:
    return completed is None or completed < due


def _why_untimely(job: ScheduledJob, key: RunKey, now: datetime) -> str | None:
    late = now - key.tick
    if late < -_CLOCKS_APART:
        return f"The tick of {_utc(key.tick)} has not come yet."
    if job.stale_after_s is None or late <= timedelta(seconds=job.stale_after_s):
        return None
    return (
        f"The tick of {_utc(key.tick)} is {_duration(late)} old; "
        f"{key.job_type} runs at most {job.stale_after_s} s late."
    )


def _why_not_closed(session: Session, calendar: MarketCalendar, now: datetime) -> str | None:
    if session.closes_at <= now:
        return None
    return (
        f"{session.date} closes at {calendar.local(session.closes_at):%H:%M} of that day; "
        "it cannot be valued before."
    )


def _utc(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _duration(late: timedelta) -> str:
    seconds = int(late.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60:,} min" if seconds < 7200 else f"{seconds // 3600:,} h"
