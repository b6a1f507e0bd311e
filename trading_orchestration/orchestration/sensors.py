"""The sensor that mirrors Dagster's runs into `job_executions` and keeps the breakers up to date.

Dagster's own run-status sensors lose an event for good when their body fails. This one is level-triggered:
it reads every run that changed since a little before its cursor, and writing an outcome twice changes
nothing, so that late, doubled or repeated evaluations end in the same rows.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus

from trading_orchestration.domain.job import ExecutionStatus, JobType
from trading_orchestration.orchestration.admission import run_key
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.store.jobs import Outcome
    from trading_orchestration.wiring import Trading

_INTERVAL_S = 5
_OVERLAP = timedelta(minutes=5)
_BATCH = 500
_JOB_NAMES = frozenset(job_type.value for job_type in JobType)


@dg.sensor(
    name="job_executions_sensor",
    description="Mirrors every run's outcome into job_executions, enforces breakers, closes what hangs.",
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_executions_sensor(context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SensorResult:
    """Read the runs that changed, close their rows, sweep leases; the cursor moves on success only."""
    cursor = record_runs(context.instance, trading.open(), context.cursor)
    return dg.SensorResult(skip_reason="Runs are on record.", cursor=cursor)


def record_runs(instance: dg.DagsterInstance, trading: "Trading", cursor: str | None) -> str:
    """Bring `job_executions` up to Dagster's runs; answers the next cursor (an ISO instant)."""
    since = datetime.fromisoformat(cursor) - _OVERLAP if cursor else datetime(1970, 1, 1, tzinfo=UTC)
    seen: set[str] = set()
    newest = datetime.fromisoformat(cursor) if cursor else trading.clock()
    for records in _changed_runs(instance, since):
        ours = [record for record in records if record.dagster_run.job_name in _JOB_NAMES]
        known = trading.monitoring.statuses([record.dagster_run.run_id for record in ours])
        for record in ours:
            _record(instance, trading, record, known.get(record.dagster_run.run_id))
            seen.add(record.dagster_run.run_id)
        newest = max(newest, *(record.update_timestamp.astimezone(UTC) for record in records))
    _settle_started(instance, trading, seen=seen)
    _give_up(instance, trading.monitoring.sweep())
    trading.monitoring.mirror_schedules(_running_schedules(instance))
    return newest.isoformat()


def _changed_runs(instance: dg.DagsterInstance, since: datetime) -> Iterator[Sequence[dg.RunRecord]]:
    """Every run that changed after an instant, oldest change first, in batches."""
    while True:
        records = instance.get_run_records(
            dg.RunsFilter(updated_after=since), limit=_BATCH, order_by="update_timestamp", ascending=True
        )
        if records:
            yield records
        if len(records) < _BATCH:
            return
        since = records[-1].update_timestamp


def _record(
    instance: dg.DagsterInstance,
    trading: "Trading",
    record: dg.RunRecord,
    known: ExecutionStatus | None,
) -> None:
    run = record.dagster_run
    if not run.is_finished or not _is_news(run.status, known):
        return
    outcome = _outcome(instance, record)
    if trading.monitoring.log_outcome(run.run_id, outcome):
        return
    started_at = _instant(record.start_time) or record.create_timestamp.astimezone(UTC)
    job_type = JobType(run.job_name)
    key = run_key(run.run_id, dict(run.tags), job_type, trading.calendar, started_at)
    trading.monitoring.log_failed_before_start(key, outcome, started_at=started_at)


def _is_news(status: dg.DagsterRunStatus, known: ExecutionStatus | None) -> bool:
    if known in (None, ExecutionStatus.STARTED):
        return True
    return known is ExecutionStatus.COMPLETED and status is not dg.DagsterRunStatus.SUCCESS


def _settle_started(instance: dg.DagsterInstance, trading: "Trading", *, seen: set[str]) -> None:
    """Rows that are open although Dagster's run has long ended, or is gone."""
    for run_id in trading.monitoring.started_runs():
        if run_id in seen:
            continue
        record = instance.get_run_record_by_id(run_id)
        if record is not None:
            _record(instance, trading, record, ExecutionStatus.STARTED)


def _give_up(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Fail the runs whose lease ran out, so that none hangs in the UI either."""
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, "The run did not end within its lease; it was given up.")


def _outcome(instance: dg.DagsterInstance, record: dg.RunRecord) -> "Outcome":
    from trading_orchestration.store.jobs import Outcome

    run, finished_at = record.dagster_run, _instant(record.end_time)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return Outcome(status=ExecutionStatus.COMPLETED, finished_at=finished_at)
    error_class, message = _why_failed(instance, run)
    return Outcome(
        status=ExecutionStatus.FAILED,
        error_class=error_class,
        error_message=message,
        finished_at=finished_at,
    )


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, str]:
    """The class and the sentence of a failed run's error, from its event log."""
    if run.status is dg.DagsterRunStatus.CANCELED:
        return "Cancelled", "The run was cancelled."
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=wanted):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            description = getattr(event.step_failure_data.user_failure_data, "description", None)
            return error.cls_name or "Error", description or error.message.strip()
        if event.message:
            return "RunFailure", event.message
    return "RunFailure", "Dagster calls the run failed and gives no reason."


def _running_schedules(instance: dg.DagsterInstance) -> list[JobType]:
    states = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.RUNNING}
    )
    names = {state.instigator_name for state in states}
    return [job_type for job_type in JobType if f"{job_type.value}_schedule" in names]


def _instant(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
