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
from trading_orchestration.domain.breaker import Admission, BreakerState, FailureKind, Transition
from trading_orchestration.domain.job import ExecutionStatus, ExecutionTrigger, JobStatus, JobType
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    InvalidInputError,
    LeaseLostError,
    MarketDataNotAuthorizedError,
    SettingsError,
)
from trading_orchestration.services import job_admission
from trading_orchestration.services.job_control import save_move
from trading_orchestration.services.job_overview import next_tick
from trading_orchestration.services.worker_process import is_gone, this_worker
from trading_orchestration.store import job_statistics, jobs
from trading_orchestration.store.database import Connection, Engine, transaction
from trading_orchestration.store.jobs import Execution, Lease, Outcome, RunKey, ScheduledJob

#: The class of error of a run that a person ended.
CANCELLED = "Cancelled"

#: Errors that no retry mends.
_MISCONFIGURATIONS = frozenset(
    error.__name__ for error in (BrokerNotAuthorizedError, MarketDataNotAuthorizedError, SettingsError)
)
#: Ends that are a person's doing and say nothing about the job.
_OF_PEOPLE = frozenset((InvalidInputError.__name__, CANCELLED))
#: Outcomes so close together are in the order in which they are told.
_SAME_TIME = timedelta(seconds=5)
_BY_HAND = (ExecutionTrigger.MANUAL, ExecutionTrigger.BACKFILL)


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


def failure(error: BaseException, counts: Mapping[str, int] | None = None) -> Outcome:
    """The outcome of a run that ended with an error."""
    return Outcome(
        status=ExecutionStatus.FAILED,
        counts=counts,
        error_class=type(error).__name__,
        error_message=str(error) or type(error).__name__,
    )


