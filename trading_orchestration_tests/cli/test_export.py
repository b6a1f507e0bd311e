"""`trading export`: what is in the files is what is in the tables."""

import csv
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from trading_orchestration.store import exports
from trading_orchestration.store.database import query, transaction
from trading_orchestration_tests.cli.command import Trading
from trading_orchestration_tests.fixtures.traded_week import execute

TABLES = ("trades", "fills", "snapshots", "executions")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_becomes_a_file(fixed_week: Trading, tmp_path: Path) -> None:
    ran = fixed_week("export", *TABLES, "--output", tmp_path, "--json")
    assert [(of["table"], of["rows"]) for of in ran.json] == [
        ("trades", 6),
        ("fills", 6),
        ("snapshots", 4),
        ("executions", 0),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{table}.csv" for table in TABLES)
    assert len(rows_of(tmp_path / "trades.csv")) == 6


def test_the_file_holds_the_ledger_to_the_last_digit(fixed_week: Trading, tmp_path: Path) -> None:
    assert fixed_week("export", "fills", "snapshots", "--output", tmp_path).code == 0
    fills = rows_of(tmp_path / "fills.csv")
    spent = sum(
        (-1 if fill["side"] == "buy" else 1) * Decimal(fill["quantity"]) * Decimal(fill["price"])
        - Decimal(fill["fee"])
        for fill in fills
    )
    last = rows_of(tmp_path / "snapshots.csv")[-1]
    assert Decimal(last["cash"]) == 1100 + spent
    assert last["total_value"] == "1103.6"
    assert last["session"] == "2024-07-08"
    assert fills[0]["executed_at"] == "2024-07-02T14:00:00+00:00"
    assert (fills[0]["is_late"], fills[0]["broker_execution_id"]) == ("false", "1-0")


def test_nothing_is_an_empty_cell_and_text_stays_whole(
    week: Trading, week_engine: sa.Engine, tmp_path: Path
) -> None:
    execute(week_engine, "UPDATE trades SET status_reason = :why WHERE id = 1", why='said "no", twice\nor so')
    week("export", "trades", "--output", tmp_path)
    first, *others = rows_of(tmp_path / "trades.csv")
    assert first["status_reason"] == 'said "no", twice\nor so'
    assert (others[0]["status_reason"], others[0]["limit_price"]) == ("", "")
    assert others[2]["strategy"] == ""


def test_sessions_bound_what_comes(fixed_week: Trading, tmp_path: Path) -> None:
    """A session reaches from the close before it to its own."""
    options = ("--from", "2024-07-03", "--to", "2024-07-05", "--output", tmp_path)
    assert fixed_week("export", "fills", "snapshots", *options).code == 0
    assert [fill["id"] for fill in rows_of(tmp_path / "fills.csv")] == ["2", "3", "4", "5"]
    assert [row["session"] for row in rows_of(tmp_path / "snapshots.csv")] == ["2024-07-03", "2024-07-05"]


def test_a_portfolio_bounds_what_comes(week: Trading, week_engine: sa.Engine, tmp_path: Path) -> None:
    execute(week_engine, "INSERT INTO portfolios (broker_account_id, name) VALUES (1, 'other')")
    execute(week_engine, "INSERT INTO cash_balances (portfolio_id, amount) VALUES (2, 0)")
    found = week("export", "trades", "--portfolio", "other", "--output", tmp_path, "--json")
    assert found.json[0]["rows"] == 0
    assert (
        week("export", "trades", "--portfolio", "main", "--output", tmp_path, "--json").json[0]["rows"] == 6
    )


def test_executions_come_with_their_counts(week: Trading, week_engine: sa.Engine, tmp_path: Path) -> None:
    execute(
        week_engine,
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, session, execution_status, "
        "started_at, finished_at, counts) VALUES ('price_update', 'run', 'schedule', '2024-07-03T14:00Z', "
        "'2024-07-03', 'completed', '2024-07-03T14:00:01Z', '2024-07-03T14:00:02.5Z', "
        "CAST(:counts AS jsonb))",
        counts='{"symbols": 3}',
    )
    week("export", "executions", "--output", tmp_path)
    (row,) = rows_of(tmp_path / "executions.csv")
    assert (row["counts"], row["duration_ms"], row["is_probe"]) == ('{"symbols": 3}', "1500", "false")


def test_one_table_goes_to_stdout(fixed_week: Trading) -> None:
    lines = fixed_week("export", "fills", "--output", "-").out.splitlines()
    assert lines[0].startswith("id,trade_id,portfolio,symbol")
    assert len(lines) == 7


@pytest.mark.parametrize("table", TABLES)
def test_the_columns_are_the_ones_that_are_promised(engine: sa.Engine, table: str) -> None:
    parameters = {"portfolio": None, "since": None, "until": None}
    statement = query(f"export_{table}")
    bound = {name: value for name, value in parameters.items() if f":{name}" in statement.text}
    with transaction(engine) as connection:
        names = list(connection.execute(statement, bound).keys())
    assert names == [field.name for field in exports.TABLES[table]]


def test_long_tables_come_in_parts(
    week: Trading, week_engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PART", 4)
    with transaction(week_engine) as connection:
        assert [len(part) for part in exports.table_parts(connection, "fills")] == [4, 2]
    assert week("export", "fills", "--output", tmp_path, "--json").json[0]["rows"] == 6
    assert len(rows_of(tmp_path / "fills.csv")) == 6


def test_an_export_reads_one_state_and_can_change_nothing(engine: sa.Engine) -> None:
    with transaction(engine) as connection:
        exports.read_one_state(connection)
        shown = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
        assert shown == "repeatable read"
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"


def test_parquet_keeps_every_digit_and_type(fixed_week: Trading, tmp_path: Path) -> None:
    assert fixed_week("export", *TABLES, "--format", "parquet", "--output", tmp_path).code == 0
    first = parquet.read_table(tmp_path / "fills.parquet").to_pylist()[0]
    assert (first["quantity"], first["fee"], first["is_late"]) == (Decimal(4), Decimal(1), False)
    assert first["executed_at"].isoformat() == "2024-07-02T14:00:00+00:00"
    assert parquet.read_table(tmp_path / "executions.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("wishes",), "'wishes' is not one of 'trades', 'fills', 'snapshots', 'executions'"),
        (("fills", "--output", "/nowhere"), "/nowhere is not a folder"),
        (("fills", "trades", "--output", "-"), "Only one table"),
        (("fills", "--output", "-", "--json"), "Only one table"),
        (("fills", "--portfolio", "nobody"), "no portfolio named 'nobody'"),
        (("fills", "--from", "2024-07-04"), "2024-07-04"),
        (("fills", "--from", "2024-07-05", "--to", "2024-07-03"), "--to is 2024-07-03, before --from"),
    ],
)
def test_bad_input_is_one_sentence(
    fixed_week: Trading,
    arguments: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = fixed_week("export", *arguments)
    assert ran.code == 2
    assert sentence in ran.error
    assert list(tmp_path.iterdir()) == []
