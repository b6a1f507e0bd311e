"""Alarms about jobs: told when they are due, once, and told again when they are over."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.services.job_alarms import watch_jobs, why_unwell
from trading_orchestration.services.job_control import JobControl
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.services.job_record import MINUTE, TEN, JobRecord

TICK = 5 * MINUTE


@pytest.fixture
def record(engine: sa.Engine) -> JobRecord:
    """`price_update` is switched on since the evening before."""
    record = JobRecord(engine, at=new_york("2024-07-01 18:00"))
    record.service.mirror_schedules([JobType.PRICE_UPDATE])
    record.at = TEN
    return record


def watch(record: JobRecord, at: str | None = None) -> list[str]:
    if at is not None:
        record.at = new_york(f"2024-07-02 {at}")
    return watch_jobs(lambda: transaction(record.engine), record.calendar, record.at)


def test_a_job_that_runs_raises_no_alarm(record: JobRecord) -> None:
    for at in ("09:30", "09:35", "09:40"):
        record.at = new_york(f"2024-07-02 {at}")
        record.succeed()
        assert watch(record) == []
    assert watch(record, "09:50:59") == []


def test_a_job_that_did_not_run_raises_one_alarm_and_one_when_it_does(record: JobRecord) -> None:
    record.at = new_york("2024-07-02 09:40")
    record.succeed()
    assert watch(record, "09:50:59") == []
    assert watch(record, "09:51") == ["price_update did not run at 2024-07-02 09:45"]
    assert watch(record, "09:58") == []
    record.at = TEN
    record.succeed()
    assert watch(record) == ["price_update runs again"]
    assert watch(record, "10:01") == []
    messages = record.ask("SELECT severity, body FROM notifications WHERE kind = 'missed_run' ORDER BY id")
    assert [row["severity"] for row in messages] == ["critical", "info"]
    assert messages[0]["body"].startswith("No run was started for it; look at the daemon")
    assert messages[1]["body"] == "Its first run after the alarm has come."


def test_the_first_tick_of_a_session_is_missed_too(record: JobRecord) -> None:
    assert watch(record, "09:35:59") == []
    assert watch(record, "09:36") == ["price_update did not run at 2024-07-02 09:30"]


def test_a_failed_run_is_a_run_and_a_skipped_one_is_none(record: JobRecord) -> None:
    record.at = new_york("2024-07-02 09:30")
    record.fail()
    assert watch(record, "09:36") == []
    record.at = new_york("2024-07-02 09:36")
    record.refusal(tick=new_york("2024-07-02 09:30"))
    assert watch(record, "09:41") == ["price_update did not run at 2024-07-02 09:35"]


def test_an_open_breaker_is_the_reason(record: JobRecord) -> None:
    JobControl(record.engine, lambda: record.at).trip(JobType.PRICE_UPDATE, actor="ada", reason="odd prices")
    record.change("UPDATE scheduled_jobs SET last_error = '401: no such key' WHERE job_type = 'price_update'")
    watch(record, "09:36")
    (message,) = record.ask("SELECT body FROM notifications WHERE kind = 'missed_run'")
    assert message["body"] == "Its breaker is open. The last error: 401: no such key"


def test_what_trading_waits_for_is_the_reason(record: JobRecord) -> None:
    record.service.mirror_schedules([JobType.STRATEGY_EXECUTION])
    record.change("UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE scheduled_since IS NOT NULL")
    JobControl(record.engine, lambda: record.at).trip(JobType.POSITION_SYNC, actor="ada", reason="odd")
    assert watch(record, "09:33") == ["strategy_execution did not run at 2024-07-02 09:30"]
    (message,) = record.ask("SELECT body FROM notifications WHERE kind = 'missed_run'")
    assert message["body"] == "Nothing is traded while position_sync has an open breaker."


def test_a_schedule_that_is_switched_off_during_a_session_raises_an_alarm(record: JobRecord) -> None:
    record.at = new_york("2024-07-02 09:40")
    record.succeed()
    record.service.mirror_schedules([])
    assert watch(record, "09:51") == ["price_update did not run at 2024-07-02 09:45"]
    (message,) = record.ask("SELECT body FROM notifications WHERE kind = 'missed_run'")
    assert message["body"].startswith("Its schedule was switched off during the session")
    record.at = new_york("2024-07-03 09:31")
    assert watch_jobs(lambda: transaction(record.engine), record.calendar, record.at) == [
        "price_update is no longer missed"
    ]


def test_a_pause_ends_the_alarm(record: JobRecord) -> None:
    watch(record, "09:36")
    JobControl(record.engine, lambda: record.at).pause(JobType.PRICE_UPDATE, actor="ada", reason="meant")
    assert watch(record, "09:40") == ["price_update is no longer missed"]
    assert watch(record, "11:00") == []


def test_nothing_is_missed_before_a_schedule_was_switched_on(record: JobRecord) -> None:
    record.service.mirror_schedules([JobType.PRICE_UPDATE, JobType.ORDER_STATUS_CHECK])
    record.succeed()
    assert watch(record, "10:02") == []
    assert watch(record, "10:04") == ["order_status_check did not run at 2024-07-02 10:01"]


def test_what_is_switched_off_is_not_missed(record: JobRecord) -> None:
    record.service.mirror_schedules([])
    assert watch(record, "12:00") == []


def test_a_night_does_not_end_an_alarm(record: JobRecord) -> None:
    watch(record, "09:36")
    for at in ("2024-07-02 20:00", "2024-07-03 03:00", "2024-07-03 09:29"):
        assert watch_jobs(lambda: transaction(record.engine), record.calendar, new_york(at)) == []
    record.at = new_york("2024-07-03 09:30")
    record.succeed()
    assert watch_jobs(lambda: transaction(record.engine), record.calendar, record.at) == [
        "price_update runs again"
    ]


def test_a_replay_is_no_run_of_today(record: JobRecord) -> None:
    record.at = new_york("2024-07-02 09:30")
    record.succeed(trigger=ExecutionTrigger.REPLAY)
    assert watch(record, "09:36") == ["price_update did not run at 2024-07-02 09:30"]


def history_of(record: JobRecord, seconds: str, status: str = "completed", number: int = 40) -> None:
    """Runs of the last hours, the newest seconds ago; `seconds` is each run's duration in terms of n."""
    message = "'down'" if status == "failed" else "NULL"
    record.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        "finished_at, error_message) "
        f"SELECT 'price_update', '{status}-' || n, 'manual', at, '{status}', at, "
        f"at + make_interval(secs => {seconds}), {message} FROM generate_series(1, {number}) AS n "
        "CROSS JOIN LATERAL (SELECT clock_timestamp() - make_interval(mins => n) AS at) a"
    )


