"""Whether Dagster's daemon does its work: sensors and schedules that tick, queued runs that are launched.

Its heartbeats say that threads are alive; what it leaves in the storage says that they get anything done.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.orchestration import tags
from trading_orchestration.services.job_admission import due_tick

#: Sensors take turns, each for a second or two.
SENSOR_LATE = timedelta(seconds=60)
SCHEDULE_LATE = timedelta(seconds=60)
QUEUED_MAX = timedelta(seconds=120)
#: A daemon that has just begun loads its workspace first.
STARTING = timedelta(seconds=60)
_QUEUE_LOOK = 100
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def late_work(
    instance: dg.DagsterInstance, calendar: MarketCalendar, *, now: datetime, since: datetime
) -> list[str]:
    """What a daemon that began at `since` should have done by now and has not; a sentence each."""
    if now - since < STARTING:
        return []
    states = instance.all_instigator_state()
    return [
        *_late_sensors(states, now, since),
        *_late_schedules(instance, states, calendar, now, since),
        *_waiting_runs(instance, now, since),
    ]


def last_sensor_tick(instance: dg.DagsterInstance) -> datetime | None:
    """When any sensor ticked last (UTC); None where none ever did."""
    found = [
        data.last_tick_timestamp
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        if isinstance(data := state.instigator_data, SensorInstigatorData) and data.last_tick_timestamp
    ]
    return datetime.fromtimestamp(max(found), UTC) if found else None


def _late_sensors(states: Sequence[InstigatorState], now: datetime, since: datetime) -> Iterator[str]:
    """Sensors are known by having ticked: one that was taken out of the code stays in the storage."""
    on = {
        state.instigator_name: data
        for state in states
        if state.status is not InstigatorStatus.STOPPED
        and isinstance(data := state.instigator_data, SensorInstigatorData)
    }
    ticked = {name: datetime.fromtimestamp(data.last_tick_timestamp or 0, UTC) for name, data in on.items()}
    alive = {name: at for name, at in ticked.items() if at >= since}
    if ticked and not alive and now - since > STARTING + SENSOR_LATE:
        yield f"No sensor has ticked since {since.astimezone(UTC):%H:%M:%S} UTC."
    for name, at in alive.items():
        interval_s, late = on[name].min_interval or 0, now - at
        if late > timedelta(seconds=interval_s) + SENSOR_LATE:
            yield f"{name} has not ticked for {late.total_seconds():.0f} s; it should every {interval_s} s."


def _late_schedules(
    instance: dg.DagsterInstance,
    states: Sequence[InstigatorState],
    calendar: MarketCalendar,
    now: datetime,
    since: datetime,
) -> Iterator[str]:
    """Ticks of the exchange's calendar are looked for; those that would only be skipped are not missed."""
    session = calendar.session_at(now - SCHEDULE_LATE)
    on = {
        state.instigator_name: state
        for state in states
        if state.instigator_type is InstigatorType.SCHEDULE and state.status is InstigatorStatus.RUNNING
    }
    for job_type in JobType if session else ():
        state = on.get(f"{job_type.value}_schedule")
        due = due_tick(job_type, session, now - SCHEDULE_LATE) if state and session else None
        if state is None or due is None or due <= max(since, _switched_on(state)):
            continue
        found = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        if not found or datetime.fromtimestamp(found[0].timestamp, UTC) < due:
            yield f"{state.instigator_name} has not ticked at {calendar.local(due):%H:%M}, when it should."


def _switched_on(state: InstigatorState) -> datetime:
    data = state.instigator_data
    at = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
    return datetime.fromtimestamp(at or 0, UTC)


def _waiting_runs(instance: dg.DagsterInstance, now: datetime, since: datetime) -> Iterator[str]:
    """Runs that wait though no run of their job is at work."""
    queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], updated_before=now - QUEUED_MAX)
    waiting = instance.get_runs(queued, limit=_QUEUE_LOOK) if now - since > QUEUED_MAX else []
    if not waiting:
        return
    at_work = {run.tags.get(tags.JOB) for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK))}
    idle = [run for run in waiting if run.tags.get(tags.JOB) not in at_work]
    if idle and not at_work:
        minutes = int(QUEUED_MAX.total_seconds() // 60)
        yield f"{len(idle)} runs have been queued for over {minutes} minutes and none is launched."
