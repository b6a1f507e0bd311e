"""Scheduled jobs, their executions and their breakers."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping

from trading_orchestration.domain.breaker import BreakerSettings, BreakerState, Transition
from trading_orchestration.domain.job import ExecutionStatus, ExecutionTrigger, JobStatus, JobType
from trading_orchestration.errors import LeaseLostError, SchemaError
from trading_orchestration.store.database import run, transaction

#: Opens a transaction; inside a job it also makes sure that the run still holds its lease.
Begin = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A job's settings (seconds end in `_s`) and its breaker."""

    job_type: JobType
    settings: BreakerSettings
    breaker: BreakerState
    stale_after_s: int | None
    lease_s: int
    missed_after_s: int
    is_scheduled: bool
    last_success_at: datetime | None
    average_duration_ms: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which execution a run is of a job: one row each. `tick` is UTC.

    `unfit` is the sentence that says why it can be for nothing: no such session, a tag nobody can read.
    """

    job_type: JobType
    run_id: str
    trigger: ExecutionTrigger
    tick: datetime
    session: date | None
    unfit: str | None = None

    def parameters(self) -> dict[str, Any]:
        """The same as the queries want it."""
        return {
            "job_type": self.job_type.value,
            "run_id": self.run_id,
            "triggered_by": self.trigger.value,
            "tick": self.tick,
            "session": self.session,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A row of `job_executions`, as far as its outcome goes."""

    id: int
    job_type: JobType
    run_id: str
    trigger: ExecutionTrigger
    status: ExecutionStatus
    is_probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningExecution:
    """An execution that has not ended, in the process `worker`; `is_expired` when its lease is over."""

    id: int
    run_id: str
    tick: datetime
    lease_until: datetime
    is_expired: bool
    worker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended. `finished_at` None is now."""

    status: ExecutionStatus
    counts: Mapping[str, int] | None = None
    error_class: str | None = None
    error_message: str | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What finishing a row told: how long the run took, and how long ago it ended (seconds)."""

    duration_ms: Decimal
    age_s: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one execution to change things, until it is over or taken away."""

    engine: Engine
    execution_id: int

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that the sweeper cannot overtake; raises LeaseLostError when it already has."""
        with transaction(self.engine) as connection:
            if run(connection, "hold_lease", execution_id=self.execution_id).scalar() is None:
                raise LeaseLostError(
                    f"Execution {self.execution_id} lost its lease; another run may be at work already."
                )
            yield connection


def hold_job(connection: Connection, job_type: JobType) -> ScheduledJob:
    """A job, locked until the transaction ends."""
    return _job(run(connection, "hold_job", job_type=job_type.value).mappings().one_or_none(), job_type)


def hold_job_if_free(connection: Connection, job_type: JobType) -> ScheduledJob | None:
    """A job, locked until the transaction ends; None while somebody else holds it."""
    row = run(connection, "hold_job_if_free", job_type=job_type.value).mappings().one_or_none()
    return None if row is None else _job(row, job_type)


def read_job(connection: Connection, job_type: JobType) -> ScheduledJob:
    """A job as it is now."""
    return _job(run(connection, "read_job", job_type=job_type.value).mappings().one_or_none(), job_type)


def read_jobs(connection: Connection) -> list[ScheduledJob]:
    """All jobs as they are now."""
    return [_job(row, JobType(row["job_type"])) for row in run(connection, "jobs").mappings()]


def save_breaker(connection: Connection, job_type: JobType, state: BreakerState) -> None:
    """Write a breaker's state; the job must be held."""
    run(
        connection,
        "save_breaker",
        job_type=job_type.value,
        job_status=state.job_status.value,
        consecutive_failures=state.consecutive_failures,
        half_open_successes=state.half_open_successes,
        open_count=state.open_count,
        opened_at=state.opened_at,
        retry_at=state.retry_at,
        closed_at=state.closed_at,
        recent_outcomes=list(state.recent_outcomes),
        needs_person=state.needs_person,
        probe_run_id=state.probe_run_id,
        last_failure_at=state.last_failure_at,
        last_error=state.last_error,
    )


