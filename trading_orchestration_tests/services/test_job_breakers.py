"""Breakers as runs and people move them, with their events and notifications; and many runs at once."""

import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import timedelta

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.errors import BrokerNotAuthorizedError, InvalidInputError
from trading_orchestration.services.job_control import JobControl
from trading_orchestration.services.job_monitoring import Admitted, Skipped
from trading_orchestration.store import jobs
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.services.job_record import MINUTE, TEN, JobRecord

OPEN, HALF_OPEN, CLOSED = "error", "probing", "enabled"
TICK = 5 * MINUTE


@pytest.fixture
def record(engine: sa.Engine) -> JobRecord:
    return JobRecord(engine)


@pytest.fixture
def opened(record: JobRecord) -> JobRecord:
    """A breaker that three failures opened at 10:10."""
    for _ in range(3):
        record.fail()
        record.at += TICK
    record.at -= TICK
    return record


def test_failures_in_a_row_open_the_breaker_and_tell_of_it(opened: JobRecord) -> None:
    job = opened.job()
    assert (job["job_status"], job["consecutive_failures"]) == (OPEN, 3)
    assert job["retry_at"] - opened.at == pytest.approx(TICK, abs=timedelta(seconds=1))
    (event,) = opened.ask("SELECT * FROM breaker_events")
    assert (event["old_status"], event["new_status"], event["actor"]) == (CLOSED, OPEN, "breaker")
    assert event["reason"] == "3 failures in a row, the last: no answer"
    assert event["run_id"] == opened.rows()[-1]["run_id"]
    (message,) = opened.ask("SELECT * FROM notifications")
    assert (message["severity"], message["kind"]) == ("critical", "breaker")
    assert message["title"] == "price_update is stopped: its breaker is open"
    assert message["body"] == f"{event['reason']}. It is tried again at 2024-07-02 14:15 UTC."


def test_a_success_in_between_keeps_it_closed(record: JobRecord) -> None:
    for has_failed in (True, True, False, True, True):
        record.fail() if has_failed else record.succeed()
        record.at += TICK
    assert (record.job()["job_status"], record.moves()) == (CLOSED, [])


def test_an_open_breaker_refuses_until_its_time_has_come(opened: JobRecord) -> None:
    opened.at += TICK - timedelta(seconds=4)
    reason = opened.refusal(tick=opened.at + timedelta(seconds=4))
    assert reason.startswith("The breaker is open until 2024-07-02 14:")
    assert reason.endswith("The last error: no answer")


def test_one_probe_then_another_closes_it(opened: JobRecord) -> None:
    opened.at += 2 * TICK
    probe = opened.admit()
    assert probe.is_probe
    assert opened.row(probe.key.run_id)["is_probe"]
    opened.service.log_job_complete(probe.key, {})
    assert opened.job()["job_status"] == HALF_OPEN
    opened.at += TICK
    assert opened.succeed().is_probe
    opened.at += TICK
    assert not opened.succeed().is_probe
    assert opened.moves() == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]
    severities = opened.ask("SELECT severity FROM notifications ORDER BY id")
    assert [row["severity"] for row in severities] == ["critical", "info", "info"]


def test_a_snapshot_closes_its_breaker_with_one_success(record: JobRecord) -> None:
    job_type = JobType.PORTFOLIO_SNAPSHOT
    record.at = new_york("2024-07-02 16:05")
    record.fail(job_type)
    record.at = new_york("2024-07-03 13:05")
    assert record.succeed(job_type).is_probe
    assert record.moves(job_type) == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]


def test_a_probe_that_fails_opens_it_for_twice_as_long(opened: JobRecord) -> None:
    opened.at += 2 * TICK
    opened.fail()
    assert opened.job()["job_status"] == OPEN
    wait_s = (opened.job()["retry_at"] - opened.at).total_seconds()
    assert wait_s == pytest.approx(600, abs=1)


