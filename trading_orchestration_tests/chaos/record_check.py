"""Whether the job record tells the truth: Dagster's own table of runs beside ours, row by row."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
from psycopg.rows import dict_row

from trading_orchestration.domain.job import ExecutionStatus, ExecutionTrigger, JobStatus, JobType

#: A tick that is judged in time is on record this much later at most, its process being slow.
_RECORDING = timedelta(seconds=2)
#: What two processes call one instant.
_CLOCKS = timedelta(milliseconds=50)
_GIVEN_UP = "LeaseLostError"
_FAILED_RUNS = frozenset({"FAILURE", "CANCELED"})
_ENDED_RUNS = frozenset({"SUCCESS", *_FAILED_RUNS})

_RUNS = """
    SELECT r.run_id, r.pipeline_name AS job, r.status, r.create_timestamp AS created_at, r.end_time
    FROM runs r ORDER BY r.id"""
_ROWS = """
    SELECT run_id, job_type AS job, execution_status AS status, triggered_by, tick, is_probe, started_at,
           finished_at, error_class, folded_at, created_at
    FROM job_executions ORDER BY id"""
_EVENTS = "SELECT job_type AS job, new_status, at FROM breaker_events ORDER BY id"
_JOBS = "SELECT job_type AS job, stale_after_s FROM scheduled_jobs"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, as Dagster has it."""

    run_id: str
    job: JobType
    status: str
    created_at: datetime
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED_RUNS


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of `job_executions`. `created_at` is when it was written, not when the run began."""

    run_id: str
    job: JobType
    status: ExecutionStatus
    trigger: ExecutionTrigger
    tick: datetime
    is_probe: bool
    started_at: datetime
    finished_at: datetime | None
    error_class: str | None
    folded_at: datetime | None
    created_at: datetime

    @property
    def was_admitted(self) -> bool:
        """Whether the run wrote it when it began; else it was skipped, or the sensor wrote it afterwards."""
        return self.status is not ExecutionStatus.SKIPPED and self.created_at <= self.started_at + _CLOCKS


@dataclass(frozen=True, kw_only=True)
class Move:
    """A breaker that came to a status."""

    job: JobType
    status: JobStatus
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that is compared."""

    runs: Sequence[Run]
    rows: Sequence[Row]
    moves: Sequence[Move]
    stale_after: Mapping[JobType, timedelta | None]

    def is_settled(self) -> bool:
        """Whether every run has ended and has a row, and no row is open."""
        known = {row.run_id for row in self.rows if row.finished_at is not None}
        are_closed = all(row.finished_at is not None for row in self.rows)
        return are_closed and all(run.has_ended and run.run_id in known for run in self.runs)

    def lags(self) -> list[float]:
        """How long after its end in Dagster the sensor closed the row of a run, where it did (seconds)."""
        ended = {run.run_id: run.ended_at for run in self.runs}
        folded = ((row.folded_at, ended.get(row.run_id)) for row in self.rows)
        return sorted((at - end).total_seconds() for at, end in folded if at and end and at > end)

    def lateness(self) -> dict[JobType, list[float]]:
        """How long after its tick each scheduled run was admitted (seconds)."""
        found: dict[JobType, list[float]] = defaultdict(list)
        for row in self.rows:
            if row.was_admitted and row.trigger is ExecutionTrigger.SCHEDULE:
                found[row.job].append((row.started_at - row.tick).total_seconds())
        return found


def read_record(trading_url: str, dagster_url: str) -> Record:
    """The record as it is now."""
    with psycopg.connect(dagster_url, row_factory=dict_row) as connection:
        runs = connection.execute(_RUNS).fetchall()
    with psycopg.connect(trading_url, row_factory=dict_row) as connection:
        rows = connection.execute(_ROWS).fetchall()
        events = connection.execute(_EVENTS).fetchall()
        jobs = connection.execute(_JOBS).fetchall()
    names = frozenset(JobType)
    return Record(
        runs=[
            Run(
                run_id=run["run_id"],
                job=JobType(run["job"]),
                status=run["status"],
                created_at=run["created_at"].replace(tzinfo=UTC),
                ended_at=None if run["end_time"] is None else datetime.fromtimestamp(run["end_time"], UTC),
            )
            for run in runs
            if run["job"] in names
        ],
        rows=[
            Row(
                **{name: row[name] for name in row if name not in ("job", "status", "triggered_by")},
                job=JobType(row["job"]),
                status=ExecutionStatus(row["status"]),
                trigger=ExecutionTrigger(row["triggered_by"]),
            )
            for row in rows
        ],
        moves=[
            Move(job=JobType(event["job"]), status=JobStatus(event["new_status"]), at=event["at"])
            for event in events
        ],
        stale_after={
            JobType(job["job"]): job["stale_after_s"] and timedelta(seconds=job["stale_after_s"])
            for job in jobs
        },
    )


