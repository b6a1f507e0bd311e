"""What the daemon leaves undone is seen in Dagster's storage, whatever its heartbeats say."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)

from trading_orchestration.cli import doctor_system
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.tick_watch import late_work
from trading_orchestration.settings import Settings
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER

pytestmark = ON_DAGSTER

OPEN = new_york("2024-07-10 09:30")
ORIGIN = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("127.0.0.1", 1, location_name="trading"), "repo")


@pytest.fixture
def storage(instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """The instance, with no sensor, no schedule and no run known; another test may have left one at work."""
    assert instance.schedule_storage is not None
    instance.schedule_storage.wipe()
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    yield instance
    instance.schedule_storage.wipe()


def sensor(instance: dg.DagsterInstance, name: str, ticked: datetime, every_s: int, **given: str) -> None:
    status = InstigatorStatus(given.get("status", "DECLARED_IN_CODE"))
    data = SensorInstigatorData(last_tick_timestamp=ticked.timestamp(), min_interval=every_s)
    instance.add_instigator_state(
        InstigatorState(RemoteInstigatorOrigin(ORIGIN, name), InstigatorType.SENSOR, status, data)
    )


def schedule(instance: dg.DagsterInstance, name: str, since: datetime, ticked: datetime | None) -> None:
    origin = RemoteInstigatorOrigin(ORIGIN, name)
    data = ScheduleInstigatorData("* * * * *", since.timestamp())
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)
    if ticked is not None:
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                name,
                InstigatorType.SCHEDULE,
                TickStatus.SKIPPED,
                ticked.timestamp(),
                selector_id=state.selector_id,
            )
        )


def after(
    seconds: float, instance: dg.DagsterInstance, calendar: MarketCalendar, *, begun: float = -3600
) -> list[str]:
    """What is late so long after the open, for a daemon that began so long after (before) it."""
    at, since = OPEN + timedelta(seconds=seconds), OPEN + timedelta(seconds=begun)
    return late_work(instance, calendar, now=at, since=since)


def test_a_sensor_that_ticks_is_well_and_one_that_does_not_is_named(
    storage: dg.DagsterInstance, calendar: MarketCalendar
) -> None:
    sensor(storage, "job_executions_sensor", OPEN, every_s=5)
    sensor(storage, "upkeep_sensor", OPEN, every_s=3600)
    assert after(65, storage, calendar) == []
    assert after(66, storage, calendar) == [
        "job_executions_sensor has not ticked for 66 s; it should every 5 s."
    ]


def test_a_sensor_that_is_off_or_no_more_is_not_missed(
    storage: dg.DagsterInstance, calendar: MarketCalendar
) -> None:
    sensor(storage, "job_executions_sensor", OPEN + timedelta(hours=1), every_s=5)
    sensor(storage, "switched_off", OPEN, every_s=5, status="STOPPED")
    sensor(storage, "of_an_older_version", OPEN - timedelta(days=1), every_s=5)
    assert after(3630, storage, calendar) == []


def test_a_daemon_under_which_nothing_ever_ticked_is_seen(
    storage: dg.DagsterInstance, calendar: MarketCalendar
) -> None:
    sensor(storage, "job_executions_sensor", OPEN, every_s=5)
    assert after(720, storage, calendar, begun=600) == []
    assert after(721, storage, calendar, begun=600) == ["No sensor has ticked since 13:40:00 UTC."]


@pytest.mark.parametrize(
    ("seconds", "switched_on", "ticked", "is_late"),
    [
        (60, -3600, None, True),
        (59, -3600, None, False),
        (119, -3600, 0, False),
        (120, -3600, 0, True),
        (120, -3600, 60, False),
        (120, 61, None, False),
        (-600, -3600, None, False),
    ],
    ids=["never", "not yet", "the one before", "missed one", "last one", "not on then", "closed"],
)
def test_a_schedule_is_late_a_minute_after_its_tick(
    storage: dg.DagsterInstance,
    calendar: MarketCalendar,
    seconds: int,
    switched_on: int,
    ticked: int | None,
    is_late: bool,
) -> None:
    tick = None if ticked is None else OPEN + timedelta(seconds=ticked)
    schedule(storage, "order_status_check_schedule", OPEN + timedelta(seconds=switched_on), tick)
    schedule(storage, "of_an_older_version_schedule", OPEN - timedelta(hours=1), None)
    found = after(seconds, storage, calendar)
    assert [sentence.partition(" at ")[0] for sentence in found] == (
        ["order_status_check_schedule has not ticked"] if is_late else []
    )


def test_a_tick_before_the_daemon_began_is_not_its_fault(
    storage: dg.DagsterInstance, calendar: MarketCalendar
) -> None:
    schedule(storage, "strategy_execution_schedule", OPEN - timedelta(hours=1), None)
    assert after(300, storage, calendar, begun=10) == []
    assert after(300, storage, calendar, begun=-10)
    assert after(40, storage, calendar, begun=-10) == [], "it loads its workspace first"


def test_runs_that_nobody_launches_are_seen(storage: dg.DagsterInstance, calendar: MarketCalendar) -> None:
    @dg.job(tags={tags.JOB: "price_update"})
    def waits() -> None: ...

    origin = RemoteJobOrigin(ORIGIN, "waits")
    run = storage.create_run_for_job(waits, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin)
    now = system_clock()
    try:
        assert late_work(storage, calendar, now=now, since=now - timedelta(hours=1)) == []
        later = now + timedelta(seconds=125)
        assert late_work(storage, calendar, now=later, since=now) == [
            "1 runs have been queued for over 2 minutes and none is launched."
        ]
        other = storage.create_run_for_job(waits, status=dg.DagsterRunStatus.STARTED)
        assert late_work(storage, calendar, now=later, since=now) == [], "it waits for its turn"
        storage.delete_run(other.run_id)
    finally:
        storage.delete_run(run.run_id)


@pytest.mark.parametrize(
    ("silent_s", "is_up", "found"),
    [
        (30, True, ("ok", "last ticked at 2024-07-10 13:30:00Z")),
        (100, True, ("error", "the UI answers, but no sensor has ticked since 2024-07-10 13:30:00Z")),
        (
            100,
            False,
            ("warning", "schedules are switched on, but nothing has ticked since 2024-07-10 13:30:00Z"),
        ),
    ],
)
def test_the_doctor_names_a_daemon_that_is_gone(
    storage: dg.DagsterInstance,
    calendar: MarketCalendar,
    monkeypatch: pytest.MonkeyPatch,
    silent_s: int,
    is_up: bool,
    found: tuple[str, str],
) -> None:
    sensor(storage, "job_executions_sensor", OPEN, every_s=5)
    monkeypatch.setattr(doctor_system, "open_instance", lambda _: nullcontext(storage))
    now = OPEN + timedelta(seconds=silent_s)
    (finding,) = doctor_system.examine_daemon(Settings(), calendar, now, is_up=is_up)
    assert (finding.level, finding.message) == found
    assert (finding.level == "ok") == (finding.mend == "")
