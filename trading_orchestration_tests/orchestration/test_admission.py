"""What every job does first and last, in real Dagster runs: its row, its tags, its words."""

import logging
from datetime import UTC, timedelta

import dagster as dg
import pytest

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.errors import DatabaseUnavailableError, MarketDataUnavailableError
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.wiring import Trading
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER

PARENT = {"dagster/parent_run_id": "earlier", "dagster/root_run_id": "earlier"}


def tick_tags(
    job_type: JobType, tick: str, trigger: ExecutionTrigger = ExecutionTrigger.SCHEDULE
) -> dict[str, str]:
    return tags.tick_tags(job_type, new_york(tick), tick[:10], trigger)


def failure_of(result: dg.ExecuteInProcessResult) -> str | None:
    """What the UI shows of a failed step."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    return data.description if data else None


@pytest.mark.parametrize(
    "job_type", sorted(set(JobType) - {JobType.STRATEGY_EXECUTION, JobType.PORTFOLIO_SNAPSHOT})
)
def test_a_job_launched_by_hand_runs_for_now(installation: Installation, job_type: JobType) -> None:
    result = installation.run(job_type)
    row = installation.row(result.run_id)
    assert result.success
    assert (row["job_type"], row["execution_status"], row["triggered_by"]) == (
        job_type.value,
        "completed",
        "manual",
    )
    assert (row["tick"], str(row["session"])) == (installation.at, "2024-07-10")


def test_a_run_tells_by_its_tags_what_it_was_about_and_how_it_ended(traded: Installation) -> None:
    result = traded.run(JobType.PRICE_UPDATE)
    found = traded.tags(result.run_id)
    assert found[tags.JOB] == "price_update"
    assert found[tags.SESSION] == "2012-11-08"
    assert found[tags.TICK] == traded.at.astimezone(UTC).isoformat()
    assert found[tags.TRIGGER] == "manual"
    assert found[tags.OUTCOME] == "completed"
    assert tags.REASON not in found
    assert found[tags.COUNTS] == "symbols 4, updated 4, failed 0"
    assert tags.PROBE not in found


def test_counts_that_stayed_at_zero_are_in_the_record(installation: Installation) -> None:
    result = installation.run(JobType.ORDER_STATUS_CHECK)
    assert set(installation.row(result.run_id)["counts"]) == {
        "checked",
        "filled",
        "partially_filled",
        "cancelled",
        "rejected",
    }


def test_a_scheduled_run_is_for_its_tick(installation: Installation) -> None:
    installation.at += timedelta(seconds=5)
    result = installation.run(JobType.PRICE_UPDATE, tags=tick_tags(JobType.PRICE_UPDATE, "2024-07-10 10:00"))
    row = installation.row(result.run_id)
    assert (row["triggered_by"], row["tick"]) == ("schedule", new_york("2024-07-10 10:00"))


def test_a_run_that_comes_too_late_is_skipped_with_its_reason(installation: Installation) -> None:
    installation.at += timedelta(minutes=5)
    result = installation.run(JobType.PRICE_UPDATE, tags=tick_tags(JobType.PRICE_UPDATE, "2024-07-10 10:00"))
    reason = "The tick of 2024-07-10 14:00:00 UTC is 5 min old; price_update runs at most 120 s late."
    assert result.success
    assert installation.row(result.run_id)["skip_reason"] == reason
    assert installation.tags(result.run_id)[tags.OUTCOME] == "skipped"
    assert installation.tags(result.run_id)[tags.REASON] == reason
    logged = [entry.user_message for entry in installation.instance.all_logs(result.run_id)]
    assert f"Skipped: {reason}" in logged
    assert installation.materialisations(result.run_id) == []


def test_a_run_that_is_executed_again_is_a_persons_doing(installation: Installation) -> None:
    """It carries the old tags, those of its old outcome too."""
    installation.at += timedelta(hours=1)
    old = {tags.OUTCOME: "skipped", tags.PROBE: "true", **PARENT}
    result = installation.run(
        JobType.PRICE_UPDATE, tags={**tick_tags(JobType.PRICE_UPDATE, "2024-07-10 10:00"), **old}
    )
    row, found = installation.row(result.run_id), installation.tags(result.run_id)
    assert (row["triggered_by"], row["tick"]) == ("manual", installation.at)
    assert (found[tags.OUTCOME], found[tags.PROBE], found[tags.TRIGGER]) == ("completed", "false", "manual")


def test_a_snapshot_that_is_executed_again_is_of_its_partition(traded: Installation) -> None:
    old = tick_tags(JobType.PORTFOLIO_SNAPSHOT, "2012-11-07 16:05")
    result = traded.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2012-11-07", tags={**old, **PARENT})
    row = traded.row(result.run_id)
    assert (row["triggered_by"], str(row["session"])) == ("backfill", "2012-11-07")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({tags.TICK: "noon"}, "The tag trading/tick was 'noon'; it must be an instant such as"),
        (
            {tags.TICK: "2024-07-10T10:00"},
            "The tag trading/tick was '2024-07-10T10:00'; it must be an instant",
        ),
        ({tags.TRIGGER: "whim"}, "The tag trading/trigger was 'whim'; it must be one of schedule, manual"),
    ],
)
def test_a_tag_that_nobody_can_read_makes_a_run_skip(
    installation: Installation, broken: dict[str, str], reason: str
) -> None:
    given = tick_tags(JobType.PRICE_UPDATE, "2024-07-10 10:00") | broken
    result = installation.run(JobType.PRICE_UPDATE, tags=given)
    assert installation.row(result.run_id)["skip_reason"].startswith(reason)


@pytest.mark.parametrize("day", ["2024-07-10", "2024-07-11"])
def test_a_session_that_has_not_closed_is_not_snapshotted(installation: Installation, day: str) -> None:
    """Who chose it sees a run that failed, with the reason; it is no failure of the job."""
    result = installation.run(JobType.PORTFOLIO_SNAPSHOT, partition_key=day)
    reason = f"{day} closes at 16:00 of that day; it cannot be valued before."
    assert not result.success
    assert failure_of(result) == reason
    installation.record_runs()
    row = installation.row(result.run_id)
    assert (row["execution_status"], row["skip_reason"]) == ("skipped", reason)
    assert row["triggered_by"] == "backfill"
    assert installation.materialisations(result.run_id) == []
    of_sensor = {"dagster/sensor_name": "job_watch_sensor"}
    assert installation.run(JobType.PORTFOLIO_SNAPSHOT, partition_key=day, tags=of_sensor).success


def test_a_strategy_run_by_hand_on_a_closed_market_is_skipped(installation: Installation) -> None:
    installation.at = new_york("2024-07-13 12:00")
    result = installation.run(JobType.STRATEGY_EXECUTION)
    assert installation.row(result.run_id)["skip_reason"] == (
        "XNYS is closed; strategy_execution trades in market hours only."
    )


def test_a_probe_is_marked_as_one_and_tells_what_became_of_the_breaker(installation: Installation) -> None:
    installation.change("UPDATE scheduled_jobs SET job_status = 'error', needs_person = true")
    for state in ("half open", "closed"):
        result = installation.run(JobType.PRICE_UPDATE)
        found = installation.tags(result.run_id)
        assert (found[tags.PROBE], found[tags.BREAKER]) == ("true", state)
        assert installation.row(result.run_id)["is_probe"]
    result = installation.run(JobType.PRICE_UPDATE)
    assert tags.BREAKER not in installation.tags(result.run_id)


def refuse_prices(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_given: object) -> None:
        raise error

    monkeypatch.setattr(Trading, "update_prices", refuse)


def test_an_error_of_ours_is_told_in_one_sentence(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_prices(monkeypatch, MarketDataUnavailableError("fmp does not answer."))
    result = installation.run(JobType.PRICE_UPDATE)
    assert not result.success
    assert failure_of(result) == "fmp does not answer."
    row = installation.row(result.run_id)
    assert (row["execution_status"], row["error_class"], row["error_message"]) == (
        "failed",
        "MarketDataUnavailableError",
        "fmp does not answer.",
    )
    found = installation.tags(result.run_id)
    assert (found[tags.OUTCOME], found[tags.REASON]) == ("failed", "fmp does not answer.")
    errors = [e for e in installation.instance.all_logs(result.run_id) if int(e.level) >= logging.ERROR]
    assert errors[0].user_message == "fmp does not answer."
    assert errors[1].dagster_event_type is dg.DagsterEventType.STEP_FAILURE
    assert installation.materialisations(result.run_id) == []


def test_a_defect_keeps_its_stack(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_prices(monkeypatch, ZeroDivisionError("division by zero"))
    result = installation.run(JobType.PRICE_UPDATE)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error is not None
    assert event.step_failure_data.error.cause is not None
    assert event.step_failure_data.error.cause.cls_name == "ZeroDivisionError"
    assert installation.row(result.run_id)["error_class"] == "ZeroDivisionError"


def test_a_database_that_is_away_is_told_in_one_sentence(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: TradingResource) -> Trading:
        raise DatabaseUnavailableError("PostgreSQL does not answer.")

    monkeypatch.setattr(TradingResource, "open", refuse)
    result = installation.run(JobType.PRICE_UPDATE)
    assert failure_of(result) == "PostgreSQL does not answer."
    assert installation.rows(result.run_id) == []


def test_a_part_that_failed_fails_the_run_after_the_rest_was_done(traded: Installation) -> None:
    """What is held has no close of the session; the counts tell what could be done."""
    traded.change("DELETE FROM bars WHERE session = '2012-11-08'")
    result = traded.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2012-11-08")
    assert not result.success
    row = traded.row(result.run_id)
    assert (row["error_class"], row["counts"]["snapshots"]) == ("JobFailedError", 0)
    assert "has no close in 2012-11-08; its last one is of 2012-11-07" in row["error_message"]
    assert traded.materialisations(result.run_id) == []


def test_several_assets_may_be_materialised_by_one_run(traded: Installation) -> None:
    job = traded.definitions.resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey("quotes"), dg.AssetKey("positions")]
    result = job.execute_in_process(instance=traded.instance, asset_selection=selected)
    rows = traded.rows(result.run_id)
    assert [(row["job_type"], row["execution_status"]) for row in rows] == [
        ("price_update", "completed"),
        ("position_sync", "completed"),
    ]
    assert [m.asset_key for m in traded.materialisations(result.run_id)] == selected


def test_a_replay_never_trades_at_a_broker_outside(traded: Installation) -> None:
    traded.change("UPDATE broker_accounts SET broker = 'alpaca'")
    given = tick_tags(JobType.STRATEGY_EXECUTION, "2012-11-09 09:30", ExecutionTrigger.REPLAY)
    result = traded.run(JobType.STRATEGY_EXECUTION, tags=given)
    assert failure_of(result) == (
        "A replay trades at the paper broker only, and there are accounts at alpaca."
    )