def wrong(record: Record) -> list[str]:
    """One sentence for everything that must not be."""
    return [
        *_runs_without_their_row(record),
        *_outcomes(record),
        *_times(record),
        *_breakers(record),
        *_ticks(record),
    ]


def _runs_without_their_row(record: Record) -> Iterator[str]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in record.rows:
        rows[row.run_id].append(row)
    for run in record.runs:
        if not run.has_ended:
            yield f"{_name(run)} is still {run.status} in Dagster"
        if len(rows[run.run_id]) != 1:
            yield f"{_name(run)} has {len(rows[run.run_id])} rows"
    known = {run.run_id for run in record.runs}
    yield from (f"{_name(row)} is no run of Dagster's" for row in record.rows if row.run_id not in known)
    yield from (f"{_name(row)} is still started" for row in record.rows if row.finished_at is None)


def _outcomes(record: Record) -> Iterator[str]:
    """A skipped run did nothing, so it does not matter what became of its process."""
    for run, row in _pairs(record):
        is_right = {
            ExecutionStatus.COMPLETED: run.status == "SUCCESS",
            ExecutionStatus.FAILED: run.status in _FAILED_RUNS,
            ExecutionStatus.SKIPPED: True,
            ExecutionStatus.STARTED: False,
        }
        if not is_right[row.status]:
            yield f"{_name(run)} is {run.status} in Dagster and {row.status} in the record"
        if run.job is not row.job:
            yield f"{_name(run)} is a {row.job} in the record"


def _times(record: Record) -> Iterator[str]:
    """A run that was given up ended when that was told; Dagster may have seen its end before or after."""
    for run, row in _pairs(record):
        if row.started_at < run.created_at - _CLOCKS:
            yield f"{_name(run)} started {run.created_at - row.started_at} before it was made"
        if row.finished_at is None or run.ended_at is None:
            continue
        if row.finished_at < row.started_at:
            yield f"{_name(run)} finished before it started"
        if row.finished_at > run.ended_at + _CLOCKS and row.error_class != _GIVEN_UP:
            yield f"{_name(run)} finished {row.finished_at - run.ended_at} after its end in Dagster"


def _breakers(record: Record) -> Iterator[str]:
    """Each admitted run beside the newest move of its breaker by then; probes one after the other."""
    for job in JobType:
        moves = [move for move in record.moves if move.job is job]
        admitted = sorted(
            (row for row in record.rows if row.job is job and row.was_admitted),
            key=lambda row: row.started_at,
        )
        for row in admitted:
            status = _status_at(moves, row.started_at)
            if status in (JobStatus.ERROR, JobStatus.DISABLED):
                yield f"{_name(row)} began at {row.started_at} while its breaker was {status}"
            if status is JobStatus.PROBING and not row.is_probe:
                yield f"{_name(row)} was no probe, and its breaker was half open at {row.started_at}"
        for earlier, later in pairwise(admitted):
            if earlier.finished_at is not None and later.started_at < earlier.finished_at - _CLOCKS:
                both = "two probes" if earlier.is_probe and later.is_probe else "two runs"
                yield f"{both} of {job} at once: {earlier.run_id} and {later.run_id}"


def _status_at(moves: Sequence[Move], at: datetime) -> JobStatus:
    """A probe and the move that lets it in are one transaction: the move is a little older."""
    past = [move.status for move in moves if move.at <= at]
    return past[-1] if past else JobStatus.ENABLED


def _ticks(record: Record) -> Iterator[str]:
    ran: dict[tuple[JobType, datetime], list[str]] = defaultdict(list)
    for row in record.rows:
        if not row.was_admitted or row.trigger is not ExecutionTrigger.SCHEDULE:
            continue
        ran[row.job, row.tick].append(row.run_id)
        limit, late = record.stale_after[row.job], row.started_at - row.tick
        if limit is not None and late > limit + _RECORDING:
            yield f"{_name(row)} ran its tick of {row.tick} {late.total_seconds():.0f} s late"
    for (job, tick), runs in ran.items():
        if len(runs) > 1:
            yield f"{job} ran its tick of {tick} {len(runs)} times: {', '.join(runs)}"


def _pairs(record: Record) -> Iterator[tuple[Run, Row]]:
    runs = {run.run_id: run for run in record.runs}
    yield from ((runs[row.run_id], row) for row in record.rows if row.run_id in runs)


def _name(of: Run | Row) -> str:
    return f"{of.job} {of.run_id[:8]}"