def add_breaker_event(
    connection: Connection, job_type: JobType, transition: Transition, *, run_id: str | None, at: datetime
) -> int:
    """Append to the audit trail of a breaker; answers the event's id."""
    inserted = run(
        connection,
        "insert_breaker_event",
        job_type=job_type.value,
        old_status=transition.old.value,
        new_status=transition.new.value,
        reason=transition.reason,
        run_id=run_id,
        actor=transition.actor,
        at=at,
    )
    return int(inserted.scalar_one())


def breaker_events(connection: Connection, job_type: JobType, *, limit: int) -> list[RowMapping]:
    """A breaker's history, newest first."""
    return list(run(connection, "breaker_events", job_type=job_type.value, limit=limit).mappings())


def running_execution(connection: Connection, job_type: JobType) -> RunningExecution | None:
    """The execution of a job that has not ended, if any."""
    row = run(connection, "running_execution", job_type=job_type.value).mappings().one_or_none()
    return RunningExecution(**row) if row else None


def execution_of_tick(connection: Connection, job_type: JobType, tick: datetime) -> str | None:
    """The run that ran a tick, or is running it."""
    row = run(connection, "execution_of_tick", job_type=job_type.value, tick=tick).mappings().one_or_none()
    return str(row["run_id"]) if row else None


def is_tick_over(connection: Connection, job_type: JobType, tick: datetime) -> bool:
    """Whether some run of this tick has ended, or was refused."""
    return bool(run(connection, "is_tick_over", job_type=job_type.value, tick=tick).scalar())


def completed_ticks(connection: Connection, job_types: Collection[JobType]) -> dict[JobType, datetime | None]:
    """The newest tick for which each of some jobs succeeded; None for one that never did."""
    rows = run(connection, "completed_ticks", job_types=[job_type.value for job_type in job_types])
    return {JobType(row["job_type"]): row["tick"] for row in rows.mappings()}


def execution_statuses(
    connection: Connection, run_ids: Sequence[str]
) -> dict[str, dict[JobType, ExecutionStatus]]:
    """The status of each row of each run that has any."""
    if not run_ids:
        return {}
    found: dict[str, dict[JobType, ExecutionStatus]] = {}
    for row in run(connection, "execution_statuses", run_ids=list(run_ids)).mappings():
        found.setdefault(row["run_id"], {})[JobType(row["job_type"])] = ExecutionStatus(
            row["execution_status"]
        )
    return found


def executions_of_run(connection: Connection, run_id: str) -> list[Execution]:
    """The rows of a run, one for each job it did."""
    return [_execution(row) for row in run(connection, "executions_of_run", run_id=run_id).mappings()]


def hold_execution(connection: Connection, execution_id: int) -> Execution:
    """A row, locked until the transaction ends."""
    return _execution(run(connection, "hold_execution", execution_id=execution_id).mappings().one())


def take_started(connection: Connection, execution_id: int) -> Execution | None:
    """An execution that is still open, locked; None while its worker is in the middle of a transaction."""
    row = run(connection, "take_started", execution_id=execution_id).mappings().one_or_none()
    return _execution(row) if row else None


def runs_that_are_over(connection: Connection, run_ids: Sequence[str], *, grace_s: float) -> set[str]:
    """Those of some runs that were given up, or ended longer than `grace_s` seconds ago."""
    if not run_ids:
        return set()
    return set(run(connection, "runs_that_are_over", run_ids=list(run_ids), grace_s=grace_s).scalars())


def add_started(
    connection: Connection, key: RunKey, *, is_probe: bool, lease_s: int, worker: str | None
) -> int:
    """The id of the row of a run that was admitted, to work in a process (`services/worker_process.py`)."""
    inserted = run(
        connection, "insert_started", **key.parameters(), is_probe=is_probe, lease_s=lease_s, worker=worker
    )
    return int(inserted.mappings().one()["id"])


