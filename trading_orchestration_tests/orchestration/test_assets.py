"""The three assets on real books: partitions, materialisations, backfills and what the UI shows of them."""

import base64
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.orchestration.assets import session_partitions
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, TODAY, Installation

pytestmark = ON_DAGSTER

ASSETS = {JobType.PRICE_UPDATE: "quotes", JobType.POSITION_SYNC: "positions"}


def metadata_of(installation: Installation, run_id: str) -> dict[str, Any]:
    (found,) = installation.materialisations(run_id)
    return {
        name: value if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in found.metadata.items()
    }


def table_of(metadata: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [record.data for record in metadata[name].records]


@pytest.mark.parametrize("exchange", ["XNYS", "XTKS", "XTAE", "24/7"])
def test_there_is_a_partition_for_each_session_of_the_exchange(
    exchange: str, calendar: MarketCalendar, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if exchange != "XNYS":
        cache = tmp_path_factory.getbasetemp() / "calendars"
        calendar = load_calendar(exchange, today=TODAY, cache_directory=cache)
    partitions = session_partitions(calendar)
    first, last = date(2000, 1, 3), date(2026, 11, 20)
    now = calendar.session(last).opens_at
    sessions = [session.date.isoformat() for session in calendar.sessions_between(first, last)]
    with partition_loading_context(effective_dt=now):
        assert partitions.get_partition_keys() == sessions


def test_partitions_go_by_the_hours_file(
    tmp_path: Path, calendar: MarketCalendar, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "hours.yaml").write_text("2024-07-02: closed\n2024-07-06: {opens: 10:00, closes: 10:40}\n")
    special = load_calendar(
        "XNYS",
        today=TODAY,
        cache_directory=tmp_path_factory.getbasetemp() / "calendars",
        hours_file=tmp_path / "hours.yaml",
    )
    with partition_loading_context(effective_dt=calendar.session(date(2024, 7, 8)).opens_at):
        assert session_partitions(special).get_partition_keys()[-5:] == [
            "2024-07-01",
            "2024-07-03",
            "2024-07-05",
            "2024-07-06",
            "2024-07-08",
        ]


def test_todays_session_has_a_partition_before_it_closes(calendar: MarketCalendar) -> None:
    now = calendar.session(date(2024, 7, 10)).opens_at
    with partition_loading_context(effective_dt=now):
        assert session_partitions(calendar).get_last_partition_key() == "2024-07-10"


def test_quotes_are_materialised_with_their_prices(traded: Installation) -> None:
    result = traded.run(JobType.PRICE_UPDATE)
    found = metadata_of(traded, result.run_id)
    assert {name: found[name] for name in ("symbols", "updated", "failed")} == {
        "symbols": 4,
        "updated": 4,
        "failed": 0,
    }
    prices = {row["symbol"]: row["price"] for row in table_of(found, "prices")}
    # Closes of 2012-11-08 in the sample data.
    assert prices == {"AAPL": "537.75", "GOOG": "652.29", "IBM": "190.10", "MSFT": "28.81"}


def test_symbols_without_a_price_are_listed_with_the_reason(traded: Installation) -> None:
    traded.change("DELETE FROM bars WHERE symbol = 'IBM'")
    found = metadata_of(traded, traded.run(JobType.PRICE_UPDATE).run_id)
    assert (found["updated"], found["failed"]) == (3, 1)
    (missing,) = table_of(found, "missing")
    assert missing["symbol"] == "IBM"
    assert missing["reason"].startswith("No bar of IBM begins by 2012-11-08")


def test_positions_are_materialised_with_what_is_held(traded: Installation) -> None:
    found = metadata_of(traded, traded.run(JobType.POSITION_SYNC).run_id)
    held = traded.ask("SELECT symbol, quantity FROM positions WHERE quantity <> 0 ORDER BY symbol")
    assert held
    assert [row["symbol"] for row in table_of(found, "positions")] == [row["symbol"] for row in held]
    assert (found["portfolios"], found["discrepancies"]) == (1, 0)


def test_a_snapshot_is_materialised_with_its_totals_and_a_plot(traded: Installation) -> None:
    result = traded.run(JobType.PORTFOLIO_SNAPSHOT, partition_key="2012-11-08")
    (event,) = traded.materialisations(result.run_id)
    assert event.partition == "2012-11-08"
    found = metadata_of(traded, result.run_id)
    (kept,) = traded.ask("SELECT * FROM portfolio_snapshots WHERE session = '2012-11-08'")
    assert found["total value"] == round(float(kept["total_value"]), 2)
    assert table_of(found, "snapshots")[0]["portfolio"] == "growth"
    image = found["equity"].removeprefix("![equity](data:image/png;base64,").removesuffix(")")
    assert base64.b64decode(image).startswith(b"\x89PNG")


def backfill(installation: Installation, first: str, last: str) -> dg.ExecuteInProcessResult:
    """What the asset page launches for a range of partitions."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return installation.run(JobType.PORTFOLIO_SNAPSHOT, tags=tags)


def test_a_range_is_filled_in_by_one_run(traded: Installation) -> None:
    before = traded.ask("SELECT portfolio_id, session, total_value FROM portfolio_snapshots ORDER BY 2")
    traded.change("DELETE FROM portfolio_snapshots")
    result = backfill(traded, "2012-10-24", "2012-11-08")
    assert result.success
    row = traded.row(result.run_id)
    assert (row["triggered_by"], str(row["session"])) == ("backfill", "2012-11-08")
    # 29 and 30 October: closed by a hurricane.
    assert row["counts"] == {"portfolios": 1, "snapshots": 10}
    assert before == traded.ask(
        "SELECT portfolio_id, session, total_value FROM portfolio_snapshots ORDER BY 2"
    )


def test_each_session_of_a_range_has_its_own_metadata_and_the_last_the_plot(traded: Installation) -> None:
    events = traded.materialisations(backfill(traded, "2012-10-24", "2012-10-31").run_id)
    assert [event.partition for event in events] == [
        "2012-10-24",
        "2012-10-25",
        "2012-10-26",
        "2012-10-31",
    ]
    assert [event.metadata["session"].value for event in events] == [event.partition for event in events]
    assert ["equity" in event.metadata for event in events] == [False, False, False, True]


def test_what_has_not_closed_is_left_out_of_a_range(traded: Installation) -> None:
    """A person chooses all sessions in the middle of one; were the run to fail, all would turn red."""
    result = backfill(traded, "2012-11-07", "2012-11-09")
    assert result.success
    assert str(traded.row(result.run_id)["session"]) == "2012-11-08"
    assert [m.partition for m in traded.materialisations(result.run_id)] == ["2012-11-07", "2012-11-08"]
    logged = [entry.user_message for entry in traded.instance.all_logs(result.run_id)]
    assert "Left out, because it has not closed yet: 2012-11-09." in logged


def test_a_range_of_which_nothing_has_closed_is_refused(traded: Installation) -> None:
    result = backfill(traded, "2012-11-09", "2012-11-12")
    reason = "2012-11-12 closes at 16:00 of that day; it cannot be valued before."
    assert not result.success
    assert traded.row(result.run_id)["skip_reason"] == reason
    assert traded.materialisations(result.run_id) == []


def test_a_portfolio_snapshot_without_a_session_is_refused_and_no_fault_of_the_job(
    traded: Installation,
) -> None:
    """`dagster job launch` lets a person leave the partition out; Dagster fails such a run by itself."""
    bars = dg.AssetMaterialization("daily_bars", partition="2012-11-08")
    traded.instance.report_runless_asset_event(bars)
    result = traded.run(JobType.PORTFOLIO_SNAPSHOT)
    assert not result.success
    traded.record_runs()
    row = traded.row(result.run_id)
    assert row["execution_status"] == "skipped"
    assert row["skip_reason"] == "It was launched without a session; choose a partition, such as 2024-07-03."
    (job,) = traded.ask("SELECT job_status FROM scheduled_jobs WHERE job_type = 'portfolio_snapshot'")
    assert job["job_status"] == "enabled"


def test_the_ui_shows_whence_each_asset_comes_and_whose_it_is(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        name: {parent.to_user_string() for parent in graph.get(dg.AssetKey(name)).parent_keys}
        for name in ("quotes", "positions", "portfolio_snapshots")
    }
    assert parents == {
        "quotes": set(),
        "positions": {"quotes"},
        "portfolio_snapshots": {"quotes", "positions", "daily_bars"},
    }
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.owners == ["team:trading"]
        assert node.kinds
        assert node.group_name != "default"
