"""The record of runs: one row each, the right outcome, whatever the order of those who tell of it."""

import os
import statistics
import subprocess
from datetime import date, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import ExecutionStatus, ExecutionTrigger, JobType
from trading_orchestration.errors import InvalidInputError, LeaseLostError
from trading_orchestration.services.job_monitoring import CANCELLED, Admitted, Skipped, failure
from trading_orchestration.services.worker_process import this_worker
from trading_orchestration.store import jobs
from trading_orchestration.store.database import transaction
from trading_orchestration.store.jobs import Outcome
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.services.job_record import MINUTE, TEN, JobRecord

COMPLETED = Outcome(status=ExecutionStatus.COMPLETED)
DIED = failure(ConnectionError("the worker died"))


@pytest.fixture
def record(engine: sa.Engine) -> JobRecord:
    return JobRecord(engine)


def test_an_admitted_run_has_a_row_that_holds_the_jobs_lease(record: JobRecord) -> None:
    admitted = record.admit(tick=TEN)
    row = record.row(admitted.key.run_id)
    assert (row["execution_status"], row["triggered_by"], row["tick"]) == ("started", "schedule", TEN)
    assert row["session"] == date(2024, 7, 2)
    assert row["lease_until"] - row["started_at"] == timedelta(seconds=240)
    assert not row["is_probe"]


def test_a_completed_run_has_its_counts_and_its_duration(record: JobRecord) -> None:
    admitted = record.admit()
    record.service.log_job_complete(admitted.key, {"symbols": 3, "updated": 2})
    row = record.row(admitted.key.run_id)
    assert (row["execution_status"], row["counts"]) == ("completed", {"symbols": 3, "updated": 2})
    assert row["finished_at"] >= row["started_at"]
    assert (row["lease_until"], row["error_message"]) == (None, None)


def test_a_failed_run_has_the_class_and_the_sentence_of_its_error(record: JobRecord) -> None:
    admitted = record.admit()
    record.service.log_job_error(admitted.key, ConnectionError("no answer"), {"symbols": 3})
    row = record.row(admitted.key.run_id)
    assert (row["execution_status"], row["counts"]) == ("failed", {"symbols": 3})
    assert (row["error_class"], row["error_message"]) == ("ConnectionError", "no answer")


def test_an_error_without_words_is_told_by_its_class(record: JobRecord) -> None:
    admitted = record.fail(error=ZeroDivisionError())
    assert record.row(admitted.key.run_id)["error_message"] == "ZeroDivisionError"


def test_a_run_acts_once(record: JobRecord) -> None:
    admitted = record.succeed()
    again = record.service.log_job_start(admitted.key)
    assert isinstance(again, Skipped)
    assert "a run acts once" in again.reason
    assert record.row(admitted.key.run_id)["execution_status"] == "completed"


def test_one_run_may_do_several_jobs_with_a_row_for_each(record: JobRecord) -> None:
    """As when a person materialises several assets at once."""
    for job_type in (JobType.PRICE_UPDATE, JobType.POSITION_SYNC):
        record.succeed(job_type, run_id="both", trigger=ExecutionTrigger.MANUAL)
    rows = record.rows(run_id="both")
    assert [(row["job_type"], row["execution_status"]) for row in rows] == [
        ("price_update", "completed"),
        ("position_sync", "completed"),
    ]


@pytest.mark.parametrize("order", list(permutations(["run", "sensor", "sweeper"])))
def test_a_success_stays_whatever_the_order_of_those_who_tell(
    record: JobRecord, order: tuple[str, ...]
) -> None:
    admitted = record.admit()
    tell(record, admitted, COMPLETED, order)
    row = record.row(admitted.key.run_id)
    assert row["execution_status"] == "completed"
    assert (record.job()["run_count"], record.job()["success_count"]) == (1, 1)
    assert record.job()["recent_outcomes"] == [True]


@pytest.mark.parametrize("order", list(permutations(["run", "sensor", "sweeper"])))
def test_a_failure_is_counted_once_whatever_the_order(record: JobRecord, order: tuple[str, ...]) -> None:
    admitted = record.admit()
    tell(record, admitted, DIED, (*order, *order))
    assert record.row(admitted.key.run_id)["error_message"] == "the worker died"
    assert (record.job()["run_count"], record.job()["failure_count"]) == (1, 1)
    assert record.job()["consecutive_failures"] == 1


def tell(record: JobRecord, admitted: Admitted, outcome: Outcome, order: tuple[str, ...]) -> None:
    for who in order:
        if who == "sweeper":
            assert record.service.sweep() == []
        else:
            record.service.log_outcome(admitted.key.job_type, admitted.key.run_id, outcome)


