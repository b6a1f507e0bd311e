"""Replays: the same trades every time, the books untouched, nothing left behind."""

import csv
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trading_orchestration.services.replay_result import TRADE_COLUMNS, max_drawdown
from trading_orchestration_tests.cli.command import Trading, start_process, without_replays

TWO_DAYS = ("--from", "2012-01-03", "--to", "2012-01-04")
DATES = ("--from", "2012-01-03", "--to", "2012-01-13")
LONG = ("--from", "2011-11-01", "--to", "2012-02-29")


def read_trades(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Replayed:
    """What one replay of `DATES` in a process of its own answered and wrote."""

    summary: dict[str, Any]
    file: Path

    @property
    def trades(self) -> list[dict[str, str]]:
        return read_trades(self.file)


@pytest.fixture(scope="module")
def replayed(books_url: str, calendar_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    file = tmp_path_factory.mktemp("replay") / "trades.csv"
    home = str(calendar_home)
    process = start_process(
        *("replay", *DATES, "--trades", file, "--json"), DATABASE_URL=books_url, TRADING_HOME=home
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return Replayed(json.loads(out), file)


def test_the_same_replay_gives_the_same_bytes_and_leaves_the_books_alone(
    fixed_books: Trading, replayed: Replayed, tmp_path: Path
) -> None:
    before = fixed_books.contents()
    again = fixed_books("replay", *DATES, "--trades", tmp_path / "again.csv")
    assert again.code == 0
    assert (tmp_path / "again.csv").read_bytes() == replayed.file.read_bytes()
    assert len(replayed.trades) == replayed.summary["portfolios"][0]["trades"] > 0
    assert fixed_books.contents() == before
    assert fixed_books.replay_databases() == []
    assert [path.name for path in tmp_path.iterdir()] == ["again.csv"]
    heading, columns, row = again.out.splitlines()
    assert heading.startswith("9 sessions, 2012-01-03 to 2012-01-13, in ")
    assert columns.split() == ["portfolio", "start", "end", "return", "drawdown", "trades", "trips", "open"]
    assert row.split()[:2] == ["growth", "100,000.00"]
    assert again.err == ""


def test_a_replay_uses_the_calendar_that_is_made_already(fixed_books: Trading, calendar_home: Path) -> None:
    """One of its own, made for the past, would take the place of the one that every run of a job reads."""
    [made] = (calendar_home / "calendars").iterdir()
    before = made.stat()
    fixed_books("replay", *TWO_DAYS)
    assert made.stat().st_mtime_ns == before.st_mtime_ns


def test_trades_do_not_depend_on_ids_nor_on_bars_after_the_end(
    trading: Trading,
    replayed: Replayed,
    bars_file: Path,
    strategy_file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """The same portfolio, set up after another, in a database whose bars end with the replay."""
    lines = bars_file.read_text().splitlines()
    kept = [lines[0], *(line for line in lines[1:] if line.split(",")[1] <= "2012-01-13")]
    (tmp_path / "short.csv").write_text("\n".join(kept))
    trading("bars", "import", tmp_path / "short.csv")
    for name in ("zeta", "growth"):
        trading("portfolio", "add", name, "--cash", 100000)
        trading("strategy", "add", strategy_file(), "--portfolio", name)
    assert trading("replay", *DATES, "--trades", tmp_path / "trades.csv").code == 0
    found = read_trades(tmp_path / "trades.csv")
    assert found == sorted(found, key=lambda row: (row["decided_at"], row["portfolio"]))
    assert [row for row in found if row["portfolio"] == "growth"] == replayed.trades


def test_the_list_tells_each_trade_at_the_price_of_its_instant(replayed: Replayed, bars_file: Path) -> None:
    """A market order that is decided at the open is filled at the open of that session's bar."""
    with bars_file.open(newline="") as file:
        opens = {(row["symbol"], row["timestamp"]): Decimal(row["open"]) for row in csv.DictReader(file)}
    assert tuple(replayed.trades[0]) == TRADE_COLUMNS
    for trade in replayed.trades:
        assert trade["status"] == "filled"
        assert Decimal(trade["average_price"]) == opens[trade["symbol"], trade["session"]]


def test_the_summary_adds_up(replayed: Replayed) -> None:
    done = replayed.summary
    assert (done["sessions"], done["first_session"], done["last_session"]) == (9, "2012-01-03", "2012-01-13")
    assert done["database"] is None
    [growth] = done["portfolios"]
    start, end = Decimal(growth["start_equity"]), Decimal(growth["end_equity"])
    assert start == 100000
    assert Decimal(growth["total_return"]) == ((end - start) / start).quantize(Decimal("1e-12"))
    assert -1 < Decimal(growth["max_drawdown"]) <= 0


def test_a_kept_database_can_be_looked_at_like_any_other(
    books: Trading, on_database: Callable[[str], Trading]
) -> None:
    with without_replays(books):
        kept = books("replay", *DATES, "--keep", "--json").json
        assert books.replay_databases() == [kept["database"]]
        replayed = on_database(books.url_of(kept["database"]))
        last = replayed("snapshots", "--json").json[-1]
        assert last["session"] == "2012-01-13"
        assert last["total_value"] == kept["portfolios"][0]["end_equity"]
        assert last["total_return"] == kept["portfolios"][0]["total_return"]
        assert len(replayed("trades", "--json").json) == kept["portfolios"][0]["trades"]
        assert replayed("portfolio", "add", "after", "--cash", 5).code == 0
        on_database(books.url)
        books("replay", "--from", "2012-01-03", "--to", "2012-01-03")
        assert books.replay_databases() == [kept["database"]]


def test_portfolios_start_with_what_was_put_into_them_and_halts_and_accounts_stay_behind(
    books: Trading, on_database: Callable[[str], Trading]
) -> None:
    """Also at another broker, and when all of it was spent; one without any money is left out."""
    books("portfolio", "add", "broke", "--cash", 5)
    books.rows(
        "UPDATE broker_accounts SET broker = 'alpaca', environment = 'live', account_number = 'A1'"
        " WHERE account_number = 'PAPER-growth';"
        "INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at) "
        "SELECT p.id, m.kind::cash_movement_kind, m.amount, m.kind, now() FROM portfolios p "
        "JOIN (VALUES ('growth', 'withdrawal', -40000), ('growth', 'dividend', 7), "
        "('broke', 'withdrawal', -5)) AS m (name, kind, amount) USING (name)"
    )
    books("halt", "--reason", "storm")
    with without_replays(books):
        done = books("replay", *TWO_DAYS, "--keep", "--json")
        assert done.code == 0
        [growth] = done.json["portfolios"]
        assert (growth["portfolio"], growth["start_equity"]) == ("growth", "60000")
        assert growth["trades"] > 0
        assert done.json["left_out"] == ["broke"]
        replayed = on_database(books.url_of(done.json["database"]))
        accounts = replayed.rows("SELECT broker, environment FROM broker_accounts ORDER BY id")
        assert accounts == [("paper", "paper"), ("paper", "paper")]


def test_alerts_fire_again_in_a_replay(books: Trading, on_database: Callable[[str], Trading]) -> None:
    books("alert", "add", "AAPL", "above", "1")
    books("alert", "add", "IBM", "below", "1")
    books.rows(
        "UPDATE price_alerts SET status = 'triggered', triggered_at = now(), triggered_price = 5 "
        "WHERE symbol = 'AAPL'"
    )
    with without_replays(books):
        kept = books("replay", *TWO_DAYS, "--keep", "--json").json["database"]
        above, below = on_database(books.url_of(kept))("alert", "list", "--json").json
    assert above["triggered_at"] == "2012-01-03T14:30:00+00:00"
    assert below["status"] == "active"


def test_a_job_that_fails_is_told_and_the_replay_goes_on(
    trading: Trading, bars_file: Path, strategy_file: Callable[..., Path], tmp_path: Path
) -> None:
    """AAPL is held on a day on which only IBM has a bar: the portfolio cannot be valued at that close."""
    lines = bars_file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("AAPL,2012-01-11")]
    (tmp_path / "gap.csv").write_text("\n".join(kept))
    trading("bars", "import", tmp_path / "gap.csv")
    trading("portfolio", "add", "growth", "--cash", 100000)
    trading("strategy", "add", strategy_file(), "--portfolio", "growth")
    done = trading("replay", *DATES, "--json")
    assert done.code == 1
    assert done.json["sessions"] == 9
    assert "portfolio_snapshot at 2012-01-11 21:05 UTC" in done.json["problems"][0]
    assert "AAPL has no close in 2012-01-11" in done.json["problems"][0]


def test_without_a_strategy_there_is_nothing_to_replay(books: Trading) -> None:
    books("strategy", "disable", "trend")
    done = books("replay", *DATES)
    assert done.code == 2
    assert "No active portfolio with money has an enabled strategy" in done.error
    assert books.replay_databases() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_replay_that_is_ended_takes_its_database_with_it(
    books: Trading, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start_process("replay", *LONG, "--trades", tmp_path / "trades.csv")
    wait_for_work(books)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert books.replay_databases() == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_replay_left_is_found_and_dropped_by_the_next(books: Trading) -> None:
    with without_replays(books):
        killed, working = start_process("replay", *LONG), start_process("replay", *LONG, "--json")
        wait_for_work(books, replays=2)
        killed.kill()
        killed.communicate()
        found = books("doctor", "--json").json
        assert books("replay", "--from", "2012-01-03", "--to", "2012-01-03").code == 0
        [left] = books.replay_databases()
        [finding] = [one for one in found if one["check"] == "replays"]
        assert left not in finding["message"]
        assert working.poll() is None
        working.terminate()
        working.communicate()
        assert books.replay_databases() == []


def wait_for_work(books: Trading, *, replays: int = 1) -> None:
    """Until so many replays have begun to trade in their databases."""
    deadline = time.monotonic() + 30
    while sum(has_decided(books.url_of(name)) for name in books.replay_databases()) < replays:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_decided(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT EXISTS (SELECT FROM decisions)").fetchall()
    except psycopg.Error:
        return False
    return bool(found[0][0])


@pytest.mark.parametrize(
    ("equities", "deepest"),
    [
        ([100, 110, 120], "0"),
        ([100, 80, 120, 90], "-0.25"),
        ([100, 120, 90, 130, 117], "-0.25"),
        ([100, 0], "-1"),
        ([3, 2], "-0.333333333333"),
    ],
)
def test_the_drawdown_is_the_deepest_fall_below_an_earlier_high(equities: list[int], deepest: str) -> None:
    assert max_drawdown(map(Decimal, equities)) == Decimal(deepest)