def add_skipped(connection: Connection, key: RunKey, reason: str) -> None:
    """Keep that a run was refused, and why."""
    run(connection, "insert_skipped", **key.parameters(), skip_reason=reason)


def add_ended(
    connection: Connection, key: RunKey, outcome: Outcome, *, started_at: datetime
) -> Execution | None:
    """Keep a run that ended without being admitted; None where it, or its tick, has a row already."""
    inserted = run(
        connection,
        "insert_ended",
        **key.parameters(),
        execution_status=outcome.status.value,
        started_at=started_at,
        finished_at=outcome.finished_at or started_at,
        error_class=outcome.error_class,
        error_message=outcome.error_message,
    )
    row = inserted.mappings().one_or_none()
    return _execution(row) if row else None


def finish_execution(connection: Connection, execution_id: int, outcome: Outcome) -> Finished:
    """Write how an execution ended."""
    row = run(
        connection,
        "finish_execution",
        execution_id=execution_id,
        execution_status=outcome.status.value,
        finished_at=outcome.finished_at,
        counts=None if outcome.counts is None else json.dumps(dict(outcome.counts)),
        error_class=outcome.error_class,
        error_message=outcome.error_message,
    )
    finished = row.mappings().one()
    return Finished(Decimal(finished["duration_ms"]), float(finished["age_s"]))


def fold_outcome(
    connection: Connection, job_type: JobType, *, is_success: bool, duration_ms: Decimal | None, at: datetime
) -> None:
    """Count an outcome in its job; `duration_ms` None leaves the mean duration as it is."""
    run(
        connection,
        "fold_outcome",
        job_type=job_type.value,
        is_success=is_success,
        duration_ms=duration_ms,
        at=at,
    )


def unfold_success(connection: Connection, job_type: JobType) -> None:
    """Take back the count of a run that was counted as a success; it is counted anew as a failure."""
    run(connection, "unfold_success", job_type=job_type.value)


def started_executions(connection: Connection) -> list[RowMapping]:
    """Every row that is still open."""
    return list(run(connection, "started_executions").mappings())


def last_executions(connection: Connection) -> dict[JobType, RowMapping]:
    """The newest execution of each job that has run: status, tick, times and duration (ms)."""
    rows = run(connection, "last_executions").mappings()
    return {JobType(row["job_type"]): row for row in rows}


def set_scheduled(connection: Connection, running: Sequence[JobType], *, at: datetime) -> None:
    """Mirror the switches of the Dagster UI; one that was thrown was thrown at that instant."""
    run(connection, "set_scheduled", running=[job_type.value for job_type in running], at=at)


def _job(row: RowMapping | None, job_type: JobType) -> ScheduledJob:
    if row is None:
        raise SchemaError(f"scheduled_jobs has no row for {job_type}; run `trading db upgrade`.")
    breaker = {name: row[name] for name in BreakerState.__dataclass_fields__}
    breaker["job_status"] = JobStatus(row["job_status"])
    breaker["recent_outcomes"] = tuple(row["recent_outcomes"])
    return ScheduledJob(
        job_type=job_type,
        settings=BreakerSettings(**{name: row[name] for name in BreakerSettings.__dataclass_fields__}),
        breaker=BreakerState(**breaker),
        stale_after_s=row["stale_after_s"],
        lease_s=row["lease_s"],
        missed_after_s=row["missed_after_s"],
        is_scheduled=row["is_scheduled"],
        last_success_at=row["last_success_at"],
        average_duration_ms=row["average_duration_ms"],
    )


def _execution(row: RowMapping) -> Execution:
    return Execution(
        id=row["id"],
        job_type=JobType(row["job_type"]),
        run_id=row["run_id"],
        trigger=ExecutionTrigger(row["triggered_by"]),
        status=ExecutionStatus(row["execution_status"]),
        is_probe=row["is_probe"],
    )
