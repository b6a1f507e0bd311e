"""The sensor that mirrors Dagster's runs into `job_executions` and keeps the breakers up to date.

Dagster's own run-status sensors lose an event for good when their body fails. This one is level-triggered:
it reads every run that changed since a little before its cursor, and writing an outcome twice changes
nothing, so that late, doubled or repeated evaluations end in the same rows.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType

from trading_orchestration.domain.job import ExecutionStatus, JobType
from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.run_keys import job_types_of, run_key
from trading_orchestration.orchestration.run_outcomes import failed_jobs, outcome_of

if TYPE_CHECKING:
    from trading_orchestration.wiring import Trading

#: The daemon looks at its sensors every 5 s. An interval of as much would be a hair short every second time.
_INTERVAL_S = 3
#: Processes write their runs' changes by their own clocks, and not at once.
_OVERLAP = timedelta(minutes=5)
#: What a first evaluation looks back on; older runs were recorded by those that ran them.
_FIRST_LOOK_BACK = timedelta(days=7)
_BATCH = 500
#: One evaluation reads no further batch after this; the next goes on where it stopped.
_BUDGET_S = 20
#: A run whose rows are closed has this long to end in Dagster too, and a new one to ask for admission.
_GRACE_S = 60
#: What a launched run may take to start, where the code server that launched it was replaced meanwhile.
_START_S = 15
#: Sensors are evaluated in the code server, which loads this once.
_LOADED_S = time.monotonic()
_AGAIN_MAX = 100

#: Dagster fails such a run before any of our code, once `daily_bars` has been materialised.
_WITHOUT_SESSION = "It was launched without a session; choose a partition, such as 2024-07-03."

_log = logging.getLogger(__name__)


@dg.sensor(
    name="job_executions_sensor",
    description="Mirrors every run's outcome into job_executions, moves the breakers, closes what hangs.",
    tags={tags.KEEPS: "record"},
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_executions_sensor(context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SensorResult:
    """Read the runs that changed, close their rows, sweep leases, mirror the schedules' switches."""
    cursor = record_runs(context.instance, trading.open(), context.cursor)
    again = len(Cursor.read(cursor).again)
    reason = f"{again} runs could not be recorded yet; see the log." if again else "Runs are on record."
    return dg.SensorResult(skip_reason=reason, cursor=cursor)


def record_runs(instance: dg.DagsterInstance, trading: "Trading", cursor: str | None) -> str:
    """Bring `job_executions` up to Dagster's runs; answers the next cursor.

    A run that cannot be recorded is told in the log, does not hold up the others, and is tried again.
    """
    now = Cursor(trading.clock() - _FIRST_LOOK_BACK) if cursor is None else Cursor.read(cursor)
    recorder = _Recorder(instance, trading)
    recorder.record(_runs(instance, now.again))
    recorder.record(_runs(instance, [run_id for _, run_id in trading.monitoring.started_runs()]))
    until = time.monotonic() + _BUDGET_S
    newest = now.at
    for records in _changed_runs(instance, now.at - _OVERLAP):
        recorder.record(records)
        newest = max(newest, records[-1].update_timestamp.astimezone(UTC))
        if time.monotonic() > until:
            break
    trading.monitoring.sweep()
    _fail_hanging(instance, trading)
    trading.monitoring.mirror_schedules(_running_schedules(instance))
    return Cursor(newest, tuple(sorted(recorder.unrecorded))[:_AGAIN_MAX]).text


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the runs are on record: the newest change seen (UTC), and runs to try again."""

    at: datetime
    again: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor that `text` gives."""
        at, *again = text.split()
        return cls(datetime.fromisoformat(at), tuple(again))

    @property
    def text(self) -> str:
        """The instant, then the run ids."""
        return " ".join((self.at.isoformat(), *self.again))