def test_a_probe_that_was_killed_opens_it_again(opened: JobRecord) -> None:
    opened.at += 2 * TICK
    probe = opened.admit()
    opened.expire(probe.key.run_id)
    opened.service.sweep()
    assert (opened.job()["job_status"], opened.job()["probe_run_id"]) == (OPEN, None)


def test_a_probe_that_a_person_cancelled_makes_room_for_another(opened: JobRecord) -> None:
    opened.at += 2 * TICK
    probe = opened.admit()
    opened.service.log_job_error(probe.key, InvalidInputError("a slip of the hand"))
    assert (opened.job()["job_status"], opened.job()["probe_run_id"]) == (HALF_OPEN, None)
    opened.at += TICK
    assert opened.admit().is_probe


def test_waits_run_in_session_time(record: JobRecord) -> None:
    """Five minutes from five minutes before the close end at the next open."""
    record.at = new_york("2024-07-02 15:58")
    for _ in range(3):
        record.fail(trigger=ExecutionTrigger.MANUAL)
    expected = new_york("2024-07-03 09:33")
    assert record.job()["retry_at"] - expected == pytest.approx(timedelta(0), abs=timedelta(seconds=1))


def test_a_misconfiguration_opens_it_until_a_person_resets_it(record: JobRecord) -> None:
    record.fail(error=BrokerNotAuthorizedError("401: the key is not known"))
    job = record.job()
    assert (job["job_status"], job["needs_person"], job["retry_at"]) == (OPEN, True, None)
    record.at = new_york("2024-07-08 10:00")
    assert record.refusal() == (
        "The breaker is open until a person resets it. The last error: 401: the key is not known"
    )
    JobControl(record.engine, lambda: record.at).reset(JobType.PRICE_UPDATE, actor="ada", reason="new key")
    record.succeed()
    (_, event) = record.ask("SELECT * FROM breaker_events ORDER BY id")
    assert (event["actor"], event["reason"], event["new_status"]) == ("ada", "new key", CLOSED)


def test_a_run_by_hand_passes_an_open_breaker_as_its_probe(opened: JobRecord) -> None:
    probe = opened.admit(trigger=ExecutionTrigger.MANUAL)
    assert probe.is_probe
    events = opened.ask("SELECT reason FROM breaker_events ORDER BY id")
    assert events[-1]["reason"] == "A person launched a probe."


def test_a_breaker_moves_for_its_own_job_only(opened: JobRecord) -> None:
    assert {opened.job(other)["job_status"] for other in set(JobType) - {JobType.PRICE_UPDATE}} == {CLOSED}


def test_a_paused_job_starts_no_run_at_all_until_it_is_resumed(record: JobRecord) -> None:
    control = JobControl(record.engine, lambda: record.at)
    control.pause(JobType.PRICE_UPDATE, actor="ada", reason="holiday")
    for trigger in (ExecutionTrigger.SCHEDULE, ExecutionTrigger.MANUAL):
        assert record.refusal(trigger=trigger) == (
            "The job is paused; a person resumes it. ada paused it: holiday"
        )
    control.resume(JobType.PRICE_UPDATE, actor="ada", reason="back")
    record.succeed()
    trail = control.audit_trail(JobType.PRICE_UPDATE)
    assert [(row["new_status"], row["actor"], row["reason"]) for row in trail] == [
        (CLOSED, "ada", "back"),
        ("disabled", "ada", "holiday"),
    ]


def test_a_tripped_breaker_waits_for_a_person(record: JobRecord) -> None:
    control = JobControl(record.engine, lambda: record.at)
    control.trip(JobType.PRICE_UPDATE, actor="ada", reason="odd prices")
    assert record.refusal() == (
        "The breaker is open until a person resets it. The last error: ada opened it by hand: odd prices"
    )
    (message,) = record.ask("SELECT * FROM notifications")
    body = "odd prices. It waits for `trading jobs reset price_update`."
    assert (message["severity"], message["body"]) == ("critical", body)


