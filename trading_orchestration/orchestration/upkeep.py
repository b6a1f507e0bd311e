"""The sensor that keeps the databases small: what was kept long enough is removed, a little at a time."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.run_keys import ASSET_OF_JOB

if TYPE_CHECKING:
    from trading_orchestration.wiring import Trading

_INTERVAL_S = 3600
#: Runs removed by one evaluation; a day of all jobs makes about 700.
_RUNS_MAX = 300
#: Snapshots are partitions of an asset, which would go missing with their runs.
_PURGED_JOBS = tuple(job_type for job_type in JobType if job_type is not JobType.PORTFOLIO_SNAPSHOT)
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dg.sensor(
    name="upkeep_sensor",
    description="Removes old executions, notifications, and Dagster's runs of jobs that run by the minute.",
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def upkeep_sensor(context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SkipReason:
    """TRADING_KEEP_RECORD_DAYS and TRADING_KEEP_RUNS_DAYS say how long; the ledger is never touched."""
    removed = remove_old(context.instance, trading.open())
    told = ", ".join(f"{number} {name}" for name, number in removed.items() if number)
    return dg.SkipReason(f"Removed {told}." if told else "Nothing is old enough to be removed.")


def remove_old(instance: dg.DagsterInstance, trading: "Trading") -> dict[str, int]:
    """Remove what was kept long enough; answers how much of what."""
    from trading_orchestration.store import retention

    keep_days = trading.settings.trading_keep_record_days
    with trading.begin() as connection:
        executions = retention.purge_executions(connection, keep_days=keep_days)
        notifications = retention.purge_notifications(connection, keep_days=keep_days)
    runs = _remove_runs(instance, trading)
    return {"executions": executions, "notifications": notifications, "runs": runs}


def _remove_runs(instance: dg.DagsterInstance, trading: "Trading") -> int:
    from trading_orchestration.wiring import system_clock

    kept = set(_newest_materialisations(instance))
    before = system_clock() - timedelta(days=trading.settings.trading_keep_runs_days)
    removed = 0
    for job_type in _PURGED_JOBS:
        old = dg.RunsFilter(job_name=job_type.value, statuses=_ENDED, created_before=before)
        records = instance.get_run_records(old, limit=_RUNS_MAX - removed, ascending=True)
        for run_id in (record.dagster_run.run_id for record in records):
            if run_id not in kept:
                instance.compute_log_manager.delete_logs(prefix=[run_id])
                instance.delete_run(run_id)
                removed += 1
        if removed >= _RUNS_MAX:
            break
    return removed


def _newest_materialisations(instance: dg.DagsterInstance) -> Iterator[str]:
    """The runs that the UI shows assets by."""
    for asset in ASSET_OF_JOB.values():
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        if event is not None:
            yield event.run_id
