"""Asset checks on real books: green where all is well, and a sentence for what is not."""

from datetime import timedelta

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration.checks import (
    ALL,
    CHECKS,
    Check,
    Seen,
    asset_checks_sensor,
    look,
    report_checks,
)
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.services.standing_checks import Finding
from trading_orchestration_tests.fixtures.market_calendars import new_york
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER

BY_KEY = {check.key: check for check in ALL}
UNLOCK_SNAPSHOTS = "ALTER TABLE portfolio_snapshots DROP CONSTRAINT total_is_cash_plus_positions"


def found(installation: Installation, key: str) -> Finding:
    return BY_KEY[key].look(installation.open())


def switch_on(installation: Installation, job_type: JobType = JobType.PRICE_UPDATE) -> None:
    installation.change(f"UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE job_type = '{job_type}'")


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.key)
def test_right_books_pass_every_check(traded: Installation, check: Check) -> None:
    finding = check.look(traded.open())
    assert finding.has_passed, finding.problems
    assert finding.summary


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.key)
def test_an_empty_installation_passes_every_check(installation: Installation, check: Check) -> None:
    switch_on(installation)
    assert check.look(installation.open()).has_passed


def test_quotes_are_fresh_from_one_update_to_the_alarm_after_the_next(traded: Installation) -> None:
    switch_on(traded)
    traded.at = new_york("2012-11-09 15:00")
    assert traded.run(JobType.PRICE_UPDATE).success
    for at in ("2012-11-09 15:04", "2012-11-09 15:10:59"):
        traded.at = new_york(at)
        assert found(traded, "quotes.fresh").has_passed, at
    traded.at = new_york("2012-11-09 15:11")
    problems = found(traded, "quotes.fresh").problems
    assert "AAPL was last quoted at 2012-11-09 15:00." in problems
    assert len(problems) == 4
    (told,) = [e for e in look(traded.open(), Seen()) if e.check_name == "fresh"]
    assert (told.description or "").endswith(" And 1 more.")
    assert told.metadata["wrong"] == dg.MetadataValue.int(4)


def test_a_symbol_without_a_quote_is_not_fresh(traded: Installation) -> None:
    switch_on(traded)
    traded.run(JobType.PRICE_UPDATE)
    traded.change("DELETE FROM quotes WHERE symbol = 'IBM'")
    assert found(traded, "quotes.fresh").problems == ("IBM has no quote.",)


def test_quotes_of_the_close_are_fresh_until_the_next_session(traded: Installation) -> None:
    switch_on(traded)
    traded.run(JobType.PRICE_UPDATE)
    traded.at = new_york("2012-11-09 09:35")
    assert found(traded, "quotes.fresh").has_passed
    traded.at = new_york("2012-11-09 09:36")
    assert not found(traded, "quotes.fresh").has_passed


def test_nothing_is_due_while_price_updates_are_switched_off(traded: Installation) -> None:
    traded.at += timedelta(days=365)
    assert found(traded, "quotes.fresh") == Finding("price_update is switched off; no quote is due.")


def test_a_difference_that_was_not_repaired_fails_until_the_next_comparison(traded: Installation) -> None:
    traded.run(JobType.POSITION_SYNC)
    counts = '{"compared": 5, "discrepancies": 2, "repaired": 1}'
    traded.change(f"UPDATE job_executions SET counts = '{counts}'")
    assert found(traded, "positions.equal_the_brokers").problems == (
        "1 of 2 differences were too large to repair unseen; trading is halted.",
    )
    traded.run(JobType.POSITION_SYNC)
    assert found(traded, "positions.equal_the_brokers").has_passed


def test_a_cache_that_left_the_ledger_is_told(traded: Installation) -> None:
    traded.change("UPDATE cash_balances SET amount = amount + 1")
    (problem,) = found(traded, "positions.equal_the_ledger").problems
    assert problem.startswith("growth: the cached cash is ")


def test_a_snapshot_that_does_not_add_up_is_told(traded: Installation) -> None:
    traded.change(UNLOCK_SNAPSHOTS)
    traded.change("UPDATE portfolio_snapshots SET total_value = 1 WHERE session = '2012-11-08'")
    (problem,) = found(traded, "portfolio_snapshots.add_up").problems
    assert problem.startswith("growth on 2012-11-08: the total is 1.00, and cash and positions add up to ")


def test_a_position_that_is_lost_from_a_snapshot_is_told(traded: Installation) -> None:
    traded.change("DELETE FROM portfolio_snapshot_positions WHERE session = '2012-11-08'")
    assert len(found(traded, "portfolio_snapshots.add_up").problems) == 1


def test_a_session_without_a_snapshot_is_told(traded: Installation) -> None:
    traded.change("DELETE FROM portfolio_snapshots WHERE session IN ('2012-10-26', '2012-11-01')")
    assert found(traded, "portfolio_snapshots.no_session_missing").problems == [
        "growth has no snapshot of 2012-10-26, 2012-11-01."
    ]


def test_a_session_after_the_newest_snapshot_is_missing_while_the_job_is_switched_on(
    traded: Installation,
) -> None:
    """Bars go on to March 2013."""
    assert found(traded, "portfolio_snapshots.no_session_missing").has_passed
    switch_on(traded, JobType.PORTFOLIO_SNAPSHOT)
    assert found(traded, "portfolio_snapshots.no_session_missing").problems == [
        (
            "growth has no snapshot of 2012-11-09, 2012-11-12, 2012-11-13, 2012-11-14, 2012-11-15 "
            "and 71 more sessions."
        )
    ]


