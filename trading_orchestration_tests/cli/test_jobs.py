"""The six jobs: how they stand, what they did, and closing a breaker by hand."""

from datetime import date, datetime

import pytest

from trading_orchestration.cli.installation import actor
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.services.job_overview import next_tick
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.cli.command import Trading

FAILED_RUNS = """
INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, started_at,
                            finished_at, counts, skip_reason, error_class, error_message)
VALUES ('price_update', 'run-1', 'schedule', '2024-07-03 14:00Z', '2024-07-03', 'completed',
        '2024-07-03 14:00:01Z', '2024-07-03 14:00:02.5Z', '{"symbols": 5, "updated": 4}', NULL, NULL, NULL),
       ('price_update', 'run-2', 'schedule', '2024-07-03 14:05Z', '2024-07-03', 'failed',
        '2024-07-03 14:05:01Z', '2024-07-03 14:05:03Z', '{}', NULL, 'SettingsError', 'no key'),
       ('price_update', 'run-3', 'schedule', '2024-07-03 14:10Z', '2024-07-03', 'skipped',
        '2024-07-03 14:10:01Z', '2024-07-03 14:10:01Z', '{}', 'its breaker is open', NULL, NULL);
UPDATE scheduled_jobs SET job_status = 'error', needs_person = true, consecutive_failures = 1,
       average_duration_ms = 1500, last_error = 'no key', scheduled_since = now()
WHERE job_type = 'price_update';
"""


@pytest.fixture(scope="module")
def xnys() -> MarketCalendar:
    return load_calendar("XNYS", today=date(2024, 7, 1), cache_directory=None)


def test_status_has_all_six_with_their_breaker_last_run_and_next_tick(trading: Trading) -> None:
    trading.rows(FAILED_RUNS)
    before = system_clock()
    rows = trading("jobs", "--json").json
    assert [row["job_type"] for row in rows] == list(JobType)
    prices = rows[list(JobType).index(JobType.PRICE_UPDATE)]
    del prices["next_tick"]
    assert prices == {
        "job_type": "price_update",
        "job_status": "error",
        "is_scheduled": True,
        "consecutive_failures": 1,
        "needs_person": True,
        "retry_at": None,
        "last_run_at": "2024-07-03T14:05:01+00:00",
        "last_status": "failed",
        "last_duration_ms": "2000",
        "average_duration_ms": "1500",
        "last_error": "no key",
    }
    assert all(
        datetime.fromisoformat(row["next_tick"]) > before for row in rows if row["job_type"] != "price_update"
    )
    assert "waits for a person: no key" in trading("jobs").out


def test_history_is_newest_first_and_says_why(trading: Trading) -> None:
    trading.rows(FAILED_RUNS)
    rows = trading("jobs", "history", "price_update", "--json").json
    assert [row["run_id"] for row in rows] == ["run-3", "run-2", "run-1"]
    assert rows[2]["counts"] == {"symbols": 5, "updated": 4}
    assert (rows[2]["tick"], rows[2]["session"]) == ("2024-07-03T14:00:00+00:00", "2024-07-03")
    assert rows[2]["duration_ms"] == "1500"
    assert [
        row["run_id"] for row in trading("jobs", "history", "price_update", "--limit", 1, "--json").json
    ] == ["run-3"]
    lines = trading("jobs", "history", "price_update").out.splitlines()
    assert lines[1].endswith("its breaker is open")
    assert lines[2].endswith("no key")
    assert "symbols=5 updated=4" in lines[3]
    assert trading("jobs", "history", "position_sync").out == "position_sync has not run yet.\n"


def test_stats_tell_how_often_a_job_failed_and_how_long_it_took(trading: Trading) -> None:
    trading.rows(FAILED_RUNS)
    rows = trading("jobs", "stats", "--json").json
    assert [row["job_type"] for row in rows] == list(JobType)
    prices = next(row for row in rows if row["job_type"] == "price_update")
    assert {name: prices[name] for name in ("runs", "completed", "failed", "skipped")} == {
        "runs": 2,
        "completed": 1,
        "failed": 1,
        "skipped": 1,
    }
    assert (prices["failure_rate"], prices["failure_rate_7d"]) == (0.5, None)
    assert (prices["average_duration_ms"], prices["p95_ms"], prices["last_error"]) == ("1500", 1500, "no key")
    assert "50.0%" in trading("jobs", "stats").out
    recent = trading("jobs", "stats", "--days", 7, "--json").json
    assert {row["runs"] for row in recent} == {0}


def test_reset_closes_a_breaker_and_is_on_record(trading: Trading) -> None:
    trading.rows(FAILED_RUNS)
    done = trading("jobs", "reset", "price_update", "--reason", "new key set", "--json").json
    assert (done["job_status"], done["needs_person"], done["consecutive_failures"]) == ("enabled", False, 0)
    events = trading.rows("SELECT old_status, new_status, reason, actor FROM breaker_events")
    assert events == [("error", "enabled", "new key set", actor())]


@pytest.mark.parametrize(
    ("now", "job_type", "expected"),
    [
        # 2024-07-03 closes at 13:00 in New York, 17:00 UTC; the next session is 2024-07-05.
        ("2024-07-03T12:00Z", JobType.PRICE_UPDATE, "2024-07-03T13:30Z"),
        ("2024-07-03T16:59Z", JobType.STRATEGY_EXECUTION, "2024-07-05T13:30Z"),
        ("2024-07-03T16:59Z", JobType.PRICE_UPDATE, "2024-07-03T17:00Z"),
        ("2024-07-03T17:01Z", JobType.PORTFOLIO_SNAPSHOT, "2024-07-03T17:05Z"),
        ("2024-07-03T17:05Z", JobType.PORTFOLIO_SNAPSHOT, "2024-07-05T20:05Z"),
    ],
)
def test_the_next_tick_goes_by_the_calendar(
    xnys: MarketCalendar, now: str, job_type: JobType, expected: str
) -> None:
    found = next_tick(job_type, xnys, now=datetime.fromisoformat(now))
    assert found == datetime.fromisoformat(expected)
