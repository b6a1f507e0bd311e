"""What is removed after its time, and what never is."""

import re
from collections.abc import Iterator

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration import upkeep
from trading_orchestration.orchestration.checks import ALL, CHECKS, report_checks
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation, in_dagster

pytestmark = ON_DAGSTER

LEDGER = (
    "fills",
    "cash_movements",
    "adjustments",
    "decisions",
    "trades",
    "portfolio_snapshots",
    "breaker_events",
)


def execution(installation: Installation, run_id: str, days: int, status: str = "completed") -> None:
    message = "'down'" if status == "failed" else "NULL"
    installation.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        f"finished_at, error_message) SELECT 'price_update', '{run_id}', 'schedule', at, '{status}', at, at, "
        f"{message} FROM CAST(now() - interval '{days} days' AS timestamptz) AS at"
    )


def left(installation: Installation, table: str, column: str) -> list[str]:
    return [row[column] for row in installation.ask(f"SELECT {column} FROM {table} ORDER BY {column}")]


def test_old_executions_go_and_the_newest_success_stays(installation: Installation) -> None:
    for run_id, days, status in (
        ("a-old", 500, "completed"),
        ("b-newest-success", 450, "completed"),
        ("c-old-failure", 420, "failed"),
        ("d-recent-failure", 399, "failed"),
    ):
        execution(installation, run_id, days, status)
    removed = upkeep.remove_old(installation.instance, installation.open())
    assert left(installation, "job_executions", "run_id") == ["b-newest-success", "d-recent-failure"]
    assert removed["executions"] == 2


def test_old_notifications_go(installation: Installation) -> None:
    for key, days in (("old", 401), ("recent", 399)):
        installation.change(
            "INSERT INTO notifications (severity, kind, title, dedupe_key, occurred_at, created_at) VALUES "
            f"('info', 'test', 'test', '{key}', now(), now() - interval '{days} days')"
        )
    upkeep.remove_old(installation.instance, installation.open())
    assert left(installation, "notifications", "dedupe_key") == ["recent"]


def test_the_ledger_is_never_touched(traded: Installation) -> None:
    before = [traded.ask(f"SELECT * FROM {table} ORDER BY 1, 2") for table in LEDGER]
    traded.settings = traded.settings.model_copy(
        update={"trading_keep_record_days": 7, "trading_keep_runs_days": 1}
    )
    upkeep.remove_old(traded.instance, traded.open())
    assert before == [traded.ask(f"SELECT * FROM {table} ORDER BY 1, 2") for table in LEDGER]


def _materialised_by_hand(installation: Installation, asset: str) -> str:
    """As the button of the asset's page does it: in a job of Dagster's own, without a name of ours."""
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=installation.instance, raise_on_error=False, asset_selection=[dg.AssetKey(asset)]
    ).run_id


def _at_work(installation: Installation) -> str:
    """A run that has not ended, however long ago it began."""
    run = installation.instance.create_run_for_job(installation.definitions.resolve_job_def("position_sync"))
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    installation.instance.report_dagster_event(started, run.run_id)
    return run.run_id


@pytest.fixture
def aged(installation: Installation, dagster_url: str) -> Iterator[list[str]]:
    """Runs of long ago: price updates, an order check, a refused snapshot, an asset by hand, one at work."""
    runs = [installation.run(JobType.PRICE_UPDATE).run_id for _ in range(3)]
    runs.append(installation.run(JobType.ORDER_STATUS_CHECK).run_id)
    runs.append(installation.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2024-07-09").run_id)
    runs.append(_materialised_by_hand(installation, "positions"))
    runs.append(_at_work(installation))
    aging = "UPDATE runs SET create_timestamp = now() - interval '31 days' WHERE run_id = ANY(:runs)"
    in_dagster(dagster_url, aging, runs=runs)
    yield runs
    installation.instance.delete_run(runs[-1])


def test_old_runs_go_but_not_those_that_assets_show(installation: Installation, aged: list[str]) -> None:
    recent = installation.run(JobType.ORDER_STATUS_CHECK).run_id
    newer = installation.run(JobType.POSITION_SYNC).run_id
    removed = upkeep.remove_old(installation.instance, installation.open())
    there = [run_id for run_id in (*aged, recent) if installation.instance.has_run(run_id)]
    # The newest price update is the materialisation of `quotes`, the snapshot that of a partition.
    assert there == [aged[2], aged[4], aged[6], recent]
    assert all(installation.instance.all_logs(run_id) for run_id in there)
    assert installation.instance.has_run(newer)
    assert removed["runs"] >= 3
    assert installation.instance.all_logs(aged[0]) == []
    event = installation.instance.get_latest_materialization_event(dg.AssetKey("quotes"))
    assert event is not None
    assert event.run_id == aged[2]


def test_what_checks_said_long_ago_goes_but_not_what_each_said_last(
    installation: Installation, dagster_url: str
) -> None:
    events = "SELECT count(*) FROM event_logs WHERE run_id = ''"
    results = "SELECT count(*) FROM asset_check_executions"
    in_dagster(dagster_url, "DELETE FROM asset_check_executions")
    in_dagster(dagster_url, "DELETE FROM event_logs WHERE run_id = ''")
    for _ in range(2):
        report_checks(installation.instance, installation.open())
    for column, table in (("timestamp", "event_logs"), ("create_timestamp", "asset_check_executions")):
        in_dagster(dagster_url, f"UPDATE {table} SET {column} = {column} - interval '31 days'")
    removed = upkeep.remove_old(installation.instance, installation.open())
    assert removed["results of checks"] == len(ALL)
    assert [in_dagster(dagster_url, ask).scalar() for ask in (events, results)] == [len(ALL), len(ALL)]
    keys = [key for checks in CHECKS for key in checks.check_keys]
    shown = installation.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert all(record.event is not None for record in shown.values())
    assert len(shown) == len(ALL)


def test_the_sensor_says_what_it_removed(installation: Installation, aged: list[str]) -> None:
    assert aged
    execution(installation, "old", 500, "failed")
    execution(installation, "older", 501, "failed")
    said = []
    for _ in range(2):
        with dg.build_sensor_context(installation.instance) as context:
            answer = upkeep.upkeep_sensor(context, trading=TradingResource())
        assert isinstance(answer, dg.SkipReason)
        said.append(answer.skip_message)
    # Other tests' runs may have grown old too.
    assert re.fullmatch(r"Removed 2 executions, \d+ runs(, \d+ results of checks)?\.", said[0] or "")
    assert said[1] == "Nothing is old enough to be removed."
