"""The sensor that fills in snapshots and raises alarms, on real books."""

from datetime import timedelta

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.watch import job_watch_sensor
from trading_orchestration.services.job_control import JobControl
from trading_orchestration.services.missing_snapshots import wanted_snapshots
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER


@pytest.fixture
def holed(traded: Installation) -> Installation:
    """Bars to the last session traded; snapshots of two sessions are missing, and the job is switched on."""
    traded.change("DELETE FROM bars WHERE session > '2012-11-08'")
    traded.change("DELETE FROM portfolio_snapshots WHERE session IN ('2012-10-26', '2012-11-08')")
    traded.change("UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE job_type = 'portfolio_snapshot'")
    return traded


def wanted(installation: Installation) -> list[tuple[str, int]]:
    opened = installation.open()
    found = wanted_snapshots(opened.begin, opened.calendar, opened.clock())
    return [(one.session.date.isoformat(), one.attempt) for one in found]


def test_missing_sessions_are_wanted_oldest_first(holed: Installation) -> None:
    assert wanted(holed) == [("2012-10-26", 1), ("2012-11-08", 1)]


def test_the_schedules_own_run_comes_first(holed: Installation) -> None:
    holed.at = new_york("2012-11-08 16:19:59")
    assert wanted(holed) == [("2012-10-26", 1)]
    holed.at = new_york("2012-11-08 16:20")
    assert wanted(holed) == [("2012-10-26", 1), ("2012-11-08", 1)]


def test_a_recent_session_without_bars_is_wanted_and_an_old_one_is_not(holed: Installation) -> None:
    """Closes of a recent one are fetched from the price source."""
    holed.change("DELETE FROM bars WHERE session IN ('2012-10-26', '2012-11-08')")
    assert wanted(holed) == [("2012-11-08", 1)]


def test_a_holiday_is_never_wanted(holed: Installation) -> None:
    holed.change("DELETE FROM portfolio_snapshots")
    assert ("2012-10-29", 1) not in wanted(holed)


def test_few_are_asked_for_at_once(holed: Installation) -> None:
    holed.change("DELETE FROM portfolio_snapshots")
    assert [day for day, _ in wanted(holed)] == [
        "2012-10-24",
        "2012-10-25",
        "2012-10-26",
        "2012-10-31",
        "2012-11-01",
    ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE scheduled_jobs SET scheduled_since = NULL",
        "UPDATE scheduled_jobs SET job_status = 'disabled'",
        "UPDATE scheduled_jobs SET job_status = 'error', needs_person = true",
        "UPDATE scheduled_jobs SET job_status = 'error', retry_at = '2012-11-09 14:35Z'",
        (
            "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
            "lease_until) VALUES ('portfolio_snapshot', 'slow', 'manual', now(), 'started', now(), now())"
        ),
    ],
)
def test_nothing_is_wanted_while_the_job_is_off_or_stopped_or_at_work(
    holed: Installation, change: str
) -> None:
    holed.change(change)
    assert wanted(holed) == []


def test_a_breaker_whose_time_has_come_is_probed(holed: Installation) -> None:
    holed.change("UPDATE scheduled_jobs SET job_status = 'error', retry_at = '2012-11-08 21:30Z'")
    assert len(wanted(holed)) == 2


def attempt(installation: Installation, number: int, minutes_ago: int) -> None:
    """A run of 2012-11-08 that failed so many minutes ago."""
    installation.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, "
        "started_at, finished_at, error_message) "
        f"SELECT 'portfolio_snapshot', 'attempt-{number}', 'backfill', at, '2012-11-08', 'failed', at, at, "
        f"'no close' FROM CAST(now() - interval '{minutes_ago} minutes' AS timestamptz) AS at"
    )


def test_a_session_that_failed_is_tried_again_an_hour_later_and_five_times(holed: Installation) -> None:
    holed.change("DELETE FROM bars WHERE session = '2012-10-26'")
    attempt(holed, 1, minutes_ago=59)
    assert wanted(holed) == []
    holed.change("UPDATE job_executions SET started_at = started_at - interval '2 minutes'")
    assert wanted(holed) == [("2012-11-08", 2)]
    for number in (2, 3, 4):
        attempt(holed, number, minutes_ago=61)
    assert wanted(holed) == [("2012-11-08", 5)]
    attempt(holed, 5, minutes_ago=61)
    assert wanted(holed) == []


def evaluate(installation: Installation) -> dg.SensorResult:
    with dg.build_sensor_context(installation.instance) as context:
        result = job_watch_sensor(context, trading=TradingResource())
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_sensor_asks_for_a_run_of_each_and_then_for_none(holed: Installation) -> None:
    requests = evaluate(holed).run_requests or []
    assert [(r.run_key, r.partition_key) for r in requests] == [
        ("2012-10-26/1", "2012-10-26"),
        ("2012-11-08/1", "2012-11-08"),
    ]
    for request in requests:
        done = holed.run(
            JobType.PORTFOLIO_SNAPSHOT, partition_key=request.partition_key, tags=dict(request.tags)
        )
        assert holed.row(done.run_id)["execution_status"] == "completed"
    assert evaluate(holed).skip_reason == dg.SkipReason("portfolio_snapshot: the alarm is over")
    assert evaluate(holed).skip_reason == dg.SkipReason("Every job ran when it should have.")


def test_the_sensor_tells_what_did_not_run(traded: Installation) -> None:
    traded.change("UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE job_type = 'price_update'")
    told = "price_update did not run at 2012-11-08 09:30"
    assert evaluate(traded).skip_reason == dg.SkipReason(told)
    assert evaluate(traded).skip_reason == dg.SkipReason("Every job ran when it should have.")


def test_an_alarm_is_no_obstacle_to_filling_in(holed: Installation) -> None:
    control = JobControl(holed.engine, lambda: holed.at)
    control.pause(JobType.PRICE_UPDATE, actor="ada", reason="test")
    holed.at += timedelta(minutes=1)
    assert len(evaluate(holed).run_requests or []) == 2
