"""Each schedule at real instants: the run it asks for, or the sentence that says why not."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import MarketCalendar, ticks
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER


def evaluate(
    installation: Installation, job_type: JobType, at: datetime, *, late: timedelta = timedelta(0)
) -> dg.RunRequest | dg.SkipReason:
    """What the schedule answers for a tick, asked so much later."""
    installation.at = at + late
    schedule = installation.definitions.resolve_schedule_def(f"{job_type.value}_schedule")
    with dg.build_schedule_context(
        instance=installation.instance,
        scheduled_execution_time=at,
        resources={"trading": TradingResource()},
        repository_def=installation.definitions.get_repository_def(),
    ) as context:
        answer = schedule.evaluate_tick(context)
    if answer.skip_message is not None:
        return dg.SkipReason(answer.skip_message)
    assert answer.run_requests is not None
    (request,) = answer.run_requests
    return request


def skip_reason(installation: Installation, job_type: JobType, at: str, **given: timedelta) -> str:
    answer = evaluate(installation, job_type, new_york(at), **given)
    assert isinstance(answer, dg.SkipReason), answer
    return answer.skip_message or ""


@pytest.mark.parametrize("job_type", JobType)
def test_every_tick_of_a_session_asks_for_a_run_with_its_tags(
    installation: Installation, calendar: MarketCalendar, job_type: JobType
) -> None:
    installation.change("UPDATE scheduled_jobs SET missed_after_s = 86400")
    session = calendar.session(new_york("2024-07-10 10:00").date())
    of_session = ticks(job_type, session)
    for tick in (of_session[0], of_session[-1]):
        request = evaluate(installation, job_type, tick)
        assert isinstance(request, dg.RunRequest), request
        assert request.run_key == tick.isoformat()
        expected = tags.tick_tags(job_type, tick, "2024-07-10", ExecutionTrigger.SCHEDULE)
        assert expected.items() <= request.tags.items()
        assert request.tags["dagster/priority"] == "1"  # before a queue of backfills


def test_the_snapshot_is_of_its_sessions_partition(installation: Installation) -> None:
    request = evaluate(installation, JobType.PORTFOLIO_SNAPSHOT, new_york("2024-07-03 13:05"))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2024-07-03"


@pytest.mark.parametrize(
    ("job_type", "at", "reason"),
    [
        (
            JobType.PRICE_UPDATE,
            "2024-07-04 10:00",
            "2024-07-04 is a holiday (July 4th); XNYS opens again on 2024-07-05.",
        ),
        (
            JobType.STRATEGY_EXECUTION,
            "2025-01-09 10:00",
            "2025-01-09 is a holiday; XNYS opens again on 2025-01-10.",
        ),
        (
            JobType.STRATEGY_EXECUTION,
            "2024-11-29 13:00",
            (
                "2024-11-29 closed at 13:00 New York time; "
                "strategy_execution runs every 15 minutes from 09:30 to before 13:00."
            ),
        ),
        (
            JobType.PORTFOLIO_SNAPSHOT,
            "2024-11-29 16:05",
            "2024-11-29 closed at 13:00 New York time; portfolio_snapshot runs once, at 13:05.",
        ),
        (
            JobType.ORDER_STATUS_CHECK,
            "2024-07-10 09:29",
            (
                "2024-07-10 opens at 09:30 New York time; order_status_check runs every minute from 09:30 to "
                "16:05."
            ),
        ),
    ],
)
def test_a_tick_outside_of_the_sessions_is_skipped(
    installation: Installation, job_type: JobType, at: str, reason: str
) -> None:
    assert skip_reason(installation, job_type, at) == reason


@pytest.mark.parametrize("job_type", sorted(set(JobType) - {JobType.PORTFOLIO_SNAPSHOT}))
def test_a_tick_that_was_missed_is_not_run_late(installation: Installation, job_type: JobType) -> None:
    """After downtime Dagster runs the latest missed tick, however late."""
    reason = skip_reason(installation, job_type, "2024-07-10 10:00", late=timedelta(hours=3))
    assert reason.startswith("The tick of 2024-07-10 14:00:00 UTC is 3 h old; ")


def test_a_snapshot_that_was_missed_is_run_late(installation: Installation) -> None:
    at = new_york("2024-07-10 16:05")
    request = evaluate(installation, JobType.PORTFOLIO_SNAPSHOT, at, late=timedelta(days=2))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2024-07-10"


def test_an_open_breaker_is_a_reason(installation: Installation) -> None:
    installation.change(
        "UPDATE scheduled_jobs SET job_status = 'error', retry_at = '2024-07-10 14:15Z', "
        "last_error = 'no answer'"
    )
    reason = skip_reason(installation, JobType.PRICE_UPDATE, "2024-07-10 10:00")
    assert reason == "The breaker is open until 2024-07-10 14:15:00 UTC. The last error: no answer"
    request = evaluate(installation, JobType.PRICE_UPDATE, new_york("2024-07-10 10:15"))
    assert isinstance(request, dg.RunRequest)


def test_a_run_that_is_still_at_work_is_a_reason(installation: Installation) -> None:
    installation.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        "lease_until) VALUES ('price_update', 'slow', 'schedule', '2024-07-10 13:55Z', 'started', now(), "
        "now() + interval '1 minute')"
    )
    reason = skip_reason(installation, JobType.PRICE_UPDATE, "2024-07-10 10:00")
    assert reason == "Run slow of this job is still at work on the tick of 13:55 UTC."


def test_trading_waits_for_what_it_stands_on(installation: Installation) -> None:
    reason = skip_reason(installation, JobType.STRATEGY_EXECUTION, "2024-07-10 10:00")
    assert reason.startswith("Nothing is traded on what may be out of date: ")


@pytest.mark.parametrize("job_type", JobType)
def test_schedules_are_stopped_until_a_person_switches_them_on(
    definitions: dg.Definitions, job_type: JobType
) -> None:
    schedule = definitions.resolve_schedule_def(f"{job_type.value}_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.job_name == job_type.value


def test_there_are_six_schedules(definitions: dg.Definitions) -> None:
    names = {schedule.name for schedule in definitions.schedules or []}
    assert names == {f"{job_type.value}_schedule" for job_type in JobType}


@pytest.mark.parametrize("job_type", JobType)
@pytest.mark.parametrize(
    "day",
    [
        "2024-03-08",  # Friday before the clocks go forward
        "2024-03-11",  # Monday after
        "2024-11-01",  # Friday before they go back
        "2024-11-04",  # Monday after
        "2024-11-29",  # early close
    ],
)
def test_dagster_itself_ticks_at_every_instant_at_which_a_job_is_due(
    definitions: dg.Definitions, calendar: MarketCalendar, job_type: JobType, day: str
) -> None:
    """By Dagster's own reading of the cron strings, over changes of daylight saving time."""
    session = calendar.session(datetime.fromisoformat(day).date())
    wanted = ticks(job_type, session)
    schedule = definitions.resolve_schedule_def(f"{job_type.value}_schedule")
    found = []
    for tick in schedule_execution_time_iterator(
        (wanted[0] - timedelta(seconds=30)).timestamp(),
        schedule.cron_schedule,
        schedule.execution_timezone,
    ):
        if tick > wanted[-1]:
            break
        found.append(tick.astimezone(UTC))
    assert set(wanted) <= set(found)
    assert len(found) == len(set(found))