def test_a_run_that_dagster_calls_failed_is_failed_though_its_row_said_completed(record: JobRecord) -> None:
    admitted = record.succeed()
    before = record.job()
    record.service.log_outcome(admitted.key.job_type, admitted.key.run_id, DIED)
    row, after = record.row(admitted.key.run_id), record.job()
    assert (row["execution_status"], row["error_message"]) == ("failed", "the worker died")
    assert (before["success_count"], before["failure_count"], before["run_count"]) == (1, 0, 1)
    assert (after["success_count"], after["failure_count"], after["run_count"]) == (0, 1, 1)
    assert after["consecutive_failures"] == 1


def test_a_failed_run_never_becomes_completed(record: JobRecord) -> None:
    admitted = record.fail()
    status = record.service.log_outcome(admitted.key.job_type, admitted.key.run_id, COMPLETED)
    assert status is ExecutionStatus.FAILED
    assert record.row(admitted.key.run_id)["execution_status"] == "failed"


@pytest.mark.parametrize("outcome", [COMPLETED, DIED])
def test_a_skipped_run_keeps_its_reason(record: JobRecord, outcome: Outcome) -> None:
    record.admit(run_id="first")
    reason = record.refusal(run_id="second", tick=record.at)
    assert reason == "Run first of this job is still at work on the tick of 14:00 UTC."
    record.service.log_outcome(JobType.PRICE_UPDATE, "second", outcome)
    row = record.row("second")
    assert (row["execution_status"], row["skip_reason"], row["error_message"]) == ("skipped", reason, None)
    assert row["finished_at"] is not None


def test_an_outcome_of_a_run_without_a_row_is_answered_with_none(record: JobRecord) -> None:
    assert record.service.log_outcome(JobType.PRICE_UPDATE, "unknown", DIED) is None
    assert record.rows() == []


def test_a_run_that_failed_before_it_was_admitted_has_a_row(record: JobRecord) -> None:
    key = record.key()
    for _ in range(2):
        record.service.log_unadmitted(key, DIED, started_at=TEN - MINUTE)
    row = record.row(key.run_id)
    assert (row["execution_status"], row["error_message"]) == ("failed", "the worker died")
    assert (row["started_at"], row["tick"]) == (TEN - MINUTE, TEN)
    assert (record.job()["failure_count"], record.job()["consecutive_failures"]) == (1, 1)


def test_a_run_that_completed_without_admission_has_a_row_and_moves_no_breaker(record: JobRecord) -> None:
    """As after a restore of the database from a backup."""
    record.service.log_unadmitted(record.key(run_id="lost"), COMPLETED, started_at=TEN)
    assert record.row("lost")["execution_status"] == "completed"
    assert (record.job()["success_count"], record.job()["recent_outcomes"]) == (1, [])


def test_a_lost_row_of_a_tick_that_another_run_did_is_not_invented(record: JobRecord) -> None:
    record.succeed(tick=TEN)
    record.service.log_unadmitted(record.key(tick=TEN), COMPLETED, started_at=TEN)
    assert len(record.rows()) == 1


def test_the_mean_duration_weighs_the_newest_success_with_a_fifth(record: JobRecord) -> None:
    for seconds in (10, 20):
        admitted = record.admit(trigger=ExecutionTrigger.MANUAL)
        record.change(
            "UPDATE job_executions SET started_at = started_at - interval '1 hour' "
            f"WHERE run_id = '{admitted.key.run_id}'"
        )
        started_at = record.row(admitted.key.run_id)["started_at"]
        ended = Outcome(status=ExecutionStatus.COMPLETED, finished_at=started_at + timedelta(seconds=seconds))
        record.service.log_outcome(JobType.PRICE_UPDATE, admitted.key.run_id, ended)
        assert record.row(admitted.key.run_id)["duration_ms"] == seconds * 1000
    assert record.job()["average_duration_ms"] == Decimal(12_000)


def test_a_lease_that_is_over_is_swept(record: JobRecord) -> None:
    admitted = record.admit()
    assert record.service.sweep() == []
    record.expire(admitted.key.run_id)
    assert record.service.sweep() == [admitted.key.run_id]
    assert record.service.sweep() == []
    row = record.row(admitted.key.run_id)
    assert (row["execution_status"], row["error_class"]) == ("failed", "LeaseLostError")
    assert row["error_message"] == "The run did not end within its lease of 240 s; it was given up."
    assert record.job()["consecutive_failures"] == 1


def test_a_job_that_somebody_holds_does_not_keep_the_others_from_being_swept(record: JobRecord) -> None:
    """The first one's worker stands still in the middle of a transaction that has its job."""
    held, swept = record.admit(JobType.POSITION_SYNC), record.admit(JobType.PRICE_UPDATE)
    for admitted in (held, swept):
        record.expire(admitted.key.run_id)
    with transaction(record.engine) as connection:
        jobs.hold_job(connection, JobType.POSITION_SYNC)
        assert record.service.sweep() == [swept.key.run_id]
    assert record.service.sweep() == [held.key.run_id]