def test_nobody_changes_a_job_without_saying_who_and_why(record: JobRecord) -> None:
    control = JobControl(record.engine, lambda: record.at)
    for given in ({"actor": "", "reason": "why"}, {"actor": "ada", "reason": " "}):
        with pytest.raises(InvalidInputError, match="is empty"):
            control.trip(JobType.PRICE_UPDATE, **given)
        with pytest.raises(InvalidInputError, match="is empty"):
            control.change_settings(JobType.PRICE_UPDATE, {"lease_s": 300}, **given)
    assert record.moves() == []


def test_a_changed_setting_takes_effect_and_is_on_record(record: JobRecord) -> None:
    control = JobControl(record.engine, lambda: record.at)
    control.change_settings(
        JobType.PRICE_UPDATE, {"failure_threshold": 1, "lease_s": 240}, actor="ada", reason="careful"
    )
    record.fail()
    assert record.job()["job_status"] == OPEN
    (change,) = record.ask("SELECT setting, old_value, new_value, actor, reason FROM job_setting_changes")
    assert change == {
        "setting": "failure_threshold",
        "old_value": 3,
        "new_value": 1,
        "actor": "ada",
        "reason": "careful",
    }
    assert control.settings(JobType.PRICE_UPDATE)["failure_threshold"] == 1


CONTENDERS = 6


def race(record: JobRecord, job_type: JobType = JobType.PRICE_UPDATE) -> list[Admitted | Skipped]:
    """Runs that all wait at the job's row, and are let go at once."""
    with ThreadPoolExecutor(CONTENDERS) as pool:
        with transaction(record.engine) as connection:
            jobs.hold_job(connection, job_type)
            asked: list[Future[Admitted | Skipped]] = [
                pool.submit(record.service.log_job_start, record.key(job_type)) for _ in range(CONTENDERS)
            ]
            assert not wait(asked, timeout=0.1).done
        return [future.result() for future in asked]


def test_of_many_runs_at_once_one_is_admitted(record: JobRecord) -> None:
    admitted = [a for a in race(record) if isinstance(a, Admitted)]
    assert len(admitted) == 1
    statuses = sorted(row["execution_status"] for row in record.rows())
    assert statuses == ["skipped"] * (CONTENDERS - 1) + ["started"]


def test_of_many_runs_at_once_one_is_the_probe(opened: JobRecord) -> None:
    opened.at += 2 * TICK
    admitted = [a for a in race(opened) if isinstance(a, Admitted)]
    assert [a.is_probe for a in admitted] == [True]
    assert opened.job()["probe_run_id"] == admitted[0].key.run_id
    assert opened.moves() == [(CLOSED, OPEN), (OPEN, HALF_OPEN)]


PROCESS = """
import sys
from datetime import datetime
from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.services.job_control import JobControl
from trading_orchestration.services.job_monitoring import JobMonitoringService
from trading_orchestration.store.database import create_engine
from trading_orchestration.store.jobs import RunKey
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
engine = create_engine(sys.argv[1], application_name="contender")
tick = datetime.fromisoformat(sys.argv[3])
service = JobMonitoringService(engine, INDEPENDENCE_WEEK, lambda: tick, jitter=lambda: 0.0)
key = RunKey(job_type=JobType.PRICE_UPDATE, run_id=sys.argv[2], trigger=ExecutionTrigger.SCHEDULE, tick=tick,
             session=tick.date())
print(type(service.log_job_start(key)).__name__)
"""


def test_of_two_processes_one_is_admitted(record: JobRecord, database_url: str) -> None:
    with ExitStack() as stack:
        with transaction(record.engine) as connection:
            jobs.hold_job(connection, JobType.PRICE_UPDATE)
            contenders = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", PROCESS, database_url, name, TEN.isoformat()],
                        stdout=subprocess.PIPE,
                        encoding="utf-8",
                    )
                )
                for name in ("one", "other")
            ]
            waiting = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
            while connection.execute(waiting).scalar_one() < len(contenders):
                assert all(contender.poll() is None for contender in contenders)
                connection.execute(sa.text("SELECT pg_sleep(0.05), pg_stat_clear_snapshot()"))
        assert sorted(contender.communicate()[0].strip() for contender in contenders) == [
            "Admitted",
            "Skipped",
        ]
