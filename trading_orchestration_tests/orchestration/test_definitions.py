"""What Dagster loads: whole, light, and as any Dagster project is found."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration import tags
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER

pytestmark = ON_DAGSTER

HEAVY = (
    "antlr4",
    "apprise",
    "exchange_calendars",
    "httpx",
    "matplotlib",
    "numpy",
    "pandas",
    "psycopg",
    "requests",
    "ruamel",
    "sqlalchemy",
    "talib",
)


def test_the_definitions_import_nothing_heavy(home: Path) -> None:
    """Every run is a process that imports them; the calendar is made already."""
    script = (
        "import sys, trading_orchestration.definitions\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    environment = {"TRADING_HOME": str(home), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.split() == []


def test_the_definitions_are_valid(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_there_are_six_jobs_that_run_in_one_process_and_end_by_themselves(
    definitions: dg.Definitions,
) -> None:
    jobs = {job.name: job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert set(jobs) == {job_type.value for job_type in JobType}
    for name, job in jobs.items():
        assert job.executor_def is dg.in_process_executor, name
        assert job.description, name
        assert float(job.tags["dagster/max_runtime"]) > 0, name
        assert job.tags["trading/job"] == name


@pytest.mark.parametrize("job_type", JobType)
def test_a_job_is_one_step(definitions: dg.Definitions, job_type: JobType) -> None:
    """No check of an asset slows its runs."""
    assert len(definitions.resolve_job_def(job_type.value).graph.nodes) == 1


def test_every_sensor_is_on_from_the_start_and_says_what_it_does(definitions: dg.Definitions) -> None:
    for sensor in definitions.sensors or []:
        assert isinstance(sensor, dg.SensorDefinition)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.description
        assert sensor.tags[tags.KEEPS]


@pytest.mark.parametrize("job_type", JobType)
def test_schedules_and_jobs_bear_the_same_name(definitions: dg.Definitions, job_type: JobType) -> None:
    assert definitions.resolve_schedule_def(f"{job_type.value}_schedule").job.name == job_type.value


@pytest.mark.parametrize(
    ("job_type", "cadence"),
    [
        (JobType.STRATEGY_EXECUTION, "Every 15 minutes of a session."),
        (JobType.ORDER_STATUS_CHECK, "Every minute of a session, to 5 minutes past its close."),
        (JobType.PORTFOLIO_SNAPSHOT, "Once a session, 5 minutes after its close."),
    ],
)
def test_jobs_and_schedules_say_when_they_run(
    definitions: dg.Definitions, job_type: JobType, cadence: str
) -> None:
    schedule = definitions.resolve_schedule_def(f"{job_type.value}_schedule")
    assert (schedule.description or "").startswith(cadence)
    assert (definitions.resolve_job_def(job_type.value).description or "").endswith(cadence)


def test_jobs_schedules_and_assets_lead_to_each_other(definitions: dg.Definitions) -> None:
    asset = definitions.resolve_asset_graph().get(dg.AssetKey("positions"))
    assert asset.metadata["job"] == dg.MetadataValue.job("position_sync", "trading_orchestration")
    job = definitions.resolve_job_def("position_sync")
    assert job.metadata["asset"] == dg.MetadataValue.asset(dg.AssetKey("positions"))
    schedule = definitions.resolve_schedule_def("position_sync_schedule")
    assert schedule.metadata["job"] == dg.MetadataValue.job("position_sync", "trading_orchestration")
