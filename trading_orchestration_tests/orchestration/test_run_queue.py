"""What the queue goes by: a run from an asset's page is one of its job, like any other."""

from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext

from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.run_queue import JobQueue
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER

NOWHERE = GrpcServerCodeLocationOrigin("127.0.0.1", 1, location_name="trading")
REPOSITORY = RemoteRepositoryOrigin(NOWHERE, "repo")


@pytest.mark.parametrize(
    ("assets", "job"),
    [
        (["portfolio_snapshots"], "portfolio_snapshot"),
        (["portfolio_snapshots", "portfolio_performance"], "portfolio_snapshot"),
        (["quotes", "positions"], None),
        (["daily_bars"], None),
    ],
)
def test_a_run_from_an_assets_page_waits_for_those_of_its_job(
    installation: Installation, assets: Sequence[str], job: str | None
) -> None:
    """Two sessions apart are two runs: without the tag they would be at work at once, and one refused."""
    implicit = installation.definitions.resolve_implicit_global_asset_job_def()
    selected = {dg.AssetKey(asset) for asset in assets}
    instance = installation.instance
    assert isinstance(instance.run_coordinator, JobQueue)
    run = instance.create_run_for_job(
        implicit.get_subset(asset_selection=selected),
        tags={"dagster/partition": "2012-11-08"},
        asset_selection=selected,
        status=dg.DagsterRunStatus.NOT_STARTED,
        remote_job_origin=RemoteJobOrigin(REPOSITORY, implicit.name),
    )
    queued = instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    assert queued.status is dg.DagsterRunStatus.QUEUED
    assert queued.tags.get(tags.JOB) == job
    (limit,) = instance.run_coordinator.get_run_queue_config().tag_concurrency_limits
    assert (limit["key"], limit["limit"]) == (tags.JOB, 1)
    instance.delete_run(run.run_id)
