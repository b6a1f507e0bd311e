"""The sensor that brings `job_executions` up to Dagster's own table, against a real one."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import JobType
from trading_orchestration.errors import BrokerUnavailableError, DatabaseUnavailableError
from trading_orchestration.orchestration import sensors, tags
from trading_orchestration.orchestration.run_keys import run_key
from trading_orchestration.services.job_monitoring import Admitted, JobMonitoringService
from trading_orchestration.services.worker_process import this_worker
from trading_orchestration.wiring import Trading, system_clock
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER


def launch(
    installation: Installation, job_type: JobType = JobType.PRICE_UPDATE, **given: Any
) -> dg.DagsterRun:
    """A run that Dagster knows of and that no process has begun."""
    job = installation.definitions.resolve_job_def(job_type.value)
    return installation.instance.create_run_for_job(job, **given)


def status_of(installation: Installation, run_id: str) -> dg.DagsterRunStatus:
    run = installation.instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_that_recorded_itself_is_left_alone(installation: Installation) -> None:
    result = installation.run(JobType.PRICE_UPDATE)
    before = installation.row(result.run_id)
    for _ in range(2):
        installation.record_runs()
    assert installation.row(result.run_id) == before


def test_a_run_that_failed_before_it_began_has_a_row(installation: Installation) -> None:
    run = launch(installation)
    installation.instance.report_run_failed(run, "The code server did not answer.")
    for _ in range(2):
        installation.record_runs()
    row = installation.row(run.run_id)
    assert (row["execution_status"], row["triggered_by"]) == ("failed", "manual")
    assert (row["error_class"], row["error_message"]) == ("RunFailure", "The code server did not answer.")
    assert row["duration_ms"] >= 0
    (job,) = installation.ask("SELECT * FROM scheduled_jobs WHERE job_type = 'price_update'")
    assert (job["failure_count"], job["consecutive_failures"]) == (1, 1)


def test_a_run_whose_database_was_away_has_its_row_once_it_is_back(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Installation, "open", refusing(DatabaseUnavailableError("No answer.")))
        result = installation.run(JobType.PRICE_UPDATE)
    installation.record_runs()
    row = installation.row(result.run_id)
    assert (row["error_class"], row["error_message"]) == ("DatabaseUnavailableError", "No answer.")


def refusing(error: Exception) -> Any:
    def refuse(*_given: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "error_class", "sentence"),
    [
        (BrokerUnavailableError("alpaca is down."), "BrokerUnavailableError", "alpaca is down."),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", "division by zero"),
    ],
)
def test_an_error_that_a_run_could_not_record_is_read_from_its_events(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    error_class: str,
    sentence: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Trading, "sync_positions", refusing(error))
        patch.setattr(JobMonitoringService, "log_job_error", refusing(DatabaseUnavailableError("No answer.")))
        result = installation.run(JobType.POSITION_SYNC)
    assert installation.row(result.run_id)["execution_status"] == "started"
    installation.record_runs()
    row = installation.row(result.run_id)
    assert (row["execution_status"], row["error_class"], row["error_message"]) == (
        "failed",
        error_class,
        sentence,
    )


def test_a_run_that_completed_in_our_row_and_failed_in_dagster_is_failed(installation: Installation) -> None:
    result = installation.run(JobType.PRICE_UPDATE)
    installation.instance.report_run_failed(result.dagster_run)
    installation.record_runs()
    row = installation.row(result.run_id)
    assert (row["execution_status"], row["error_message"]) == (
        "failed",
        "The process of the run ended before the run did: it was killed, or its machine went down.",
    )


def test_a_cancelled_run_is_failed_and_says_nothing_about_the_job(installation: Installation) -> None:
    run = launch(installation)
    installation.instance.report_run_canceled(run)
    installation.record_runs()
    row = installation.row(run.run_id)
    assert (row["error_class"], row["error_message"]) == ("Cancelled", "The run was cancelled.")
    (job,) = installation.ask("SELECT * FROM scheduled_jobs WHERE job_type = 'price_update'")
    assert (job["failure_count"], job["consecutive_failures"]) == (1, 0)


def test_a_skipped_run_keeps_its_reason(installation: Installation) -> None:
    result = installation.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2024-07-10")
    before = installation.row(result.run_id)
    installation.instance.report_run_failed(result.dagster_run)
    installation.record_runs()
    assert installation.row(result.run_id) == before
    assert before["execution_status"] == "skipped"


def test_a_success_whose_row_is_gone_has_one_again(installation: Installation) -> None:
    """As after a restore from a backup; without counts, and moving no breaker."""
    result = installation.run(JobType.PRICE_UPDATE)
    installation.change("DELETE FROM job_executions")
    installation.record_runs()
    assert installation.row(result.run_id)["execution_status"] == "completed"


def test_a_failed_run_with_a_tag_that_nobody_can_read_has_a_row(installation: Installation) -> None:
    run = launch(installation, tags={tags.TICK: "noon"})
    installation.instance.report_run_failed(run, "It never began.")
    installation.record_runs()
    assert installation.row(run.run_id)["error_message"] == "It never began."


def test_a_failed_run_of_an_asset_has_a_row(installation: Installation) -> None:
    """A person materialised it; the run has none of the six names."""
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    run = installation.instance.create_run_for_job(job, asset_selection=frozenset({dg.AssetKey("positions")}))
    installation.instance.report_run_failed(run, "It never began.")
    installation.record_runs()
    row = installation.row(run.run_id)
    assert (row["job_type"], row["execution_status"]) == ("position_sync", "failed")


def test_of_a_run_of_several_assets_only_the_job_that_failed_is_failed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trading, "sync_positions", refusing(BrokerUnavailableError("down")))
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey("quotes"), dg.AssetKey("positions")]
    result = job.execute_in_process(
        instance=installation.instance, asset_selection=selected, raise_on_error=False
    )
    installation.record_runs()
    rows = installation.rows(result.run_id)
    assert [(row["job_type"], row["execution_status"]) for row in rows] == [
        ("price_update", "completed"),
        ("position_sync", "failed"),
    ]


def test_a_run_that_cannot_be_recorded_holds_up_no_other_and_is_tried_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = launch(installation), launch(installation)
    for run in (bad, good):
        installation.instance.report_run_failed(run)
    log_unadmitted = JobMonitoringService.log_unadmitted

    def refuse_one(service: JobMonitoringService, key: Any, *given: Any, **named: Any) -> None:
        if key.run_id == bad.run_id:
            raise ValueError("an unforeseen row")
        log_unadmitted(service, key, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(JobMonitoringService, "log_unadmitted", refuse_one)
        installation.record_runs()
        installation.record_runs()
    assert (len(installation.rows(good.run_id)), installation.rows(bad.run_id)) == (1, [])
    assert sensors.Cursor.read(installation.cursor).again == (bad.run_id,)
    installation.record_runs()
    assert installation.row(bad.run_id)["execution_status"] == "failed"
    assert sensors.Cursor.read(installation.cursor).again == ()


def test_an_open_row_is_closed_though_the_cursor_is_past_its_run(installation: Installation) -> None:
    result = installation.run(JobType.PRICE_UPDATE)
    installation.change(
        "UPDATE job_executions SET execution_status = 'started', finished_at = NULL, "
        "lease_until = now() + interval '1 hour'"
    )
    installation.cursor = (system_clock() + timedelta(hours=1)).isoformat()
    installation.record_runs()
    assert installation.row(result.run_id)["execution_status"] == "completed"


def test_batches_lose_no_run_though_many_changed_at_one_instant(
    installation: Installation, dagster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "_BATCH", 2)
    since = datetime(2001, 1, 1, tzinfo=UTC)  # the cursors of the tests that follow must not see them
    runs = {launch(installation).run_id for _ in range(5)}
    engine = sa.create_engine(dagster_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE runs SET update_timestamp = :at WHERE run_id = ANY(:runs)"),
            {"at": (since + timedelta(seconds=1)).replace(tzinfo=None), "runs": list(runs)},
        )
    engine.dispose()
    seen = [
        r.dagster_run.run_id for batch in sensors._changed_runs(installation.instance, since) for r in batch
    ]
    assert runs <= set(seen)


def test_the_cursor_moves_with_the_runs(installation: Installation) -> None:
    before = sensors.Cursor.read(installation.cursor).at
    installation.run(JobType.PRICE_UPDATE)
    installation.record_runs()
    after = sensors.Cursor.read(installation.cursor).at
    installation.record_runs()
    assert before < after == sensors.Cursor.read(installation.cursor).at


def test_the_sensor_answers_with_its_cursor(installation: Installation) -> None:
    with dg.build_sensor_context(installation.instance, cursor=installation.cursor) as context:
        result = sensors.job_executions_sensor(context, trading=installation)
    assert isinstance(result, dg.SensorResult)
    assert result.cursor is not None
    assert result.skip_reason == dg.SkipReason("Runs are on record.")


WORKER = """
import sys
import dagster as dg
import sqlalchemy as sa
from trading_orchestration.wiring import Trading

