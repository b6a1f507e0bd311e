"""What the harness calls wrong: each thing is found where it is, and nothing where all is well."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trading_orchestration.domain.job import ExecutionStatus, ExecutionTrigger, JobStatus, JobType
from trading_orchestration_tests.chaos.record_check import Move, Record, Row, Run, wrong

TICK = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
JOB = JobType.ORDER_STATUS_CHECK


def at(seconds: float) -> datetime:
    return TICK + timedelta(seconds=seconds)


RUN = Run(run_id="one", job=JOB, status="SUCCESS", created_at=at(0), ended_at=at(4))
ROW = Row(
    run_id="one",
    job=JOB,
    status=ExecutionStatus.COMPLETED,
    trigger=ExecutionTrigger.SCHEDULE,
    tick=TICK,
    is_probe=False,
    started_at=at(2),
    finished_at=at(3),
    error_class=None,
    folded_at=at(3),
    created_at=at(2),
)
OTHER_RUN = replace(RUN, run_id="two", created_at=at(60), ended_at=at(64))
OTHER = replace(
    ROW,
    run_id="two",
    tick=at(60),
    started_at=at(62),
    finished_at=at(63),
    folded_at=at(63),
    created_at=at(62),
)
GIVEN_UP = replace(ROW, status=ExecutionStatus.FAILED, error_class="LeaseLostError", finished_at=at(50))


def record(*rows: Row, runs: tuple[Run, ...] = (RUN, OTHER_RUN), moves: tuple[Move, ...] = ()) -> Record:
    return Record(runs=runs, rows=rows, moves=moves, stale_after={JOB: timedelta(seconds=30)})


def moved(status: JobStatus, seconds: float) -> Move:
    return Move(job=JOB, status=status, at=at(seconds))


def test_a_record_that_is_right_is_left_alone() -> None:
    assert wrong(record(ROW, OTHER)) == []
    assert record(ROW, OTHER).is_settled()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        pytest.param([ROW], "two has 0 rows", id="lost"),
        pytest.param([ROW, ROW, OTHER], "one has 2 rows", id="doubled"),
        pytest.param([ROW, OTHER, replace(OTHER, run_id="three", tick=at(120))], "no run of", id="invented"),
        pytest.param(
            [replace(ROW, status=ExecutionStatus.STARTED, finished_at=None), OTHER],
            "still started",
            id="open",
        ),
        pytest.param(
            [replace(ROW, status=ExecutionStatus.FAILED), OTHER],
            "SUCCESS in Dagster and failed",
            id="outcome",
        ),
        pytest.param([replace(ROW, job=JobType.PRICE_UPDATE), OTHER], "is a price_update", id="job"),
        pytest.param([replace(ROW, started_at=at(-1)), OTHER], "before it was made", id="too early"),
        pytest.param([replace(ROW, finished_at=at(9)), OTHER], "after its end in Dagster", id="too long"),
        pytest.param([ROW, replace(OTHER, tick=TICK)], "ran its tick of", id="tick twice"),
        pytest.param([ROW, replace(OTHER, tick=at(20))], "42 s late", id="stale"),
        pytest.param(
            [ROW, replace(OTHER, started_at=at(2.5), created_at=at(2.5))], "two runs of", id="at once"
        ),
    ],
)
def test_what_is_wrong_is_told(rows: list[Row], sentence: str) -> None:
    limits = {job: timedelta(seconds=30) for job in JobType}
    found = wrong(replace(record(*rows), stale_after=limits))
    assert any(sentence in one for one in found), found


def test_a_run_that_hangs_in_dagster_is_told() -> None:
    hanging = replace(OTHER_RUN, status="STARTED", ended_at=None)
    found = record(ROW, OTHER, runs=(RUN, hanging))
    assert wrong(found) == [
        "order_status_check two is still STARTED in Dagster",
        "order_status_check two is STARTED in Dagster and completed in the record",
    ]
    assert not found.is_settled()


def test_a_run_that_was_given_up_may_be_closed_after_dagster_saw_its_end() -> None:
    failed = replace(RUN, status="FAILURE", ended_at=at(40))
    assert wrong(record(GIVEN_UP, OTHER, runs=(failed, OTHER_RUN))) == []


def test_no_run_begins_while_the_breaker_is_open() -> None:
    opened = moved(JobStatus.ERROR, 10)
    (sentence,) = wrong(record(ROW, OTHER, moves=(opened,)))
    assert "while its breaker was error" in sentence
    assert wrong(record(ROW, replace(OTHER, status=ExecutionStatus.SKIPPED), moves=(opened,))) == []
    written_later = replace(OTHER, status=ExecutionStatus.FAILED, created_at=at(70))
    failed = replace(OTHER_RUN, status="FAILURE")
    assert wrong(record(ROW, written_later, runs=(RUN, failed), moves=(opened,))) == []


def test_a_breaker_that_is_half_open_lets_probes_in_one_after_the_other() -> None:
    moves = (moved(JobStatus.ERROR, 10), moved(JobStatus.PROBING, 61))
    (sentence,) = wrong(record(ROW, OTHER, moves=moves))
    assert "was no probe" in sentence
    probe = replace(OTHER, is_probe=True)
    assert wrong(record(ROW, probe, moves=moves)) == []
    second = replace(probe, run_id="three", tick=at(30), started_at=at(62.5))
    third = replace(OTHER_RUN, run_id="three")
    found = wrong(record(ROW, probe, second, runs=(RUN, OTHER_RUN, third), moves=moves))
    assert any("two probes" in sentence for sentence in found)


def test_the_lag_counts_what_the_sensor_closed() -> None:
    assert record(ROW, replace(OTHER, folded_at=at(69))).lags() == [5.0]
