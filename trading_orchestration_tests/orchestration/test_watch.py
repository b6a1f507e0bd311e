"""The sensor that fills in snapshots and raises alarms, on real books."""

from datetime import timedelta

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.watch import job_watch_sensor
from trading_orchestration.services import missing_snapshots
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
    return [
        (" to ".join(dict.fromkeys([one.first.date.isoformat(), one.last.date.isoformat()])), one.attempt)
        for one in found
    ]


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


def test_sessions_that_lie_close_together_are_one_range(holed: Installation) -> None:
    holed.change("DELETE FROM portfolio_snapshots WHERE session <= '2012-10-25'")
    assert wanted(holed) == [("2012-10-24 to 2012-10-26", 1), ("2012-11-08", 1)]


def test_a_range_has_an_end(holed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_snapshots, "SESSIONS_MAX", 4)
    holed.change("DELETE FROM portfolio_snapshots")
    assert wanted(holed) == [
        ("2012-10-24 to 2012-10-31", 1),
        ("2012-11-01 to 2012-11-06", 1),
        ("2012-11-07 to 2012-11-08", 1),
    ]


def test_nothing_is_asked_for_in_the_hour_before_the_schedules_run(holed: Installation) -> None:
    """A failure would open the breaker on which that run then stands."""
    holed.at = new_york("2012-11-08 15:04:59")
    assert wanted(holed) == [("2012-10-26", 1)]
    holed.at = new_york("2012-11-08 15:05")
    assert wanted(holed) == []


def test_a_stale_session_is_wanted_until_it_is_taken_again(holed: Installation) -> None:
    holed.change("UPDATE bars SET close = close + 0.01, high = high + 1 WHERE session = '2012-11-07'")
    (stale,) = holed.ask("SELECT stale_reason FROM portfolio_snapshots WHERE stale_since IS NOT NULL")
    assert stale["stale_reason"] == "The close of MSFT in 2012-11-07 was 29.08 and is 29.09."
    assert wanted(holed) == [("2012-10-26", 1), ("2012-11-07 to 2012-11-08", 1)]
    (_, request) = evaluate(holed).run_requests or []
    done = holed.run(JobType.PORTFOLIO_SNAPSHOT, tags=dict(request.tags))
    assert holed.row(done.run_id)["counts"] == {"portfolios": 1, "snapshots": 2}
    assert wanted(holed) == [("2012-10-26", 1)]


def test_sessions_that_cannot_be_valued_are_tried_five_times_and_left(holed: Installation) -> None:
    holed.change("DELETE FROM bars WHERE session >= '2012-11-07' AND symbol = 'MSFT'")
    (_, request) = evaluate(holed).run_requests or []
    failed = holed.run(JobType.PORTFOLIO_SNAPSHOT, tags=dict(request.tags))
    error = holed.row(failed.run_id)["error_message"]
    assert "MSFT has no close in 2012-11-07 and 1 session more to 2012-11-08; its last one is of" in error
    holed.change("UPDATE scheduled_jobs SET job_status = 'enabled', retry_at = NULL")
    attempts = []
    for _ in range(6):
        holed.change("UPDATE job_executions SET started_at = started_at - interval '61 minutes'")
        due = [number for days, number in wanted(holed) if days.endswith("2012-11-08")]
        for number in due:
            attempt(holed, number, minutes_ago=0)
        attempts += due
    assert attempts == [2, 3, 4, 5]


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


def attempt(installation: Installation, number: int, minutes_ago: int, session: str = "2012-11-08") -> None:
    """A run of a session that failed so many minutes ago."""
    installation.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, "
        "started_at, finished_at, error_message) "
        f"SELECT 'portfolio_snapshot', 'attempt-{number}', 'backfill', at, '{session}', 'failed', at, at, "
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
    assert evaluate(holed).skip_reason == dg.SkipReason("portfolio_snapshot runs again")
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