def update_prices(trading, tick, begin):
    print("at work", flush=True)
    sys.stdin.readline()
    with begin() as connection:
        connection.execute(sa.text("INSERT INTO instruments (symbol) VALUES ('LATE')"))

Trading.update_prices = update_prices
from trading_orchestration.definitions import defs
with dg.DagsterInstance.get() as instance:
    defs.resolve_job_def("price_update").execute_in_process(instance=instance)
"""


@contextmanager
def worker(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A process in the middle of a run, and the run's id."""
    url = installation.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        (started,) = installation.ask("SELECT run_id FROM job_executions WHERE execution_status = 'started'")
        yield process, started["run_id"]


@pytest.mark.skipif(this_worker() is None, reason="only Linux tells enough of its processes")
def test_a_run_that_was_killed_is_closed_long_before_its_lease_is_over(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a Celery worker is killed with all its processes: nobody is left who could tell Dagster."""
    with worker(installation, monkeypatch) as (process, run_id):
        installation.record_runs()
        assert installation.row(run_id)["execution_status"] == "started"
        process.kill()
    installation.record_runs()
    row = installation.row(run_id)
    assert (row["execution_status"], row["error_class"]) == ("failed", "LeaseLostError")
    assert row["error_message"] == "The process of the run is gone, before the run ended: it was killed."
    assert status_of(installation, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_whose_death_dagster_noticed_is_closed_at_once(installation: Installation) -> None:
    run = launch(installation)
    trading = installation.open()
    key = run_key(run.run_id, run.tags, JobType.PRICE_UPDATE, trading.calendar, installation.at)
    assert isinstance(trading.monitoring.log_job_start(key), Admitted)
    installation.instance.report_run_failed(run)
    installation.record_runs()
    row = installation.row(run.run_id)
    assert (row["execution_status"], row["error_class"]) == ("failed", "RunFailure")
    assert row["error_message"].startswith("The process of the run ended before the run did")


def test_a_worker_that_goes_on_after_it_was_given_up_changes_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(installation, monkeypatch) as (process, run_id):
        installation.change("UPDATE job_executions SET lease_until = clock_timestamp() - interval '1 second'")
        installation.record_runs()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.wait(30) != 0
    assert installation.ask("SELECT symbol FROM instruments") == []
    installation.record_runs()
    assert installation.row(run_id)["error_class"] == "LeaseLostError"
    assert status_of(installation, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_hangs_in_dagster_after_its_row_was_closed_is_failed(installation: Installation) -> None:
    """Killed together with the code server, after its record and before Dagster's."""
    run = launch(installation)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    installation.instance.report_dagster_event(started, run.run_id)
    installation.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        f"finished_at) SELECT 'price_update', '{run.run_id}', 'manual', at, 'completed', at, at "
        "FROM CAST(now() - interval '61 seconds' AS timestamptz) AS at"
    )
    installation.record_runs()
    assert status_of(installation, run.run_id) is dg.DagsterRunStatus.FAILURE
    installation.record_runs()
    assert installation.row(run.run_id)["execution_status"] == "failed"


