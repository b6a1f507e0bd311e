"""The demo, as a newcomer runs it: twenty real sessions, every job a Dagster run, books that balance."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import dagster as dg
import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.services.books_check import check_books
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration_tests.acceptance.conftest import Demo, opened_engine_and_instance

pytestmark = pytest.mark.xdist_group("acceptance")

SESSIONS = 20
JOBS_A_SESSION = {
    JobType.ORDER_STATUS_CHECK: 3,
    JobType.PRICE_UPDATE: 2,
    JobType.POSITION_SYNC: 3,
    JobType.STRATEGY_EXECUTION: 1,
    JobType.ALERT_PRICE_CHECK: 2,
    JobType.PORTFOLIO_SNAPSHOT: 1,
}


@pytest.fixture(scope="module")
def opened(demo: Demo) -> Iterator[tuple[Engine, dg.DagsterInstance]]:
    with opened_engine_and_instance(demo) as opened:
        yield opened


def test_it_trades_every_session_between_its_dates(demo: Demo) -> None:
    """Hurricane Sandy closed the exchange on 2012-10-29 and 30; 2012-11-22 was Thanksgiving."""
    assert demo.summary["sessions"] == SESSIONS
    assert (demo.summary["first_session"], demo.summary["last_session"]) == ("2012-10-24", "2012-11-23")


def test_both_portfolios_trade_and_are_valued(demo: Demo) -> None:
    assert {row["portfolio"] for row in demo.summary["portfolios"]} == {"growth", "income"}
    for row in demo.summary["portfolios"]:
        assert row["trades"] > 0
        assert Decimal(row["total_value"]) == Decimal(row["cash"]) + Decimal(row["positions_value"])


def test_every_job_ran_at_each_of_its_instants_and_none_failed(demo: Demo) -> None:
    jobs = {JobType(row["job_type"]): row for row in demo.summary["jobs"]}
    assert {job_type: row["completed"] for job_type, row in jobs.items()} == {
        job_type: SESSIONS * times for job_type, times in JOBS_A_SESSION.items()
    }
    assert all(row["failed"] == row["skipped"] == row["running"] == 0 for row in jobs.values())


def test_there_is_one_finished_row_for_every_dagster_run(
    opened: tuple[Engine, dg.DagsterInstance],
) -> None:
    engine, instance = opened
    replayed = dg.RunsFilter(tags={"trading/trigger": "replay"})
    runs = {run.run_id: run for run in instance.get_runs(replayed)}
    with transaction(engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT run_id, job_type, execution_status, session, finished_at FROM job_executions "
            "WHERE triggered_by = 'replay'"
        ).mappings()
        executions = {row["run_id"]: row for row in rows}
    assert len(runs) == SESSIONS * sum(JOBS_A_SESSION.values())
    assert executions.keys() == runs.keys()
    for run_id, run in runs.items():
        row = executions[run_id]
        assert (row["job_type"], row["execution_status"]) == (run.job_name, "completed")
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert row["finished_at"] is not None
        assert run.tags["trading/session"] == row["session"].isoformat()


def test_the_invariants_of_the_books_hold_on_the_rows(
    opened: tuple[Engine, dg.DagsterInstance],
) -> None:
    engine, _ = opened
    assert check_books(partial(transaction, engine)) == []


def test_our_books_and_the_paper_brokers_agree_to_the_last_digit(
    opened: tuple[Engine, dg.DagsterInstance],
) -> None:
    engine, _ = opened
    with transaction(engine) as connection:
        ours = connection.exec_driver_sql(
            "SELECT a.account_number, x.symbol, x.quantity FROM positions x "
            "JOIN portfolios p ON p.id = x.portfolio_id JOIN broker_accounts a ON a.id = p.broker_account_id "
            "WHERE x.quantity <> 0 UNION ALL "
            "SELECT a.account_number, 'cash', c.amount FROM cash_balances c "
            "JOIN portfolios p ON p.id = c.portfolio_id JOIN broker_accounts a ON a.id = p.broker_account_id"
        ).all()
        theirs = connection.exec_driver_sql(
            "SELECT account_number, symbol, quantity FROM paper.positions WHERE quantity <> 0 "
            "UNION ALL SELECT account_number, 'cash', cash FROM paper.accounts"
        ).all()
    assert Counter(map(tuple, ours)) == Counter(map(tuple, theirs))
    assert len(ours) > 2


def test_assets_are_materialised_with_what_a_person_reads(
    opened: tuple[Engine, dg.DagsterInstance],
) -> None:
    _, instance = opened
    snapshots = dg.AssetKey("portfolio_snapshots")
    assert len(instance.get_materialized_partitions(snapshots)) == SESSIONS
    event = instance.get_latest_materialization_event(snapshots)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert {"snapshots", "holdings", "equity", "total value"} <= set(metadata)
    assert "data:image/png;base64," in str(metadata["equity"].value)
    for name in ("quotes", "positions"):
        assert instance.get_latest_materialization_event(dg.AssetKey(name)) is not None