class JobMonitoringService:
    """The job record and the breakers, in `scheduled_jobs`, `job_executions` and `breaker_events`.

    `jitter` gives numbers in [0, 1) that spread the waits of open breakers. A replay is recorded and counted,
    but no breaker stops it or hears of it: the same bars always lead to the same trades.
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
            job = jobs.read_job(connection, key.job_type)
            judged = self._judge(connection, job, key, is_final=False)
        return judged if isinstance(judged, Skipped) else None

    def log_job_start(self, key: RunKey) -> Admitted | Skipped:
        """Admit a run and record it as started, or record that it was skipped."""
        with transaction(self._engine) as connection:
            job = jobs.hold_job(connection, key.job_type)
            if any(row.job_type is key.job_type for row in jobs.executions_of_run(connection, key.run_id)):
                return Skipped(f"Run {key.run_id} is on record already; a run acts once.")
            if self._give_up_lost(connection, job):
                job = jobs.hold_job(connection, key.job_type)
            judged = self._judge(connection, job, key, is_final=True)
            if isinstance(judged, Skipped):
                jobs.add_skipped(connection, key, judged.reason)
                return judged
            save_move(connection, job, judged.state, judged.transition, run_id=key.run_id, at=self._clock())
            execution_id = jobs.add_started(
                connection, key, is_probe=judged.is_probe, lease_s=job.lease_s, worker=this_worker()
            )
            return Admitted(key, Lease(self._engine, execution_id), judged.is_probe)

    def log_job_complete(self, key: RunKey, counts: Mapping[str, int]) -> JobStatus:
        """Record that an admitted run completed, with what it counted; answers what the breaker is then.

        Raises LeaseLostError when the run was given up meanwhile: its record says that it failed.
        """
        outcome = Outcome(status=ExecutionStatus.COMPLETED, counts=counts)
        with transaction(self._engine) as connection:
            status = self._log_outcome(connection, key.job_type, key.run_id, outcome)
            breaker_status = jobs.read_job(connection, key.job_type).breaker.job_status
        if status is ExecutionStatus.FAILED:
            raise LeaseLostError(f"Run {key.run_id} was given up before it ended; its record says so.")
        return breaker_status

    def log_job_error(
        self, key: RunKey, error: BaseException, counts: Mapping[str, int] | None = None
    ) -> None:
        """Record that an admitted run failed, and why."""
        self.log_outcome(key.job_type, key.run_id, failure(error, counts))

    def log_outcome(self, job_type: JobType, run_id: str, outcome: Outcome) -> ExecutionStatus | None:
        """Record an outcome, however often it is told; answers the status of the row, if there is one."""
        with transaction(self._engine) as connection:
            return self._log_outcome(connection, job_type, run_id, outcome)

    def log_refused(self, key: RunKey, reason: str) -> None:
        """Record a run that was refused before it asked for admission; no fault of its job."""
        with transaction(self._engine) as connection:
            jobs.add_skipped(connection, key, reason)

    def log_unadmitted(self, key: RunKey, outcome: Outcome, *, started_at: datetime) -> None:
        """Record a run that ended without ever asking for admission."""
        with transaction(self._engine) as connection:
            job = jobs.hold_job(connection, key.job_type)
            row = jobs.add_ended(connection, key, outcome, started_at=started_at)
            if row is not None and outcome.status is ExecutionStatus.FAILED:
                self._finish(connection, job, row, outcome)
            elif row is not None:
                jobs.fold_outcome(
                    connection, key.job_type, is_success=True, duration_ms=None, at=self._clock()
                )

    def sweep(self) -> list[str]:
        """Fail every row whose lease is over or whose process is gone; answers the runs that were given up.

        A job that somebody holds just now is left for the next time: a worker that stands still in the middle
        of its admission must not keep the rows of the other jobs open.
        """
        given_up = []
        with transaction(self._engine) as connection:
            started = jobs.started_executions(connection)
        lost = [row for row in started if row["is_expired"] or is_gone(row["worker"])]
        for row in lost:
            with transaction(self._engine) as connection:
                job = jobs.hold_job_if_free(connection, JobType(row["job_type"]))
                if job is not None and self._give_up_lost(connection, job):
                    given_up.append(str(row["run_id"]))
        return given_up

    def statuses(self, run_ids: Sequence[str]) -> dict[str, dict[JobType, ExecutionStatus]]:
        """The status of each row of each run that has any."""
        with transaction(self._engine) as connection:
            return jobs.execution_statuses(connection, run_ids)

    def started_runs(self) -> list[tuple[JobType, str]]:
        """The rows that are still open: job and run."""
        with transaction(self._engine) as connection:
            rows = jobs.started_executions(connection)
        return [(JobType(row["job_type"]), row["run_id"]) for row in rows]

    def runs_that_are_over(self, run_ids: Sequence[str], *, grace_s: float) -> set[str]:
        """Those of some runs that were given up, or whose rows were closed longer than `grace_s` ago."""
        with transaction(self._engine) as connection:
            return jobs.runs_that_are_over(connection, run_ids, grace_s=grace_s)

    def is_awaited(self, job_type: JobType, tick: datetime) -> bool:
        """Whether a scheduled run of a tick may still end: it is switched on, not stopped, not over."""
        with transaction(self._engine) as connection:
            job = jobs.read_job(connection, job_type)
            is_stopped = job.breaker.job_status in (JobStatus.ERROR, JobStatus.DISABLED)
            return job.is_scheduled and not is_stopped and not jobs.is_tick_over(connection, job_type, tick)

    def was_tick_run(self, job_type: JobType, tick: datetime) -> bool:
        """Whether a tick was run well, or is being run."""
        with transaction(self._engine) as connection:
            return jobs.execution_of_tick(connection, job_type, tick) is not None

    def newest_snapshot_run(self) -> str | None:
        """The run that took snapshots last; None before the first."""
        with transaction(self._engine) as connection:
            return job_statistics.newest_completed_run(connection, JobType.PORTFOLIO_SNAPSHOT)

    def mirror_schedules(self, running: Sequence[JobType]) -> None:
        """Take over which schedules are on in the Dagster UI."""
        with transaction(self._engine) as connection:
            jobs.set_scheduled(connection, running, at=self._clock())

    def get_job_history(self, job_type: JobType | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Executions, newest first: status, tick, session, times, counts, reasons and errors."""
        with transaction(self._engine) as connection:
            return [dict(row) for row in job_statistics.job_history(connection, job_type, limit=limit)]

    def get_job_stats(self, *, since: datetime | None = None) -> list[dict[str, Any]]:
        """Per job: outcomes and durations (ms) since an instant, rates of failure, breaker, next tick.

        Durations are of successes: `average_duration_ms` is the mean that weighs the newest with a fifth,
        `duration_variance` in ms². Rates are fractions, None where nothing ran.
        """
        now = self._clock()
        with transaction(self._engine) as connection:
            rows = [dict(row) for row in job_statistics.job_stats(connection, since=since, now=now)]
        for row in rows:
            row["failure_rate"] = row["failed"] / row["runs"] if row["runs"] else None
            row["next_tick"] = next_tick(JobType(row["job_type"]), self._calendar, now=now)
        return rows

    def _judge(
        self, connection: Connection, job: ScheduledJob, key: RunKey, *, is_final: bool
    ) -> Admission | Skipped:
        now = self._clock()
        reason = (
            job_admission.why_not_now(job, key, self._calendar, now)
            or job_admission.why_overlapping(connection, key, is_final=is_final)
            or job_admission.why_gated(connection, key, self._calendar, now)
        )
        if reason is not None:
            return Skipped(reason)
        if key.trigger is ExecutionTrigger.REPLAY:
            return Admission(allowed=True, is_probe=False, reason="A replay.", state=job.breaker)
        is_manual = key.trigger in _BY_HAND
        admission = breaker.admit(job.breaker, at=now, run_id=key.run_id, is_manual=is_manual)
        return admission if admission.allowed else Skipped(admission.reason)

    def _log_outcome(
        self, connection: Connection, job_type: JobType, run_id: str, outcome: Outcome
    ) -> ExecutionStatus | None:
        job = jobs.hold_job(connection, job_type)
        rows = jobs.executions_of_run(connection, run_id)
        found = next((row for row in rows if row.job_type is job_type), None)
        if found is None:
            return None
        return self._close(connection, job, jobs.hold_execution(connection, found.id), outcome)

    def _give_up_lost(self, connection: Connection, job: ScheduledJob) -> bool:
        """Close the open row of a job, if its lease is over or its process is gone."""
        running = jobs.running_execution(connection, job.job_type)
        if running is None:
            return False
        if running.is_expired:
            message = f"The run did not end within its lease of {job.lease_s} s; it was given up."
        elif is_gone(running.worker):
            message = "The process of the run is gone, before the run ended: it was killed."
        else:
            return False
        # It is read again under its lock: what ended by itself meanwhile was not lost.
        lost = jobs.take_started(connection, running.id)
        if lost is None:
            return False
        outcome = Outcome(
            status=ExecutionStatus.FAILED, error_class=LeaseLostError.__name__, error_message=message
        )
        self._close(connection, job, lost, outcome)
        return True

    def _close(
        self, connection: Connection, job: ScheduledJob, row: Execution, outcome: Outcome
    ) -> ExecutionStatus:
        """Close an open row, or correct one that calls a failed run completed; answers its status."""
        is_correction = row.status is ExecutionStatus.COMPLETED and outcome.status is ExecutionStatus.FAILED
        if row.status is not ExecutionStatus.STARTED and not is_correction:
            return row.status
        if is_correction:
            jobs.unfold_success(connection, job.job_type)
        self._finish(connection, job, row, outcome)
        return outcome.status

    def _finish(self, connection: Connection, job: ScheduledJob, row: Execution, outcome: Outcome) -> None:
        finished = jobs.finish_execution(connection, row.id, outcome)
        # What is found late is judged as of when it happened, on our clock.
        age_s = 0.0 if outcome.finished_at is None else finished.age_s
        at = self._clock() - timedelta(seconds=age_s)
        is_success = outcome.status is ExecutionStatus.COMPLETED
        jobs.fold_outcome(
            connection, job.job_type, is_success=is_success, duration_ms=finished.duration_ms, at=at
        )
        if row.trigger is not ExecutionTrigger.REPLAY:
            state, transition = self._after(job, row, outcome, at)
            save_move(connection, job, state, transition, run_id=row.run_id, at=self._clock())

    def _after(
        self, job: ScheduledJob, row: Execution, outcome: Outcome, at: datetime
    ) -> tuple[BreakerState, Transition | None]:
        """The breaker after an outcome; what is older than the last one it heard of no longer moves it."""
        is_its_probe = job.breaker.probe_run_id == row.run_id
        heard = max(filter(None, (job.last_success_at, job.breaker.last_failure_at)), default=None)
        is_late = heard is not None and at < heard - _SAME_TIME and not is_its_probe
        if outcome.error_class in _OF_PEOPLE or is_late:
            return breaker.release_probe(job.breaker, run_id=row.run_id), None
        if outcome.status is ExecutionStatus.COMPLETED:
            return breaker.record_success(job.breaker, job.settings, at=at, run_id=row.run_id)
        is_misconfigured = outcome.error_class in _MISCONFIGURATIONS
        return breaker.record_failure(
            job.breaker,
            job.settings,
            at=at,
            run_id=row.run_id,
            kind=FailureKind.MISCONFIGURATION if is_misconfigured else FailureKind.INFRASTRUCTURE,
            error=outcome.error_message or "unknown",
            jitter=self._jitter(),
            after_session_time=self._calendar.add_session_time,
        )
