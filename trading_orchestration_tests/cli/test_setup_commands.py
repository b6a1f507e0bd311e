"""Setting up: databases, bars, portfolios, strategies, alerts."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from trading_orchestration.cli.db import without_password
from trading_orchestration.store import embedded_postgres
from trading_orchestration_tests.cli.command import Trading

# db ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def url_of_no_database(server_url: str) -> Iterator[str]:
    name = f"trading_test_{uuid4().hex[:12]}"
    url = sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    yield url
    with psycopg.connect(server_url, autocommit=True) as connection:
        for database in (name, f"{name}_dagster"):
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def test_upgrade_creates_both_databases_and_then_finds_nothing_to_do(
    on_database: Callable[[str], Trading], url_of_no_database: str
) -> None:
    trading = on_database(url_of_no_database)
    first, second = trading("db", "upgrade", "--json"), trading("db", "upgrade", "--json")
    assert first.json["applied"][0] == "0001_initial.sql"
    assert second.json == {"applied": []}
    assert trading("db", "upgrade").out == "The database is up to date.\n"
    dagster = trading("db", "url", "--dagster", "--show-password").out.strip()
    psycopg.connect(dagster).close()


def test_a_server_of_ones_own_is_migrated_by_nothing_but_upgrade(
    on_database: Callable[[str], Trading], empty_database_url: str
) -> None:
    trading = on_database(empty_database_url)
    done = trading("portfolio", "add", "growth", "--cash", "5")
    assert done.code == 1
    assert "run `trading db upgrade`" in done.error
    assert trading.rows("SELECT to_regclass('portfolios')") == [(None,)]


def test_the_embedded_database_is_made_by_the_first_command(
    trading: Trading, trading_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("TRADING_HOME", str(trading_home))
    assert trading("portfolio", "add", "growth", "--cash", "100000").code == 0
    assert [row["name"] for row in trading("portfolio", "list", "--json").json] == ["growth"]
    assert trading("db", "upgrade", "--json").json == {"applied": []}
    for options, role, file in (
        ((), "trading_engine", "password.engine"),
        (("--owner",), "trading", "password"),
    ):
        shown = trading("db", "url", *options).out
        password = (trading_home / "postgres" / file).read_text()
        assert shown.startswith(f"postgresql://{role}@127.0.0.1:")
        assert password not in shown
        assert password in trading("db", "url", *options, "--show-password").out
    with embedded_postgres.use(trading_home) as server:
        engine, reader = psycopg.connect(server.engine_url), psycopg.connect(server.reader_url)
        with engine, pytest.raises(psycopg.errors.InsufficientPrivilege):
            engine.execute("DELETE FROM cash_movements")
        with reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM quotes")
    assert "CREATE ROLE" not in (trading_home / "postgres" / "log").read_text()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@h:5432/db", "postgresql://me@h:5432/db"),
        ("postgresql://me@h/db", "postgresql://me@h/db"),
        ("postgresql://me:p%40ss@/db?host=/run/x", "postgresql://me@/db?host=/run/x"),
        ("postgresql://h/db?password=secret&sslmode=require", "postgresql://h/db?sslmode=require"),
        ("postgresql://h/db?options=-c%20a%3Db", "postgresql://h/db?options=-c%20a%3Db"),
    ],
)
def test_a_url_is_shown_without_a_password_wherever_it_stands(url: str, shown: str) -> None:
    assert without_password(url) == shown


# bars ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bars_are_taken_over_once_and_corrected_where_they_differ(
    trading: Trading, bars_file: Path, tmp_path: Path
) -> None:
    assert trading("bars", "import", bars_file, "--json").json == {"added": 164, "corrected": 0}
    assert trading("bars", "import", bars_file, "--json").json == {"added": 0, "corrected": 0}
    corrected = tmp_path / "again.csv.gz"
    with gzip.open(corrected, "wt") as file:
        lines = bars_file.read_text().splitlines()
        file.write("\n".join([lines[0], lines[1].rpartition(",")[0] + ",7"]))
    assert trading("bars", "import", corrected).out == "0 bars added, 1 corrected.\n"


def test_a_file_from_a_spreadsheet_begins_with_a_mark_that_is_no_part_of_it(
    trading: Trading, bars_file: Path, tmp_path: Path
) -> None:
    marked = tmp_path / "bars.csv"
    marked.write_text(bars_file.read_text(), encoding="utf-8-sig")
    assert trading("bars", "import", marked).code == 0


def test_coverage_says_which_sessions_there_are(fixed_books: Trading) -> None:
    listed = fixed_books("bars", "list", "--json").json
    assert listed[1] == {
        "symbol": "IBM",
        "timeframe": "day",
        "first_session": "2011-11-01",
        "last_session": "2012-02-29",
        "bars": 82,
    }


# portfolio ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_portfolio_starts_with_its_cash_in_a_paper_account_of_its_own(trading: Trading) -> None:
    added = trading(
        *(
            "portfolio",
            "add",
            "growth",
            "--cash",
            "1000.50",
            "--max-position-pct",
            "30%",
            "--max-positions",
            4,
        ),
        *("--stop-loss-pct", "0.1", "--take-profit-pct", "50%", "--max-daily-loss-pct", "none"),
        *("--min-cash-pct", "0", "--json"),
    ).json
    assert {key: added[key] for key in ("cash", "total_value", "positions_value", "account_number")} == {
        "cash": "1000.5",
        "total_value": "1000.5",
        "positions_value": "0",
        "account_number": "PAPER-growth",
    }
    limits = ("max_position_pct", "max_positions", "stop_loss_pct", "take_profit_pct", "min_cash_pct")
    assert [added[key] for key in limits] == ["0.3", 4, "0.1", "0.5", "0"]
    assert added["max_daily_loss_pct"] is None
    assert trading.rows("SELECT cash FROM paper.accounts")[0][0] == trading.rows("SELECT 1000.5")[0][0]


def test_portfolios_may_share_an_account(trading: Trading) -> None:
    for name in ("growth", "income"):
        assert trading("portfolio", "add", name, "--cash", 100, "--account", "SHARED").code == 0
    assert trading.rows("SELECT account_number, cash::int FROM paper.accounts") == [("SHARED", 200)]
    assert [row["account_number"] for row in trading("portfolio", "list", "--json").json] == ["SHARED"] * 2


def test_show_has_everything_that_concerns_a_portfolio(books: Trading) -> None:
    books("halt", "growth", "--reason", "looking")
    shown = books("portfolio", "show", "growth", "--json").json
    assert shown["is_halted"] is True
    assert [halt["reason"] for halt in shown["halts"]] == ["looking"]
    assert shown["strategies"] == [{"name": "trend", "is_enabled": True, "last_error": None}]
    assert (shown["positions"], shown["open_trades"]) == ([], [])
    table = books("portfolio", "show", "growth").out
    assert "100,000.00" in table
    assert "looking" in table


def test_lists_are_plain_tables_and_empty_ones_say_what_to_do(trading: Trading) -> None:
    assert "`trading portfolio add NAME" in trading("portfolio", "list").out
    assert "`trading strategy add FILE.yaml`" in trading("strategy", "list").out
    assert "`trading bars import FILE`" in trading("bars", "list").out
    trading("portfolio", "add", "growth", "--cash", 100000)
    heading, row = trading("portfolio", "list").out.splitlines()
    assert heading.split() == ["name", "broker", "account", "cash", "positions", "total", "held", "halted"]
    assert row.split() == ["growth", "paper", "PAPER-growth", "100,000.00", "0.00", "100,000.00", "0", "no"]


# strategy ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_strategy_goes_to_the_portfolio_that_its_file_or_the_command_names(
    books: Trading, strategy_file: Callable[..., Path]
) -> None:
    named = strategy_file("named", **{"name: named": "name: named\nportfolio: growth"})
    assert books("strategy", "add", named, "--json").json == {
        "portfolio": "growth",
        "name": "named",
        "is_enabled": True,
    }
    assert books("strategy", "add", strategy_file("other"), "--portfolio", "growth").code == 0
    listed = books("strategy", "list", "--json").json
    assert [row["name"] for row in listed] == ["trend", "named", "other"]
    assert listed[0]["universe"] == ["AAPL", "IBM"]
    assert listed[0]["factors"] == ["momentum"]


def test_a_strategy_is_switched_off_and_on(books: Trading) -> None:
    assert books("strategy", "disable", "trend").out == "Strategy trend of growth is disabled.\n"
    assert [row["is_enabled"] for row in books("strategy", "list", "--json").json] == [False]
    assert "is disabled already" in books("strategy", "disable", "trend").out
    assert books("strategy", "enable", "trend", "--json").json["is_enabled"] is True


def test_a_strategy_that_two_portfolios_have_is_named_with_its_portfolio(
    books: Trading, strategy_file: Callable[..., Path]
) -> None:
    books("portfolio", "add", "income", "--cash", 5)
    books("strategy", "add", strategy_file(), "--portfolio", "income")
    done = books("strategy", "disable", "trend")
    assert done.code == 2
    assert done.error == "Portfolios growth, income have a strategy 'trend' each; name one of them."
    assert books("strategy", "disable", "trend", "--portfolio", "income").code == 0
    assert [row["is_enabled"] for row in books("strategy", "list", "--json").json] == [True, False]


# alert ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alert_is_listed_as_it_was_set(books: Trading) -> None:
    books("alert", "add", "aapl", "above", "500", "--note", "five hundred")
    books("alert", "add", "IBM", "percent_change", "5%", "--reference", "190")
    above, change = books("alert", "list", "--json").json
    assert above["symbol"] == "AAPL"
    assert (above["condition"], above["threshold"], above["note"]) == ("above", "500", "five hundred")
    assert (change["threshold"], change["reference_price"], change["status"]) == ("0.05", "190", "active")


def test_a_change_is_measured_from_the_newest_quote(books: Trading) -> None:
    books.rows(
        "INSERT INTO quotes (symbol, price, quoted_at, received_at, source) "
        "VALUES ('AAPL', 411.23, now(), now(), 'test')"
    )
    added = books("alert", "add", "AAPL", "percent_change", "0.1", "--json").json
    [listed] = books("alert", "list", "--json").json
    assert listed["reference_price"] == "411.23"
    assert added == {
        "id": listed["id"],
        "symbol": "AAPL",
        "condition": "percent_change",
        "threshold": "0.1",
        "reference_price": "411.23",
        "note": None,
    }
