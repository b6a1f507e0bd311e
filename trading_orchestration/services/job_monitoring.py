"""`JobMonitoringService`: whether a job may run, what became of every run, and the breakers.

Three paths write the row of a run, each as often as it likes: the run itself (admission, end), the
run-status sensor that reads Dagster's table, and the sweeper. The first final outcome stays, save that a
run which Dagster calls failed is failed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trading_orchestration.domain import breaker
from trading_orchestration.domain.breaker import FailureKind, Transition
from trading_orchestration.domain.job import (
    ExecutionStatus,
    ExecutionTrigger,
    JobStatus,
    JobType,
)
from trading_orchestration.domain.market_time import Clock, MarketCalendar, NotATick, Session, verdict
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    MarketDataNotAuthorizedError,
    SettingsError,
)
from trading_orchestration.store import jobs
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection, Engine, transaction
from trading_orchestration.store.jobs import Lease, Outcome, RunKey, ScheduledJob

#: Errors that no retry mends.
_MISCONFIGURATIONS = frozenset(
    error.__name__ for error in (BrokerNotAuthorizedError, MarketDataNotAuthorizedError, SettingsError)
)
#: Nothing is traded on books or prices that these do not keep.
_NEEDED_TO_TRADE = (JobType.ORDER_STATUS_CHECK, JobType.POSITION_SYNC, JobType.PRICE_UPDATE)
#: Jobs that make sense on a closed market when a person asks for them.
_RUN_BY_HAND_ANY_TIME = frozenset(JobType) - {JobType.STRATEGY_EXECUTION}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may act, as long as its lease lasts."""

    key: RunKey
    lease: Lease
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A run that may not, and why: one sentence for a person."""

    reason: str


class JobMonitoringService:
    """The job record and the breakers, in `scheduled_jobs`, `job_executions` and `breaker_events`.

    `jitter` gives numbers in [0, 1) that spread the waits of open breakers.
    """

    def __init__(
        self, engine: Engine, calendar: MarketCalendar, clock: Clock, *, jitter: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._calendar = calendar
        self._clock = clock
        self._jitter = jitter

    def should_job_run(self, key: RunKey) -> Skipped | None:
        """The reason why this run would be skipped now, or None. Changes nothing."""
        with transaction(self._engine) as connection:
            return self._refusal(connection, jobs.read_job(connection, key.job_type), key)

    def log_job_start(self, key: RunKey) -> Admitted | Skipped:
        """Admit a run and record it as started, or record that it was skipped."""
        with transaction(self._engine) as connection:
            job = jobs.hold_job(connection, key.job_type)
            if jobs.read_execution(connection, key.run_id) is not None:
                return Skipped(f"Run {key.run_id} is on record already; a run acts once.")
            job = self._fail_expired(connection, job)
            refusal = self._refusal(connection, job, key)
            if refusal is not None:
                jobs.add_skipped(connection, key, refusal.reason)
                return refusal
            return self._start(connection, job, key)

    def log_job_complete(self, run_id: str, counts: Mapping[str, int]) -> None:
        """Record that a run completed, with what it counted."""
        self.log_outcome(run_id, Outcome(status=ExecutionStatus.COMPLETED, counts=counts))

    def log_job_error(
        self, run_id: str, error: BaseException, counts: Mapping[str, int] | None = None
    ) -> None:
        """Record that a run failed, and why."""
        self.log_outcome(
            run_id,
            Outcome(
                status=ExecutionStatus.FAILED,
                counts=counts,
                error_class=type(error).__name__,
                error_message=str(error) or type(error).__name__,
            ),
        )

    def log_outcome(self, run_id: str, outcome: Outcome) -> bool:
        """Record an outcome, however often it is told; False where the run has no row."""
        with transaction(self._engine) as connection:
            known = jobs.read_execution(connection, run_id)
            if known is None:
                return False
            job = jobs.hold_job(connection, known.job_type)
            execution = jobs.hold_execution(connection, run_id)
            if execution is not None:
                self._close(connection, job, execution, outcome)
            return True

    def log_failed_before_start(self, key: RunKey, outcome: Outcome, *, started_at: datetime) -> None:
        """Record a run that died before it could ask for admission."""
        with transaction(self._engine) as connection:
            job = jobs.hold_job(connection, key.job_type)
            execution_id = jobs.add_failed(connection, key, outcome, started_at=started_at)
            if execution_id is not None:
                self._fold(connection, job, execution_id, key.run_id, outcome)

    def sweep(self) -> list[str]:
        """Fail every row whose lease is over; answers the runs that were given up."""
        given_up = []
        with transaction(self._engine) as connection:
            expired = [row for row in jobs.started_executions(connection) if row["is_expired"]]
        for row in expired:
            with transaction(self._engine) as connection:
                job = jobs.hold_job(connection, JobType(row["job_type"]))
                self._fail_expired(connection, job)
            given_up.append(str(row["run_id"]))
        return given_up

    def statuses(self, run_ids: Sequence[str]) -> dict[str, ExecutionStatus]:
        """The status of each run that has a row."""
        with transaction(self._engine) as connection:
            return jobs.execution_statuses(connection, run_ids)

    def started_runs(self) -> list[str]:
        """Runs whose row is still open."""
        with transaction(self._engine) as connection:
            return [str(row["run_id"]) for row in jobs.started_executions(connection)]

    def is_tick_done(self, job_type: JobType, tick: datetime) -> bool:
        """Whether a tick's run has ended, well or not."""
        with transaction(self._engine) as connection:
            return jobs.is_tick_done(connection, job_type, tick)

    def was_tick_run(self, job_type: JobType, tick: datetime) -> bool:
        """Whether a tick was run well, or is being run."""
        with transaction(self._engine) as connection:
            return jobs.execution_of_tick(connection, job_type, tick) is not None

    def is_scheduled(self, job_type: JobType) -> bool:
        """Whether a job's schedule was on when last looked at."""
        with transaction(self._engine) as connection:
            return jobs.read_job(connection, job_type).is_scheduled

    def mirror_schedules(self, running: Sequence[JobType]) -> None:
        """Take over which schedules are on in the Dagster UI."""
        with transaction(self._engine) as connection:
            jobs.set_is_scheduled(connection, running)

    def reset_breaker(self, job_type: JobType, *, actor: str, reason: str) -> None:
        """Close a breaker by hand and forget its failures."""
        with transaction(self._engine) as connection:
            job = jobs.hold_job(connection, job_type)
            state, transition = breaker.reset(job.breaker, at=self._clock(), actor=actor, reason=reason)
            self._save(connection, job, state, transition, run_id=None)

    def get_job_history(self, job_type: JobType | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Executions, newest first: status, tick, session, times, counts, reasons and errors."""
        with transaction(self._engine) as connection:
            return [dict(row) for row in jobs.job_history(connection, job_type, limit=limit)]

    def get_job_stats(self, *, since: datetime | None = None) -> list[dict[str, Any]]:
        """Per job: runs by outcome since an instant, failure rate, durations (ms), and the breaker."""
        with transaction(self._engine) as connection:
            rows = [dict(row) for row in jobs.job_stats(connection, since=since)]
        for row in rows:
            row["failure_rate"] = row["failed"] / row["runs"] if row["runs"] else None
        return rows

    def _refusal(self, connection: Connection, job: ScheduledJob, key: RunKey) -> Skipped | None:
        reason = (
            self._why_not_now(key, job) or _why_overlapping(connection, key) or _why_gated(connection, key)
        )
        if reason is None:
            admission = breaker.admit(
                job.breaker, at=self._clock(), run_id=key.run_id, is_manual=_is_by_hand(key)
            )
            reason = None if admission.allowed else admission.reason
        return Skipped(reason) if reason else None

    def _why_not_now(self, key: RunKey, job: ScheduledJob) -> str | None:
        now = self._clock()
        if key.trigger in (ExecutionTrigger.SCHEDULE, ExecutionTrigger.REPLAY):
            found = verdict(key.job_type, key.tick, self._calendar)
            if isinstance(found, NotATick):
                return found.reason
            return _why_stale(key, job, now)
        needs_open_market = key.job_type not in _RUN_BY_HAND_ANY_TIME
        if needs_open_market and not self._calendar.is_open(now):
            return f"{self._calendar.name} is closed; {key.job_type} trades in market hours only."
        return None

    def _start(self, connection: Connection, job: ScheduledJob, key: RunKey) -> Admitted:
        admission = breaker.admit(
            job.breaker, at=self._clock(), run_id=key.run_id, is_manual=_is_by_hand(key)
        )
        if admission.state != job.breaker:
            self._save(connection, job, admission.state, admission.transition, run_id=key.run_id)
        execution_id = jobs.add_started(connection, key, is_probe=admission.is_probe, lease_s=job.lease_s)
        return Admitted(key, Lease(self._engine, execution_id), admission.is_probe)

    def _fail_expired(self, connection: Connection, job: ScheduledJob) -> ScheduledJob:
        running = jobs.running_execution(connection, job.job_type)
        if running is None or not running.is_expired:
            return job
        execution = jobs.hold_execution(connection, running.run_id)
        if execution is not None:
            outcome = Outcome(
                status=ExecutionStatus.FAILED,
                error_class="LeaseLostError",
                error_message=f"The run did not end within its lease of {job.lease_s} s; it was given up.",
            )
            self._close(connection, job, execution, outcome)
        return jobs.hold_job(connection, job.job_type)

    def _close(
        self, connection: Connection, job: ScheduledJob, execution: jobs.Execution, outcome: Outcome
    ) -> None:
        if execution.status is ExecutionStatus.STARTED:
            self._fold(connection, job, execution.id, execution.run_id, outcome)
        elif execution.status is ExecutionStatus.COMPLETED and outcome.status is ExecutionStatus.FAILED:
            jobs.finish_execution(connection, execution.id, outcome)
            jobs.refold_as_failure(connection, job.job_type)
            self._record_failure(connection, job, execution.run_id, outcome)

    def _fold(
        self, connection: Connection, job: ScheduledJob, execution_id: int, run_id: str, outcome: Outcome
    ) -> None:
        duration_ms = jobs.finish_execution(connection, execution_id, outcome)
        is_success = outcome.status is ExecutionStatus.COMPLETED
        jobs.fold_outcome(
            connection,
            execution_id,
            job.job_type,
            is_success=is_success,
            duration_ms=duration_ms,
            at=self._clock(),
        )
        if is_success:
            state, transition = breaker.record_success(
                job.breaker, job.settings, at=self._clock(), run_id=run_id
            )
            self._save(connection, job, state, transition, run_id=run_id)
        else:
            self._record_failure(connection, job, run_id, outcome)

    def _record_failure(
        self, connection: Connection, job: ScheduledJob, run_id: str, outcome: Outcome
    ) -> None:
        is_misconfigured = outcome.error_class in _MISCONFIGURATIONS
        state, transition = breaker.record_failure(
            job.breaker,
            job.settings,
            at=self._clock(),
            run_id=run_id,
            kind=FailureKind.MISCONFIGURATION if is_misconfigured else FailureKind.INFRASTRUCTURE,
            error=outcome.error_message or "unknown",
            jitter=self._jitter(),
            after_session_time=self._calendar.add_session_time,
        )
        self._save(connection, job, state, transition, run_id=run_id)

    def _save(
        self,
        connection: Connection,
        job: ScheduledJob,
        state: breaker.BreakerState,
        transition: Transition | None,
        *,
        run_id: str | None,
    ) -> None:
        jobs.save_breaker(connection, job.job_type, state)
        if transition is None:
            return
        at = self._clock()
        jobs.add_breaker_event(connection, job.job_type, transition, run_id=run_id, at=at)
        severity = Severity.CRITICAL if transition.new is JobStatus.ERROR else Severity.INFO
        title = f"{job.job_type}: breaker {transition.old} → {transition.new}"
        key = f"breaker:{job.job_type}:{transition.new}:{at.isoformat()}:{run_id}"
        notification = Notification(
            severity=severity, kind="breaker", title=title, body=transition.reason, dedupe_key=key
        )
        add_notifications(connection, [notification], at=at)


def session_of_run(
    calendar: MarketCalendar, job_type: JobType, trigger: ExecutionTrigger, tick: datetime
) -> Session | None:
    """The session that a run is about: that of its tick, or by hand the current or last one."""
    if trigger is not ExecutionTrigger.MANUAL:
        found = verdict(job_type, tick, calendar)
        return None if isinstance(found, NotATick) else found
    if job_type is JobType.PORTFOLIO_SNAPSHOT:
        return calendar.last_closed(tick)
    return calendar.session_at(tick) or calendar.last_closed(tick)


def _is_by_hand(key: RunKey) -> bool:
    return key.trigger in (ExecutionTrigger.MANUAL, ExecutionTrigger.BACKFILL)


def _why_stale(key: RunKey, job: ScheduledJob, now: datetime) -> str | None:
    late = now - key.tick
    if job.stale_after_s is None or late <= timedelta(seconds=job.stale_after_s):
        return None
    return (
        f"The tick of {key.tick:%Y-%m-%d %H:%M:%S} UTC is {late.total_seconds():,.0f} s old; "
        f"{key.job_type} runs at most {job.stale_after_s} s late."
    )


def _why_overlapping(connection: Connection, key: RunKey) -> str | None:
    running = jobs.running_execution(connection, key.job_type)
    if running is not None and not running.is_expired:
        return f"Run {running.run_id} of this job is still at work on the tick of {running.tick:%H:%M} UTC."
    if _is_by_hand(key):
        return None
    earlier = jobs.execution_of_tick(connection, key.job_type, key.tick)
    return f"Run {earlier} ran this tick already." if earlier else None


def _why_gated(connection: Connection, key: RunKey) -> str | None:
    if key.job_type is not JobType.STRATEGY_EXECUTION:
        return None
    for job_type in _NEEDED_TO_TRADE:
        if jobs.read_job(connection, job_type).breaker.job_status in (JobStatus.ERROR, JobStatus.DISABLED):
            return f"Nothing is traded while {job_type} is not running; its breaker is open or it is paused."
    return None