def test_the_next_run_gives_up_one_whose_lease_is_over(record: JobRecord) -> None:
    dead = record.admit()
    record.expire(dead.key.run_id)
    record.at += 5 * MINUTE
    record.admit()
    assert [row["execution_status"] for row in record.rows()] == ["failed", "started"]


@pytest.mark.skipif(this_worker() is None, reason="only Linux tells enough of its processes")
def test_only_a_run_whose_process_is_gone_is_given_up_before_its_lease_is_over(record: JobRecord) -> None:
    """It is gone when killed, also before anybody waited for it; on another machine nobody can tell."""
    admitted = record.admit()
    ours = str(record.row(admitted.key.run_id)["worker"])
    assert ours == this_worker()
    where = ours.rpartition(" ")[0]
    with subprocess.Popen(["sleep", "60"]) as process:
        record.change(f"UPDATE job_executions SET worker = '{where} {process.pid}'")
        assert record.service.sweep() == []
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        for elsewhere in (f"'another-{where} {process.pid}'", "NULL"):
            record.change(f"UPDATE job_executions SET worker = {elsewhere}")
            assert record.service.sweep() == []
        record.change(f"UPDATE job_executions SET worker = '{where} {process.pid}'")
        assert record.service.sweep() == [admitted.key.run_id]
    row = record.row(admitted.key.run_id)
    assert (row["execution_status"], row["error_class"]) == ("failed", "LeaseLostError")


def test_a_worker_that_was_given_up_changes_nothing_more(record: JobRecord) -> None:
    admitted = record.admit()
    record.expire(admitted.key.run_id)
    with pytest.raises(LeaseLostError), admitted.lease.transaction() as connection:
        connection.execute(sa.text("UPDATE scheduled_jobs SET run_count = 99"))
    assert record.job()["run_count"] == 0
    with pytest.raises(LeaseLostError, match="another run may be at work"), admitted.lease.transaction():
        pytest.fail("the transaction began")


def test_a_worker_whose_row_was_closed_by_another_changes_nothing_more(record: JobRecord) -> None:
    admitted = record.admit()
    record.service.log_outcome(JobType.PRICE_UPDATE, admitted.key.run_id, DIED)
    with pytest.raises(LeaseLostError), admitted.lease.transaction():
        pytest.fail("the transaction began")


def test_a_worker_that_was_given_up_hears_of_it_at_its_end(record: JobRecord) -> None:
    admitted = record.admit()
    record.expire(admitted.key.run_id)
    record.service.sweep()
    with pytest.raises(LeaseLostError, match="was given up before it ended"):
        record.service.log_job_complete(admitted.key, {})
    assert record.row(admitted.key.run_id)["execution_status"] == "failed"


def test_a_worker_in_the_middle_of_a_transaction_is_not_given_up(record: JobRecord) -> None:
    """What it does there was allowed when it began, and will be committed."""
    admitted = record.admit()
    record.change("UPDATE job_executions SET lease_until = clock_timestamp() + interval '0.2 seconds'")
    with admitted.lease.transaction() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.25)"))
        assert record.service.sweep() == []
        assert "still at work" in record.refusal(trigger=ExecutionTrigger.MANUAL)
    assert record.service.sweep() == [admitted.key.run_id]


def test_a_cancelled_run_and_a_persons_mistake_say_nothing_about_the_job(record: JobRecord) -> None:
    cancelled = Outcome(status=ExecutionStatus.FAILED, error_class=CANCELLED, error_message="cancelled")
    for outcome in (cancelled, failure(InvalidInputError("no such session"))):
        admitted = record.admit(JobType.PORTFOLIO_SNAPSHOT, trigger=ExecutionTrigger.MANUAL)
        record.service.log_outcome(JobType.PORTFOLIO_SNAPSHOT, admitted.key.run_id, outcome)
    job = record.job(JobType.PORTFOLIO_SNAPSHOT)
    assert (job["failure_count"], job["consecutive_failures"], job["job_status"]) == (2, 0, "enabled")


def test_a_replay_is_counted_and_moves_no_breaker(record: JobRecord) -> None:
    for number in range(4):
        record.at = new_york("2024-07-02 10:00") + 5 * number * MINUTE
        record.fail(trigger=ExecutionTrigger.REPLAY)
    job = record.job()
    assert (job["failure_count"], job["consecutive_failures"], job["job_status"]) == (4, 0, "enabled")