@pytest.mark.parametrize(
    ("seconds", "status"), [(30, dg.DagsterRunStatus.STARTED), (90, dg.DagsterRunStatus.FAILURE)]
)
def test_a_run_that_never_asks_for_admission_is_failed(
    installation: Installation, seconds: int, status: dg.DagsterRunStatus
) -> None:
    """Killed together with the code server, before its record: nobody else ends it, and its job waits."""
    run = launch(installation)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    installation.instance.report_dagster_event(started, run.run_id)
    installation.at = system_clock() + timedelta(seconds=seconds)
    installation.record_runs()
    assert status_of(installation, run.run_id) is status
    installation.record_runs()
    assert len(installation.rows(run.run_id)) == (status is dg.DagsterRunStatus.FAILURE)


@pytest.mark.parametrize(
    ("loaded_before_s", "status"), [(60, dg.DagsterRunStatus.STARTING), (10, dg.DagsterRunStatus.FAILURE)]
)
def test_a_run_whose_code_server_died_while_it_started_is_failed(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    loaded_before_s: int,
    status: dg.DagsterRunStatus,
) -> None:
    """Launched 30 s ago: by this code server, which takes its time, or by the one before."""
    run = launch(installation)
    starting = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name)
    installation.instance.report_dagster_event(starting, run.run_id)
    installation.at = system_clock() + timedelta(seconds=30)
    monkeypatch.setattr(sensors, "_LOADED_S", time.monotonic() - loaded_before_s)
    installation.record_runs()
    assert status_of(installation, run.run_id) is status