def test_a_session_before_the_first_deposit_or_without_bars_is_not_missing(traded: Installation) -> None:
    traded.change("DELETE FROM bars WHERE session = '2012-11-01'")
    traded.change("DELETE FROM portfolio_snapshots WHERE session = '2012-11-01'")
    assert found(traded, "portfolio_snapshots.no_session_missing").has_passed


def names(evaluations: list[dg.AssetCheckEvaluation]) -> list[tuple[str, bool]]:
    return [(f"{e.asset_key.to_user_string()}.{e.check_name}", e.passed) for e in evaluations]


def test_only_news_is_told(traded: Installation) -> None:
    seen = Seen()
    assert names(list(look(traded.open(), seen))) == [(check.key, True) for check in ALL]
    seen = Seen.read(seen.text)
    assert list(look(traded.open(), seen)) == []
    traded.change("DELETE FROM portfolio_snapshots WHERE session = '2012-11-01'")
    assert list(look(traded.open(), seen)) == []  # until a snapshot is taken
    traded.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2012-11-08")
    assert names(list(look(traded.open(), seen))) == [("portfolio_snapshots.no_session_missing", False)]
    traded.at += timedelta(hours=13)
    assert len(list(look(traded.open(), seen))) == 3  # what holds each minute is told again twice a day


def test_the_sensor_tells_dagster_and_people_of_a_failure_once(traded: Installation) -> None:
    """And Dagster again once the asset is materialised: the UI shows older evaluations as none."""
    traded.change("DELETE FROM portfolio_snapshot_positions WHERE session = '2012-11-08'")
    with dg.build_sensor_context(traded.instance) as context:
        first = asset_checks_sensor(context, trading=TradingResource())
    assert isinstance(first, dg.SensorResult)
    failed = [
        event
        for event in first.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and not event.passed
    ]
    assert [event.check_name for event in failed] == ["equal_the_ledger", "add_up"]
    with dg.build_sensor_context(traded.instance, cursor=first.cursor) as context:
        second = asset_checks_sensor(context, trading=TradingResource())
    assert isinstance(second, dg.SensorResult)
    assert second.asset_events == []
    traded.run(JobType.POSITION_SYNC)
    with dg.build_sensor_context(traded.instance, cursor=second.cursor) as context:
        third = asset_checks_sensor(context, trading=TradingResource())
    assert isinstance(third, dg.SensorResult)
    again = [event for event in third.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert names(again) == [("positions.equal_the_brokers", True), ("positions.equal_the_ledger", False)]
    assert [event.description for event in again[1:]] == [failed[0].description]
    messages = traded.ask("SELECT title, severity FROM notifications WHERE kind = 'check' ORDER BY title")
    assert messages == [
        {"title": "Check failed: portfolio_snapshots add_up", "severity": "critical"},
        {"title": "Check failed: positions equal_the_ledger", "severity": "critical"},
    ]


def test_people_are_told_once_that_a_check_holds_again(traded: Installation) -> None:
    """Also where the evaluation is repeated, for its cursor was not kept; not of what is only a warning."""

    def evaluate(cursor: str | None) -> str | None:
        with dg.build_sensor_context(traded.instance, cursor=cursor) as context:
            result = asset_checks_sensor(context, trading=TradingResource())
        assert isinstance(result, dg.SensorResult)
        return result.cursor

    def told() -> list[dict[str, object]]:
        return traded.ask("SELECT title, body, severity FROM notifications WHERE kind = 'check' ORDER BY id")

    switch_on(traded)
    traded.run(JobType.PRICE_UPDATE)
    traded.change("UPDATE bars SET volume = 0 WHERE symbol = 'IBM' AND session = '2012-11-08'")
    traded.at = new_york("2012-11-09 09:40")
    failing = evaluate(evaluate(None))
    assert [key for key, one in Seen.read(failing).told.items() if one.wrong] == [
        "quotes.fresh",
        "daily_bars.plausible",
    ]
    assert [message["title"] for message in told()] == ["Check failed: quotes fresh"]
    traded.run(JobType.PRICE_UPDATE)
    traded.change("UPDATE bars SET volume = 10 WHERE symbol = 'IBM' AND session = '2012-11-08'")
    holding = evaluate(failing)
    evaluate(failing)
    assert told()[1:] == [
        {
            "title": "Check holds again: quotes fresh",
            "body": "Quotes of 4 symbols were due at 2012-11-09 09:30.",
            "severity": "info",
        }
    ]
    traded.change("UPDATE scheduled_jobs SET scheduled_since = NULL")
    traded.at += timedelta(hours=13)
    evaluate(holding)
    assert len(told()) == 2


def test_checks_stand_in_the_ui_without_a_run(traded: Installation) -> None:
    assert report_checks(traded.instance, traded.open()) == 0
    for check in ALL:
        key = dg.AssetCheckKey(dg.AssetKey(check.asset), check.name)
        records = traded.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
        evaluation = records[key].evaluation
        assert evaluation is not None
        assert evaluation.passed
        assert evaluation.description


def test_a_person_may_look_at_every_check_in_the_ui(traded: Installation) -> None:
    checks = dg.define_asset_job("all_checks", dg.AssetSelection.all_asset_checks())
    assets = traded.definitions.assets
    job = dg.Definitions(
        assets, asset_checks=CHECKS, jobs=[checks], resources={"trading": TradingResource()}
    ).resolve_job_def("all_checks")
    result = job.execute_in_process(instance=traded.instance)
    assert {(e.check_name, e.passed) for e in result.get_asset_check_evaluations()} == {
        (check.name, True) for check in ALL
    }
