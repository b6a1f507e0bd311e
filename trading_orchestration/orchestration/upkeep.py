"""The sensor that keeps the databases small: what was kept long enough goes, a little at a time.

Dagster's own daemon removes ticks of schedules and sensors (`retention` in `dagster.yaml`); it has no limit
for runs and their events, nor for the results of checks that no run made.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    PARTITION_NAME_TAG,
)

from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.wiring import Trading

_INTERVAL_S = 3600
#: Runs removed by one evaluation; a day of all jobs makes about 700.
_RUNS_MAX = 300
_PAGE = 200
_EVENTS_MAX = 2_000
_PARTITION_TAGS = {PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_END_TAG}
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
#: What Dagster writes as the run of an event that no run made.
_NO_RUN = ""


@dg.sensor(
    name="upkeep_sensor",
    description="Removes old executions, messages, and Dagster's runs and events, each after its time.",
    tags={tags.KEEPS: "upkeep"},
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def upkeep_sensor(context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SkipReason:
    """The settings TRADING_KEEP_… say how long; the ledger is never touched."""
    removed = remove_old(context.instance, trading.open())
    told = ", ".join(f"{number} {name}" for name, number in removed.items() if number)
    return dg.SkipReason(f"Removed {told}." if told else "Nothing is old enough to be removed.")


def remove_old(instance: dg.DagsterInstance, trading: "Trading") -> dict[str, int]:
    """Remove what was kept long enough; answers how much of what."""
    from trading_orchestration.store import retention
    from trading_orchestration.wiring import system_clock

    settings = trading.settings
    before = system_clock() - timedelta(days=settings.trading_keep_runs_days)
    return {
        "executions": retention.purge_executions(trading.begin, keep_days=settings.trading_keep_record_days),
        "messages": retention.purge_notifications(
            trading.begin, keep_days=settings.trading_keep_messages_days
        ),
        "runs": _remove_runs(instance, before),
        "results of checks": _remove_check_results(instance, before),
    }


def _remove_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Remove old runs with their events, but those that assets and their partitions are shown by."""
    kept = set(_newest_materialisations(instance))
    removable = (run_id for run_id in _old_runs(instance, before) if run_id not in kept)
    # All are found first: a page begins after a run that must still be there.
    chosen = list(islice(removable, _RUNS_MAX))
    for run_id in chosen:
        instance.delete_run(run_id)
    return len(chosen)


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Every run that ended, is that old and made no partition, the oldest first, read page by page."""
    old = dg.RunsFilter(statuses=_ENDED, created_before=before)
    cursor: str | None = None
    while True:
        page: Sequence[dg.RunRecord] = instance.get_run_records(
            old, limit=_PAGE, cursor=cursor, ascending=True
        )
        if not page:
            return
        cursor = page[-1].dagster_run.run_id
        yield from (
            record.dagster_run.run_id
            for record in page
            if not record.dagster_run.tags.keys() & _PARTITION_TAGS
        )


def _newest_materialisations(instance: dg.DagsterInstance) -> Iterator[str]:
    """The runs that the UI shows assets by."""
    for key in instance.all_asset_keys():
        event = instance.get_latest_materialization_event(key)
        if event is not None:
            yield event.run_id


def _remove_check_results(instance: dg.DagsterInstance, before: datetime) -> int:
    """Remove what checks said long ago without a run, but what each said last; Dagster has no call for it."""
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return 0
    checks, events = AssetCheckExecutionsTable, SqlEventLogStorageTable
    newer, instant = checks.alias("newer"), before.replace(tzinfo=None)
    is_superseded = newer.select().where(
        newer.c.asset_key == checks.c.asset_key,
        newer.c.check_name == checks.c.check_name,
        newer.c.id > checks.c.id,
    )
    shown = checks.select().with_only_columns(checks.c.evaluation_event_storage_id)
    some = events.select().with_only_columns(events.c.id)
    some = some.where(
        events.c.run_id == _NO_RUN,
        events.c.timestamp < instant,
        events.c.id.not_in(shown.where(checks.c.evaluation_event_storage_id.is_not(None))),
    ).limit(_EVENTS_MAX)
    with storage.index_connection() as connection:
        is_old = checks.c.create_timestamp < instant
        connection.execute(checks.delete().where(is_old, is_superseded.exists()))
        return int(connection.execute(events.delete().where(events.c.id.in_(some))).rowcount)
