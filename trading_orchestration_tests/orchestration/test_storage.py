"""Dagster's event log in our hands: a run of many sessions is announced at once, and each check once."""

from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa

from trading_orchestration.orchestration.checks import ALL
from trading_orchestration.orchestration.tags import partition_range
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER

CHECKS = {check.name for check in ALL if check.asset == "portfolio_snapshots"}


@pytest.fixture
def statements(instance: dg.DagsterInstance) -> Iterator[list[str]]:
    """What is sent to Dagster's event log."""
    found: list[str] = []
    engine = vars(instance.event_log_storage)["_engine"]

    def note(*given: object) -> None:
        found.append(str(given[2]))

    sa.event.listen(engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(engine, "before_cursor_execute", note)


def plan(installation: Installation, first: str, last: str) -> dg.DagsterRun:
    """A run as the UI makes one of a range of `portfolio_snapshots`: with the asset's checks."""
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey("portfolio_snapshots")
    return installation.instance.create_run_for_job(
        job.get_subset(asset_selection={key}), tags=partition_range(first, last), asset_selection={key}
    )


def test_the_partitions_of_a_range_are_announced_in_a_handful_of_statements(
    installation: Installation, statements: list[str]
) -> None:
    run = plan(installation, "2012-01-03", "2012-12-31")
    planned = installation.instance.all_logs(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    assert len(planned) == 250
    assert {planned[0].get_dagster_event().partition, planned[-1].get_dagster_event().partition} == {
        "2012-01-03",
        "2012-12-31",
    }
    assert len([one for one in statements if "INSERT INTO event_logs" in one]) == 1 + len(CHECKS)
    assert len(statements) < 50
    installation.instance.delete_run(run.run_id)


def test_a_check_is_planned_once_for_the_whole_asset(installation: Installation) -> None:
    """Dagster would plan it 250 times, each with all partitions, and leave those rows for good."""
    run = plan(installation, "2012-01-03", "2012-12-31")
    engine = vars(installation.instance.event_log_storage)["_engine"]
    statement = sa.text(
        "SELECT check_name, partition, length(evaluation_event) AS size FROM asset_check_executions "
        "WHERE run_id = :run_id"
    )
    with engine.connect() as connection:
        rows = connection.execute(statement, {"run_id": run.run_id}).all()
    assert {(row.check_name, row.partition) for row in rows} == {(name, None) for name in CHECKS}
    assert max(row.size for row in rows) < 2_000
    installation.instance.delete_run(run.run_id)


def test_a_failed_run_of_a_range_leaves_what_it_took_materialised(traded: Installation) -> None:
    traded.change("DELETE FROM bars WHERE session = '2012-11-08' AND symbol = 'MSFT'")
    job = traded.definitions.resolve_job_def("portfolio_snapshot")
    done = job.execute_in_process(
        instance=traded.instance, raise_on_error=False, tags=partition_range("2012-11-05", "2012-11-08")
    )
    assert not done.success
    assert [found.partition for found in traded.materialisations(done.run_id)] == [
        "2012-11-05",
        "2012-11-06",
        "2012-11-07",
    ]
