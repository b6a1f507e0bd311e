"""What alarms about jobs go by: whether they ran, how long they took, how often they failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from trading_orchestration.domain.job import JobStatus, JobType
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmState:
    """What tells whether a job ran when it should have. Instants are UTC.

    `ran_for` is the newest tick that was run, well or not; `was_on`: its schedule ran it in this session.
    """

    job_type: JobType
    job_status: JobStatus
    scheduled_since: datetime | None
    missed_since: datetime | None
    missed_after_s: int
    last_error: str | None
    ran_for: datetime | None
    was_on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowExecution:
    """A run that took much longer than those before it (milliseconds)."""

    job_type: JobType
    run_id: str
    tick: datetime
    duration_ms: Decimal
    mean_ms: Decimal
    deviation_ms: Decimal


@dataclass(frozen=True, slots=True)
class FailingJob:
    """A job of whose last runs too many failed."""

    job_type: JobType
    failed: int
    runs: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a session was tried, and whether the last try was long enough ago."""

    number: int
    is_rested: bool


def alarm_states(connection: Connection, *, opens_at: datetime) -> list[AlarmState]:
    """Every job; `opens_at` is the open of the current session."""
    rows = run(connection, "alarm_states", opens_at=opens_at).mappings()
    return [
        AlarmState(
            **{
                **row,
                "job_type": JobType(row["job_type"]),
                "job_status": JobStatus(row["job_status"]),
            }
        )
        for row in rows
    ]


def set_missed_since(connection: Connection, job_type: JobType, missed_since: datetime | None) -> bool:
    """Raise or (None) end an alarm; False when another was faster."""
    changed = run(connection, "set_missed_since", job_type=job_type.value, missed_since=missed_since)
    return changed.scalar() is not None


def slow_executions(
    connection: Connection, *, within_s: int, runs_min: int, floor_ms: int
) -> list[SlowExecution]:
    """Runs of the last seconds that took three deviations longer than at least `runs_min` before them."""
    rows = run(connection, "slow_executions", within_s=within_s, runs_min=runs_min, floor_ms=floor_ms)
    return [SlowExecution(**{**row, "job_type": JobType(row["job_type"])}) for row in rows.mappings()]


def failing_jobs(connection: Connection, *, runs_min: int, failure_rate_max: Decimal) -> list[FailingJob]:
    """Jobs that failed within the last day, and in more than a fraction of its (at least `runs_min`) runs."""
    rows = run(connection, "failing_jobs", runs_min=runs_min, failure_rate_max=failure_rate_max).mappings()
    return [FailingJob(JobType(row["job_type"]), row["failed"], row["runs"]) for row in rows]


def snapshot_attempts(
    connection: Connection, sessions: Mapping[date, datetime | None], *, pause_s: int
) -> dict[date, Attempts]:
    """The sessions among these that were tried, since an instant of their own or (None) ever.

    A session is rested once the last try is longer ago than `pause_s`.
    """
    rows = run(
        connection,
        "snapshot_attempts",
        sessions=list(sessions),
        sinces=list(sessions.values()),
        pause_s=pause_s,
    ).mappings()
    return {row["session"]: Attempts(row["attempts"], row["is_rested"]) for row in rows}
