"""Dagster's own evaluation of schedules and sensors: which ticks it keeps, as `dagster.yaml` tells it."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteSchedule, RemoteSensor
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster_shared.error import SerializableErrorInfo

from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation, in_dagster

pytestmark = [
    *ON_DAGSTER,
    pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning"),
]

#: Thursday, a holiday: every tick is skipped, and no run made.
HOLIDAY = new_york("2024-07-04 10:00")
DAY = timedelta(days=1)
#: For how many days a tick of each status is kept: a schedule's, a sensor's.
KEPT = {TickStatus.SKIPPED: (30, 2), TickStatus.FAILURE: (90, 30), TickStatus.SUCCESS: (90, 30)}

DOWN = SerializableErrorInfo("down", [], None)


@dataclass(frozen=True)
class Daemon:
    """Dagster's own evaluation of one schedule and one sensor, in this process, at an instant."""

    context: WorkspaceProcessContext
    order_check: RemoteSchedule
    upkeep: RemoteSensor

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    def evaluate(self, at: datetime) -> None:
        log = logging.getLogger(__name__)
        with freeze_time(at):
            for error in (
                *launch_scheduled_runs(self.context, log, at, iteration_times={}),
                *execute_sensor_iteration(self.context, log, None, None),
            ):
                assert error is None, error

    def add_tick(self, of: RemoteSchedule | RemoteSensor, status: TickStatus, at: datetime) -> None:
        is_schedule = isinstance(of, RemoteSchedule)
        data = TickData(
            of.get_remote_origin_id(),
            of.name,
            InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR,
            status,
            at.timestamp(),
            run_ids=[],
            run_keys=[],
            error=DOWN if status is TickStatus.FAILURE else None,
            selector_id=of.selector_id,
        )
        self.instance.create_tick(data)

    def ticks(self, of: RemoteSchedule | RemoteSensor) -> list[tuple[TickStatus, datetime]]:
        """Newest first."""
        found = self.instance.get_ticks(of.get_remote_origin_id(), of.selector_id)
        return [(tick.status, datetime.fromtimestamp(tick.timestamp, UTC)) for tick in found]


@pytest.fixture
def daemon(installation: Installation) -> Iterator[Daemon]:
    """With all but one schedule and one sensor switched off."""
    instance = installation.instance
    assert instance.schedule_storage is not None
    instance.schedule_storage.wipe()
    target = LoadableTargetOrigin(module_name="trading_orchestration.definitions", attribute="defs")
    with WorkspaceProcessContext(
        instance, InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target))
    ) as context:
        (location,) = context.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        opened = Daemon(
            context,
            repository.get_schedule("order_status_check_schedule"),
            repository.get_sensor("upkeep_sensor"),
        )
        with freeze_time(HOLIDAY - timedelta(minutes=1)):
            instance.start_schedule(opened.order_check)
        for sensor in repository.get_sensors():
            if sensor.name != opened.upkeep.name:
                instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        yield opened
    instance.schedule_storage.wipe()


def test_ticks_go_after_their_time_and_the_next_one_comes_all_the_same(
    daemon: Daemon, dagster_url: str
) -> None:
    """They go on from their states: where not one tick is left, none is missed and none is doubled."""
    old, young = timedelta(hours=1), timedelta(hours=-1)
    kept: dict[str, set[tuple[TickStatus, datetime]]] = {"schedule": set(), "sensor": set()}
    of_kind: dict[str, RemoteSchedule | RemoteSensor]
    of_kind = {"schedule": daemon.order_check, "sensor": daemon.upkeep}
    for status, days in KEPT.items():
        for (kind, of), limit in zip(of_kind.items(), days, strict=True):
            for age in (limit * DAY + old, limit * DAY + young):
                daemon.add_tick(of, status, HOLIDAY - age)
            kept[kind].add((status, HOLIDAY - limit * DAY - young))
    daemon.evaluate(HOLIDAY)
    for kind, of in of_kind.items():
        newest, *older = daemon.ticks(of)
        assert newest == (TickStatus.SKIPPED, HOLIDAY), kind
        assert set(older) == kept[kind], kind

    in_dagster(dagster_url, "UPDATE job_ticks SET timestamp = timestamp - interval '91 days'")
    for _ in range(2):
        daemon.evaluate(HOLIDAY + timedelta(hours=1))
    for kind, of in of_kind.items():
        assert daemon.ticks(of) == [(TickStatus.SKIPPED, HOLIDAY + timedelta(hours=1))], kind