@pytest.fixture
def off(record: JobRecord) -> JobRecord:
    record.service.mirror_schedules([])
    return record


@pytest.mark.parametrize(("seconds", "is_told"), [("5.0", False), ("5.1", True)])
def test_a_run_that_takes_three_deviations_longer_is_told_once(
    off: JobRecord, seconds: str, is_told: bool
) -> None:
    """Before it: 40 runs of 1 and 3 s in turn, of mean 2 and sample deviation 1.0127: the limit is 5.038."""
    history_of(off, "1 + 2 * (n % 2)")
    admitted = off.succeed()
    off.change(
        f"UPDATE job_executions SET finished_at = started_at + interval '{seconds} seconds' "
        f"WHERE run_id = '{admitted.key.run_id}'"
    )
    told = [f"price_update took {seconds} s at 2024-07-02 10:00"] if is_told else []
    assert watch(off) == told
    assert watch(off) == []


def test_a_deviation_below_the_floor_is_not_told(off: JobRecord) -> None:
    history_of(off, "0.01")
    admitted = off.succeed()
    off.change(
        "UPDATE job_executions SET finished_at = started_at + interval '1 second' "
        f"WHERE run_id = '{admitted.key.run_id}'"
    )
    assert watch(off) == []


def test_few_runs_say_nothing(off: JobRecord) -> None:
    history_of(off, "0.01", number=29)
    off.change(
        "UPDATE job_executions SET finished_at = started_at + interval '1 minute' "
        "WHERE run_id = 'completed-1'"
    )
    assert watch(off) == []


@pytest.mark.parametrize(("failed", "told"), [(2, []), (3, ["price_update failed in 3 of its last 43 runs"])])
def test_more_than_a_twentieth_of_failures_is_told_once_a_day(
    off: JobRecord, failed: int, told: list[str]
) -> None:
    history_of(off, "1")
    history_of(off, "1", "failed", failed)
    assert watch(off) == told
    assert watch(off, "11:00") == []
    off.at += timedelta(days=1)
    assert watch(off) == told


@pytest.mark.parametrize(("days_ago", "is_told"), [(0, True), (2, False)])
def test_a_job_that_runs_once_a_session_is_looked_at_over_its_last_runs(
    off: JobRecord, days_ago: int, is_told: bool
) -> None:
    """30 snapshots, one a day, of which two failed: news while the newest failure is of the last day."""
    off.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        "finished_at, error_message) SELECT 'portfolio_snapshot', 'n' || n, 'manual', at, "
        "CAST(CASE WHEN failed THEN 'failed' ELSE 'completed' END AS execution_status), at, at, "
        "CASE WHEN failed THEN 'down' END FROM generate_series(1, 30) AS n CROSS JOIN LATERAL "
        "(SELECT clock_timestamp() - make_interval(days => n - 1, mins => 5) AS at, "
        f"n IN ({1 + days_ago}, 20) AS failed) a"
    )
    told = ["portfolio_snapshot failed in 2 of its last 30 runs"] if is_told else []
    assert watch(off) == told


def test_what_is_unwell_is_said_in_one_sentence_and_nothing_else_is(record: JobRecord) -> None:
    def unwell() -> str | None:
        return why_unwell(lambda: transaction(record.engine), record.at)

    assert unwell() is None
    watch(record, "09:36")
    assert unwell() == "price_update did not run when due."
    record.at = new_york("2024-07-02 09:35")
    record.succeed()
    watch(record, "09:36")
    assert unwell() is None
    record.at += timedelta(minutes=11)
    assert unwell() == "2 messages wait to be looked at."
    record.change(
        f"INSERT INTO notification_channels VALUES ('phone', '{TEN.isoformat()}'); "
        f"UPDATE notifications SET routed_at = '{TEN.isoformat()}'; "
        "INSERT INTO notification_deliveries (notification_id, channel, due_at) "
        "SELECT id, 'phone', now() FROM notifications"
    )
    record.at = TEN + timedelta(minutes=11)
    assert unwell() is None, "nobody serves the channel any more: it is not what is waited for"
    record.change("UPDATE notification_channels SET served_at = served_at + interval '11 minutes'")
    assert unwell() == "1 critical messages could not be sent for ten minutes."
    record.change(
        "UPDATE notification_deliveries SET status = 'sent', sent_at = now(), attempts = 1, "
        "message_id = gen_random_uuid()"
    )
    assert unwell() is None