class _Recorder:
    def __init__(self, instance: dg.DagsterInstance, trading: "Trading") -> None:
        self._instance = instance
        self._trading = trading
        self.unrecorded: set[str] = set()

    def record(self, records: Sequence[dg.RunRecord]) -> None:
        """Write the outcome of every run that has ended and whose rows do not say so."""
        ended = [record for record in records if record.dagster_run.is_finished]
        known = self._trading.monitoring.statuses([record.dagster_run.run_id for record in ended])
        for record in ended:
            run_id = record.dagster_run.run_id
            try:
                self._record(record, known.get(run_id, {}))
            except DatabaseUnavailableError:
                raise
            except Exception:  # noqa: BLE001 (it is logged, told in the tick, and tried again)
                _log.exception("Run %s could not be recorded; it is tried again.", run_id)
                self.unrecorded.add(run_id)
            else:
                self.unrecorded.discard(run_id)

    def _record(self, record: dg.RunRecord, known: dict[JobType, ExecutionStatus]) -> None:
        run = record.dagster_run
        has_succeeded = run.status is dg.DagsterRunStatus.SUCCESS
        news = [
            job_type
            for job_type, status in known.items()
            if status is ExecutionStatus.STARTED
            or (status is ExecutionStatus.COMPLETED and not has_succeeded)
        ]
        if not has_succeeded and len(known) > 1:
            news = failed_jobs(self._instance, run, news)
        if not known:
            self._record_unadmitted(record)
        elif news:
            outcome = outcome_of(self._instance, record)
            for job_type in news:
                self._trading.monitoring.log_outcome(job_type, run.run_id, outcome)

    def _record_unadmitted(self, record: dg.RunRecord) -> None:
        run = record.dagster_run
        started_at = _instant(record.start_time) or record.create_timestamp.astimezone(UTC)
        for job_type in job_types_of(run):
            key = run_key(run.run_id, dict(run.tags), job_type, self._trading.calendar, started_at)
            if job_type is JobType.PORTFOLIO_SNAPSHOT and not tags.has_partition(run.tags):
                self._trading.monitoring.log_refused(key, _WITHOUT_SESSION)
                continue
            outcome = outcome_of(self._instance, record)
            self._trading.monitoring.log_unadmitted(key, outcome, started_at=started_at)


def _runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> Sequence[dg.RunRecord]:
    return instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []


def _changed_runs(instance: dg.DagsterInstance, since: datetime) -> Iterator[Sequence[dg.RunRecord]]:
    """Every run that changed after an instant, oldest change first, in batches."""
    limit = _BATCH
    while True:
        records = instance.get_run_records(
            dg.RunsFilter(updated_after=since), limit=limit, order_by="update_timestamp", ascending=True
        )
        if records:
            yield records
        if len(records) < limit:
            return
        # Changes of the same instant may lie on both sides of the cut: the next batch begins just before it.
        last = records[-1].update_timestamp.astimezone(UTC) - timedelta(microseconds=1)
        limit = _BATCH if last > since else limit * 2
        since = max(since, last)


def _fail_hanging(instance: dg.DagsterInstance, trading: "Trading") -> None:
    """Fail the runs that hang in Dagster: their workers are gone or stand still, and hold up their job."""
    at_work = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    records = instance.get_run_records(dg.RunsFilter(statuses=[*at_work, dg.DagsterRunStatus.STARTING]))
    runs = {record.dagster_run.run_id: record.dagster_run for record in records}
    known = trading.monitoring.statuses(list(runs))
    given_up = trading.monitoring.runs_that_are_over(list(runs), grace_s=_GRACE_S)
    for record in records:
        run = record.dagster_run
        if run.run_id in given_up:
            instance.report_run_failed(run, "The run was given up: its lease is over, or its process gone.")
        elif run.run_id not in known and job_types_of(run):
            _fail_unadmitted(instance, record, trading.clock())


def _fail_unadmitted(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> None:
    """Fail a run that will not ask for admission any more, which takes two seconds from its launch."""
    run, started_at = record.dagster_run, _instant(record.start_time)
    if started_at is not None:
        if started_at < now - timedelta(seconds=_GRACE_S):
            instance.report_run_failed(run, "The run never asked for admission: its process is gone.")
        return
    launched_at = record.update_timestamp.astimezone(UTC)
    here_since = now - timedelta(seconds=time.monotonic() - _LOADED_S)
    if launched_at < min(here_since, now - timedelta(seconds=_START_S)):
        instance.report_run_failed(run, "The run did not start: the code server that launched it is gone.")


def _running_schedules(instance: dg.DagsterInstance) -> list[JobType]:
    from dagster._core.scheduler.instigation import InstigatorStatus  # a tenth of Dagster's own import

    states = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.RUNNING}
    )
    names = {state.instigator_name for state in states}
    return [job_type for job_type in JobType if f"{job_type.value}_schedule" in names]


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
