"""Alarms about jobs: one that did not run when it should have, one that grows slow, one that often fails.

Each is told once, and the first is told again when it is over.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.job import ExecutionTrigger, JobStatus
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.services.job_admission import due_tick, why_gated
from trading_orchestration.store import deliveries, job_alarms
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.job_alarms import AlarmState
from trading_orchestration.store.jobs import Begin, RunKey

#: A run this much slower than usual is worth a word; less is the machine's mood.
SLOW_FLOOR_MS = 1_000
SLOW_WITHIN_S = 600
FAILURE_RATE_MAX = Decimal("0.05")
#: A critical message that took longer did not reach anyone in time.
TOLD_WITHIN = timedelta(minutes=10)
RUNS_AGAIN = "Its first run after the alarm has come."
#: Fewer runs say nothing about a rate or a deviation.
RUNS_MIN = 30


def watch_jobs(begin: Begin, calendar: MarketCalendar, now: datetime) -> list[str]:
    """Look at all jobs at an instant; answers what people are told, each thing once."""
    with begin() as connection:
        messages = [
            *_missed(connection, calendar, now),
            *_slow(connection, calendar),
            *_failing(connection, calendar, now),
        ]
        return add_notifications(connection, messages, at=now)


def why_unwell(begin: Begin, now: datetime) -> str | None:
    """Why jobs do not run as they should, or people cannot be told of it; None where all is well."""
    with begin() as connection:
        states = job_alarms.alarm_states(connection, opens_at=now)
        stuck = deliveries.stuck(connection, before=now - TOLD_WITHIN)
    missed = [state.job_type.value for state in states if state.missed_since is not None]
    if missed:
        return f"{', '.join(missed)} did not run when due."
    if stuck.critical:
        return f"{stuck.critical} critical messages could not be sent for ten minutes."
    return f"{stuck.unrouted} messages wait to be looked at." if stuck.unrouted else None


def missed_tick(state: AlarmState, session: Session, now: datetime) -> datetime | None:
    """The first tick of a session that a job missed by an instant; None where all is well.

    A job is expected to run while its schedule is on, and for the rest of a session in which it was.
    """
    if state.job_status is JobStatus.DISABLED or (state.scheduled_since is None and not state.was_on):
        return None
    due = due_tick(state.job_type, session, now - timedelta(seconds=state.missed_after_s))
    if due is None:
        return None
    since = max(filter(None, (state.scheduled_since, state.ran_for)), default=None)
    of_session = ticks(state.job_type, session)
    return next((tick for tick in of_session if tick <= due and (since is None or tick > since)), None)


def _missed(connection: Connection, calendar: MarketCalendar, now: datetime) -> Iterator[Notification]:
    session = calendar.session_at(now)
    opens_at = session.opens_at if session else now
    for state in job_alarms.alarm_states(connection, opens_at=opens_at):
        missed = missed_tick(state, session, now) if session else None
        if state.missed_since is None and missed is not None:
            if job_alarms.set_missed_since(connection, state.job_type, missed):
                key = RunKey(
                    job_type=state.job_type,
                    run_id="",
                    trigger=ExecutionTrigger.SCHEDULE,
                    tick=missed,
                    session=session.date if session else None,
                )
                yield _raised(state, missed, calendar, why_gated(connection, key, calendar, now))
        elif state.missed_since is not None:
            why_over = _why_over(state, state.missed_since, missed)
            if why_over and job_alarms.set_missed_since(connection, state.job_type, None):
                yield _ended(state, state.missed_since, why_over)


def _why_over(state: AlarmState, missed_since: datetime, missed: datetime | None) -> str | None:
    """How an alarm ended, or None while it stands; a night does not end it."""
    if missed is not None:
        return None
    if state.ran_for is not None and state.ran_for >= missed_since:
        return RUNS_AGAIN
    if state.job_status is JobStatus.DISABLED:
        return "It was paused, and is no longer expected to run."
    is_off = state.scheduled_since is None and not state.was_on
    return "It was switched off, and is no longer expected to run." if is_off else None


def _raised(state: AlarmState, missed: datetime, calendar: MarketCalendar, gated: str | None) -> Notification:
    if state.job_status is JobStatus.ERROR:
        why = f"Its breaker is open. The last error: {state.last_error or 'none'}"
    elif gated is not None:
        why = gated
    elif state.scheduled_since is None:
        why = "Its schedule was switched off during the session; pause the job if that is meant."
    else:
        why = "No run was started for it; look at the daemon, the code server and the schedule's ticks."
    return Notification(
        severity=Severity.CRITICAL,
        kind="missed_run",
        title=f"{state.job_type} did not run at {calendar.local(missed):%Y-%m-%d %H:%M}",
        body=why,
        dedupe_key=f"missed:{state.job_type}:{missed.isoformat()}",
    )


def _ended(state: AlarmState, missed_since: datetime, why: str) -> Notification:
    return Notification(
        severity=Severity.INFO,
        kind="missed_run",
        title=f"{state.job_type} {'runs again' if why == RUNS_AGAIN else 'is no longer missed'}",
        body=why,
        dedupe_key=f"missed:{state.job_type}:{missed_since.isoformat()}:over",
    )


def _slow(connection: Connection, calendar: MarketCalendar) -> Iterator[Notification]:
    found = job_alarms.slow_executions(
        connection, within_s=SLOW_WITHIN_S, runs_min=RUNS_MIN, floor_ms=SLOW_FLOOR_MS
    )
    for slow in found:
        seconds, usual = slow.duration_ms / 1000, slow.mean_ms / 1000
        yield Notification(
            severity=Severity.WARNING,
            kind="slow_run",
            title=f"{slow.job_type} took {seconds:.1f} s at {calendar.local(slow.tick):%Y-%m-%d %H:%M}",
            body=f"The mean is {usual:.1f} s, the deviation {slow.deviation_ms / 1000:.1f} s.",
            dedupe_key=f"slow:{slow.job_type}:{slow.run_id}",
        )


def _failing(connection: Connection, calendar: MarketCalendar, now: datetime) -> Iterator[Notification]:
    found = job_alarms.failing_jobs(connection, runs_min=RUNS_MIN, failure_rate_max=FAILURE_RATE_MAX)
    for job in found:
        yield Notification(
            severity=Severity.WARNING,
            kind="failure_rate",
            title=f"{job.job_type} failed in {job.failed} of its last {job.runs} runs",
            body=f"That is {job.failed / job.runs:.0%}; above {FAILURE_RATE_MAX:.0%} is told once a day.",
            dedupe_key=f"failing:{job.job_type}:{calendar.local(now).date()}",
        )
