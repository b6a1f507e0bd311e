"""Whether a run may start: the calendar, the clock, other runs, and the jobs that trading stands on."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.services.job_monitoring import Skipped
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.services.job_record import MINUTE, TEN, JobRecord

NEEDED_TO_TRADE = (JobType.ORDER_STATUS_CHECK, JobType.POSITION_SYNC, JobType.PRICE_UPDATE)


@pytest.fixture
def record(engine: sa.Engine) -> JobRecord:
    return JobRecord(engine)


@pytest.mark.parametrize(
    ("job_type", "at", "reason"),
    [
        (
            JobType.PRICE_UPDATE,
            "2024-07-04 10:00",
            "2024-07-04 is a holiday (Independence Day); XNYS opens again on 2024-07-05.",
        ),
        (
            JobType.PRICE_UPDATE,
            "2024-07-03 13:05",
            (
                "2024-07-03 closed at 13:00 New York time; price_update runs every 5 minutes from 09:30 to "
                "13:00."
            ),
        ),
        (
            JobType.STRATEGY_EXECUTION,
            "2024-07-02 16:00",
            (
                "2024-07-02 closed at 16:00 New York time; "
                "strategy_execution runs every 15 minutes from 09:30 to before 16:00."
            ),
        ),
        (
            JobType.PORTFOLIO_SNAPSHOT,
            "2024-07-03 16:05",
            "2024-07-03 closed at 13:00 New York time; portfolio_snapshot runs once, at 13:05.",
        ),
    ],
)
def test_a_tick_that_the_calendar_does_not_know_is_refused(
    record: JobRecord, job_type: JobType, at: str, reason: str
) -> None:
    record.at = new_york(at)
    assert record.refusal(job_type) == reason
    (row,) = record.rows()
    assert (row["execution_status"], row["skip_reason"]) == ("skipped", reason)


@pytest.mark.parametrize(
    ("job_type", "late", "reason"),
    [
        (
            JobType.STRATEGY_EXECUTION,
            timedelta(seconds=61),
            "The tick of 2024-07-02 14:00:00 UTC is 61 s old; strategy_execution runs at most 60 s late.",
        ),
        (
            JobType.ORDER_STATUS_CHECK,
            timedelta(seconds=31),
            "is 31 s old; order_status_check runs at most 30 s",
        ),
        (JobType.PRICE_UPDATE, timedelta(minutes=45), "is 45 min old; price_update runs at most 120 s late"),
        (JobType.POSITION_SYNC, timedelta(days=3), "is 72 h old; position_sync runs at most 120 s late"),
    ],
)
def test_a_tick_that_is_too_old_is_refused(
    record: JobRecord, job_type: JobType, late: timedelta, reason: str
) -> None:
    record.at = TEN + late
    assert reason in record.refusal(job_type, tick=TEN)


def test_a_tick_that_is_only_a_little_late_is_run(record: JobRecord) -> None:
    record.at = TEN + timedelta(seconds=60)
    record.admit(JobType.STRATEGY_EXECUTION, tick=TEN, trigger=ExecutionTrigger.REPLAY)


def test_a_snapshot_is_never_too_late(record: JobRecord) -> None:
    record.at = new_york("2024-07-08 09:00")
    record.admit(JobType.PORTFOLIO_SNAPSHOT, tick=new_york("2024-07-02 16:05"))


def test_a_tick_of_the_future_is_refused(record: JobRecord) -> None:
    reason = record.refusal(tick=TEN + 5 * MINUTE)
    assert reason == "The tick of 2024-07-02 14:05:00 UTC has not come yet."


@pytest.mark.parametrize("trigger", [ExecutionTrigger.SCHEDULE, ExecutionTrigger.REPLAY])
def test_a_tick_is_never_run_twice(record: JobRecord, trigger: ExecutionTrigger) -> None:
    first = record.succeed(tick=TEN)
    assert record.refusal(tick=TEN, trigger=trigger) == f"Run {first.key.run_id} ran this tick already."


def test_a_tick_that_failed_may_be_run_again(record: JobRecord) -> None:
    record.fail(tick=TEN)
    record.succeed(tick=TEN)


def test_a_run_by_hand_may_repeat_a_tick(record: JobRecord) -> None:
    record.succeed(tick=TEN)
    record.succeed(tick=TEN, trigger=ExecutionTrigger.MANUAL)


def test_runs_of_different_jobs_do_not_hinder_each_other(record: JobRecord) -> None:
    record.admit(JobType.PRICE_UPDATE)
    record.admit(JobType.POSITION_SYNC)


@pytest.mark.parametrize("at", ["2024-07-02 09:29:59", "2024-07-02 16:00", "2024-07-04 12:00"])
def test_no_strategy_is_run_by_hand_on_a_closed_market(record: JobRecord, at: str) -> None:
    record.at = new_york(at)
    reason = record.refusal(JobType.STRATEGY_EXECUTION, trigger=ExecutionTrigger.MANUAL)
    assert reason == "XNYS is closed; strategy_execution trades in market hours only."


@pytest.mark.parametrize("job_type", sorted(set(JobType) - {JobType.STRATEGY_EXECUTION}))
def test_every_other_job_may_be_run_by_hand_at_any_time(record: JobRecord, job_type: JobType) -> None:
    record.at = new_york("2024-07-04 12:00")
    record.succeed(job_type, trigger=ExecutionTrigger.MANUAL)
    assert str(record.rows()[0]["session"]) == "2024-07-03"


def test_a_session_is_snapshotted_from_its_close_on(record: JobRecord) -> None:
    wanted = record.key(
        JobType.PORTFOLIO_SNAPSHOT, new_york("2024-07-02 16:05"), trigger=ExecutionTrigger.BACKFILL
    )
    record.at = new_york("2024-07-02 15:59")
    refused = record.service.should_job_run(wanted)
    assert refused == Skipped("2024-07-02 closes at 16:00 of that day; it cannot be valued before.")
    record.at = new_york("2024-07-02 16:00")
    assert record.service.should_job_run(wanted) is None


def test_a_run_that_can_be_for_nothing_is_refused_with_the_reason(record: JobRecord) -> None:
    unfit = record.key(session=None, unfit="The partition 'x' is no date.", trigger=ExecutionTrigger.BACKFILL)
    assert record.service.log_job_start(unfit) == Skipped("The partition 'x' is no date.")


def test_a_run_outside_of_the_known_sessions_is_refused(record: JobRecord) -> None:
    record.at = new_york("2024-06-03 10:00")
    reason = record.refusal(trigger=ExecutionTrigger.MANUAL)
    assert reason == "2024-06-03 lies in no known session of XNYS."


def test_asking_whether_a_job_should_run_changes_nothing(record: JobRecord) -> None:
    record.admit()
    before = record.job(), record.rows()
    asked = record.service.should_job_run(record.key())
    assert asked is not None
    assert "still at work" in asked.reason
    assert (record.job(), record.rows()) == before


def test_a_lease_that_is_over_does_not_make_a_schedule_skip(record: JobRecord) -> None:
    dead = record.admit()
    record.expire(dead.key.run_id)
    record.at += 5 * MINUTE
    assert record.service.should_job_run(record.key()) is None


def keep_up(record: JobRecord) -> None:
    """Let everything that trading stands on succeed at 9:45."""
    record.at = new_york("2024-07-02 09:45")
    for job_type in NEEDED_TO_TRADE:
        record.succeed(job_type)
    record.at = new_york("2024-07-02 09:45:02")


def test_trading_goes_on_while_what_it_stands_on_keeps_up(record: JobRecord) -> None:
    keep_up(record)
    record.admit(JobType.STRATEGY_EXECUTION, tick=new_york("2024-07-02 09:45"))


@pytest.mark.parametrize("trigger", [ExecutionTrigger.SCHEDULE, ExecutionTrigger.MANUAL])
@pytest.mark.parametrize("job_type", NEEDED_TO_TRADE)
def test_nothing_is_traded_while_a_job_it_stands_on_is_stopped(
    record: JobRecord, job_type: JobType, trigger: ExecutionTrigger
) -> None:
    keep_up(record)
    tick = new_york("2024-07-02 09:45")
    record.change(f"UPDATE scheduled_jobs SET job_status = 'disabled' WHERE job_type = '{job_type}'")
    reason = record.refusal(JobType.STRATEGY_EXECUTION, tick=tick, trigger=trigger)
    assert reason == f"Nothing is traded while {job_type} is paused."
    record.change(
        f"UPDATE scheduled_jobs SET job_status = 'error', needs_person = true WHERE job_type = '{job_type}'"
    )
    reason = record.refusal(JobType.STRATEGY_EXECUTION, tick=tick, trigger=trigger)
    assert reason == f"Nothing is traded while {job_type} has an open breaker."


@pytest.mark.parametrize(
    ("job_type", "due"),
    [
        (JobType.ORDER_STATUS_CHECK, "09:57"),
        (JobType.POSITION_SYNC, "09:50"),
        (JobType.PRICE_UPDATE, "09:50"),
    ],
)
def test_nothing_is_traded_on_what_fell_behind(record: JobRecord, job_type: JobType, due: str) -> None:
    record.at = new_york("2024-07-02 09:59")
    for other in set(NEEDED_TO_TRADE) - {job_type}:
        record.succeed(other, trigger=ExecutionTrigger.MANUAL)
    record.at = TEN
    assert record.refusal(JobType.STRATEGY_EXECUTION) == (
        "Nothing is traded on what may be out of date: "
        f"{job_type} was due at {due} and has not succeeded since."
    )
    record.succeed(job_type, trigger=ExecutionTrigger.MANUAL)
    record.admit(JobType.STRATEGY_EXECUTION)


def test_a_failure_is_not_keeping_up(record: JobRecord) -> None:
    keep_up(record)
    record.at = new_york("2024-07-02 09:49")
    record.fail(JobType.ORDER_STATUS_CHECK)
    record.at = new_york("2024-07-02 09:50")
    reason = record.refusal(JobType.STRATEGY_EXECUTION, trigger=ExecutionTrigger.MANUAL)
    assert "order_status_check was due at 09:47" in reason


def test_at_the_open_nothing_is_due_yet(record: JobRecord) -> None:
    record.at = new_york("2024-07-02 09:30")
    record.admit(JobType.STRATEGY_EXECUTION)


def test_a_replay_is_not_held_back_by_jobs_of_today(record: JobRecord) -> None:
    record.change("UPDATE scheduled_jobs SET job_status = 'disabled'")
    record.admit(JobType.STRATEGY_EXECUTION, trigger=ExecutionTrigger.REPLAY)


def test_a_price_update_is_awaited_until_it_ended_or_cannot_come(record: JobRecord) -> None:
    assert not record.service.is_awaited(JobType.PRICE_UPDATE, TEN)
    record.service.mirror_schedules([JobType.PRICE_UPDATE])
    assert record.service.is_awaited(JobType.PRICE_UPDATE, TEN)
    admitted = record.admit(tick=TEN)
    assert record.service.is_awaited(JobType.PRICE_UPDATE, TEN)
    record.service.log_job_error(admitted.key, ConnectionError("down"))
    assert not record.service.is_awaited(JobType.PRICE_UPDATE, TEN)
    record.change("UPDATE scheduled_jobs SET job_status = 'disabled'")
    assert not record.service.is_awaited(JobType.PRICE_UPDATE, TEN + 5 * MINUTE)


def test_the_schedules_switches_are_mirrored(record: JobRecord) -> None:
    record.service.mirror_schedules([JobType.PRICE_UPDATE, JobType.POSITION_SYNC])
    record.service.mirror_schedules([JobType.POSITION_SYNC])
    on = record.ask("SELECT job_type FROM scheduled_jobs WHERE is_scheduled")
    assert [row["job_type"] for row in on] == ["position_sync"]