def test_an_old_failure_that_is_found_late_no_longer_moves_the_breaker(record: JobRecord) -> None:
    """After an outage of the database all its failures are found at once, when the job works again."""
    record.succeed()
    long_ago = record.row(record.rows()[0]["run_id"])["finished_at"] - timedelta(hours=1)
    for number in range(5):
        died = Outcome(
            status=ExecutionStatus.FAILED, error_class="E", error_message="down", finished_at=long_ago
        )
        record.service.log_unadmitted(record.key(run_id=f"lost-{number}"), died, started_at=long_ago)
    job = record.job()
    assert (job["failure_count"], job["consecutive_failures"], job["job_status"]) == (5, 0, "enabled")


def test_statuses_name_every_row_of_the_runs_asked_for(record: JobRecord) -> None:
    record.succeed(run_id="one", trigger=ExecutionTrigger.MANUAL)
    record.admit(JobType.POSITION_SYNC, run_id="one", trigger=ExecutionTrigger.MANUAL)
    record.fail(run_id="two", trigger=ExecutionTrigger.MANUAL)
    assert record.service.statuses(["one", "three"]) == {
        "one": {
            JobType.PRICE_UPDATE: ExecutionStatus.COMPLETED,
            JobType.POSITION_SYNC: ExecutionStatus.STARTED,
        }
    }
    assert record.service.statuses([]) == {}


def test_runs_are_over_once_given_up_or_closed_for_longer_than_the_grace(record: JobRecord) -> None:
    record.admit(JobType.POSITION_SYNC, run_id="open")
    record.succeed(run_id="just ended")
    swept = record.admit(JobType.ORDER_STATUS_CHECK)
    record.expire(swept.key.run_id)
    record.service.sweep()
    asked = ["open", "just ended", swept.key.run_id, "unknown"]
    assert record.service.runs_that_are_over(asked, grace_s=60) == {swept.key.run_id}
    assert record.service.runs_that_are_over(asked, grace_s=0) == {swept.key.run_id, "just ended"}


def test_statistics_tell_outcomes_rates_durations_and_the_next_tick(record: JobRecord) -> None:
    """One run a minute for two hours, of 1 to 120 s; every tenth failed, and so did the last five."""
    record.change(
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        "finished_at, error_message) SELECT 'price_update', n::text, 'manual', at, "
        "CAST(s.status AS execution_status), at, at + make_interval(secs => n), s.message "
        "FROM generate_series(1, 120) AS n "
        f"CROSS JOIN LATERAL (SELECT CAST('{TEN.isoformat()}' AS timestamptz) "
        "- make_interval(mins => 120 - n) AS at) a "
        "CROSS JOIN LATERAL (SELECT n % 10 = 0 OR n > 115 AS has_failed) f "
        "CROSS JOIN LATERAL (SELECT CASE WHEN has_failed THEN 'failed' ELSE 'completed' END AS status, "
        "CASE WHEN has_failed THEN 'down' END AS message) s"
    )
    stats = {row["job_type"]: row for row in record.service.get_job_stats()}
    found = stats["price_update"]
    durations = [n * 1000 for n in range(1, 116) if n % 10]
    assert (found["runs"], found["completed"], found["failed"]) == (120, 104, 16)
    assert found["failure_rate"] == pytest.approx(16 / 120)
    # From 9:00 on: the runs 60 to 120.
    assert float(found["failure_rate_1h"]) == pytest.approx(11 / 61)
    assert float(found["failure_rate_1d"]) == pytest.approx(16 / 120)
    assert float(found["mean_ms"]) == pytest.approx(statistics.mean(durations), abs=0.001)
    assert float(found["duration_variance"]) == pytest.approx(statistics.variance(durations), rel=1e-9)
    assert found["median_ms"] == statistics.median(durations)
    assert found["p95_ms"] == pytest.approx(statistics.quantiles(durations, n=20, method="inclusive")[-1])
    assert found["next_tick"] == TEN + 5 * MINUTE
    since = {row["job_type"]: row for row in record.service.get_job_stats(since=TEN - 9 * MINUTE)}
    assert (since["price_update"]["runs"], since["price_update"]["failed"]) == (10, 5)
    assert (stats["position_sync"]["runs"], stats["position_sync"]["failure_rate"]) == (0, None)


def test_history_is_newest_first_with_reasons_and_errors(record: JobRecord) -> None:
    record.fail(tick=TEN)
    record.at = TEN + MINUTE
    record.refusal(tick=TEN + MINUTE)
    newest, oldest = record.service.get_job_history(JobType.PRICE_UPDATE)
    assert newest["skip_reason"] == (
        "10:01 New York time is not a tick; price_update runs every 5 minutes from 09:30 to 16:00."
    )
    assert (oldest["error_message"], oldest["tick"]) == ("no answer", TEN)
    assert record.service.get_job_history(JobType.POSITION_SYNC) == []
    assert len(record.service.get_job_history(limit=1)) == 1
