"""Whatever is wrong with what was given, it is told in one line and nothing is changed."""

import gzip
import shlex
import socket
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.cli.command import Trading

HEADER = "symbol,timestamp,open,high,low,close,volume\n"
GOOD_ROW = "MSFT,2012-03-01,10,12,9,11,100\n"


@pytest.fixture(scope="module")
def future(calendar_home: Path) -> date:
    """A session that has not begun."""
    today = system_clock().date()
    calendar = load_calendar("XNYS", today=today, cache_directory=calendar_home / "calendars")
    return calendar.next(today + timedelta(days=3)).date


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("alert add AAPPL above 3", "Unknown symbol AAPPL: import bars for it first"),
        ("trades --symbol AAPPL", "Unknown symbol AAPPL"),
        ("positions --symbol AAPPL", "Unknown symbol AAPPL"),
        ("snapshots --session 2012-01-02", "2012-01-02 (Monday) is not a session of XNYS"),
        ("trades --session 1999-01-04", "outside the known sessions of XNYS"),
        ("positions --session 2012-02-30", "--session was '2012-02-30'; give a date such as"),
        ("trades --session {future}", "{future} is in the future"),
        ("snapshots --session {future}", "{future} is in the future"),
        ("replay --from 2012-01-03 --to {future}", "but the last session that closed is"),
        ("replay --from 2012-01-14 --to 2012-01-16", "XNYS has no session from 2012-01-14"),
        ("replay --from 2012-01-04 --to 2012-01-03", "swap the dates"),
        ("replay --from 2012-02-28 --to 2012-03-02", "2 of these 4 sessions have no bars, first 2012-03-01"),
        ("replay --from lunch --to 2012-01-03", "--from was 'lunch'; give a date"),
        ("replay --from 2012-01-03 --to 2012-01-04 --trades /no/x.csv", "/no/x.csv cannot be written"),
        ("portfolio add growth --cash 5", "A portfolio named 'growth' exists already"),
        ("portfolio add other --cash 100k", "--cash was '100k', which is not a plain number"),
        ("portfolio add other --cash 1,000", "--cash was '1,000', which is not a plain number"),
        ("portfolio add other --cash NaN", "--cash was 'NaN', which is not a plain number"),
        ("portfolio add other --cash -5", "The cash was -5; a portfolio starts with more than 0."),
        ("portfolio add other --cash 0", "The cash was 0"),
        ("portfolio add Other! --cash 5", "The portfolio's name was 'Other!'; use a to z"),
        ("portfolio add other --cash 5 --broker ib", "no broker named 'ib'; there are: alpaca, paper"),
        ("portfolio add other --cash 5 --broker alpaca", "needs the number of its account"),
        ("portfolio add other --cash 5 --max-position-pct 25", "max_position_pct was 25; it is a fraction"),
        ("portfolio add other --cash 5 --stop-loss-pct 100%", "stop_loss_pct was 1; it is a fraction"),
        ("portfolio add other --cash 5 --min-cash-pct 0.1234567", "to 6 places"),
        ("portfolio add other --cash 5 --min-cash-pct much", "--min-cash-pct was 'much'"),
        ("portfolio add other --cash 5 --max-positions 0", "max_positions was 0; it is 1 or more."),
        ("portfolio show other", "There is no portfolio named 'other'; there are: growth."),
        ("trades --portfolio other", "There is no portfolio named 'other'"),
        ("snapshots --portfolio other", "There is no portfolio named 'other'"),
        ("strategy enable other", "no such strategy 'other'; there are: trend of growth"),
        ("strategy add /nowhere.yaml", "/nowhere.yaml cannot be read"),
        ("alert add AAPL above high", "THRESHOLD was 'high'"),
        ("alert add AAPL above 0", "The threshold of an alert on AAPL was 0"),
        ("alert add AAPL above 5 --reference 4", "had the reference price 4"),
        ("alert add AAPL percent_change 5%", "no quote of AAPL yet"),
        ("alert add AAPL percent_change some", "THRESHOLD was 'some'; give a fraction such as 0.05"),
        ("actions add split AAPL 7 --on 2012-01-03", "The ratio was '7'; give new to old units, as in 7:1."),
        ("actions add split AAPL 0:1 --on 2012-01-03", "The ratio of AAPL was 0:1; give two different"),
        ("actions add split AAPL 2:1 --on 2012-01-02", "2012-01-02 (Monday) is not a session of XNYS"),
        ("actions add split AAPPL 2:1 --on 2012-01-03", "Unknown symbol AAPPL"),
        ("actions add dividend AAPL 0 --ex 2012-01-03", "The dividend of AAPL was 0; it is above 0."),
        ("actions add dividend AAPL 9999 --ex 2012-01-05", "and it closed at"),
        ("actions add dividend AAPL 1 --ex 2012-01-05 --pay 2012-01-04", "before its ex-date 2012-01-05"),
        ("actions add symbol-change AAPL IBM --on 2012-01-05", "AAPL cannot become IBM on 2012-01-05"),
        ("actions add symbol-change AAPL AAPL --on 2012-01-05", "give the new symbol"),
        ("actions withdraw 1 --reason x", "There is no corporate action 1"),
        (
            "actions fetch --from 2012-01-03 --to 2012-01-04",
            "The price source stored has no corporate actions",
        ),
        (
            "actions fetch --from 2012-01-03 --to 2012-01-04 --source yahoo",
            "The price source yahoo has no corporate actions; name one that has them with --source (alpaca",
        ),
        (
            "actions fetch --from 2012-01-03 --to 2012-01-04 --source fmp",
            "FMP needs a key; set FMP_API_KEY.",
        ),
        ("actions import /nowhere.csv", "/nowhere.csv cannot be read"),
        ("bars accept AAPL 2012-01-02 --reason x", "2012-01-02 (Monday) is not a session of XNYS"),
        ("bars fetch --from 2012-01-03 --to {future}", "it has no bars before."),
        ("halt other --reason x", "There is no portfolio named 'other'"),
        ("halt --reason ' '", "The reason was empty"),
        ("resume growth --reason x", "There is no halt of portfolio growth to end"),
        ("jobs reset price_update --reason ''", "The reason is empty"),
        ("bars import /nowhere.csv", "/nowhere.csv cannot be read: No such file or directory."),
        ("exec -- /nowhere/program", "/nowhere/program cannot be run: No such file or directory."),
        ("stream --host 300.1.1.1", "cannot listen on 300.1.1.1"),
    ],
)
def test_it_is_told_and_changes_nothing(fixed_books: Trading, future: date, command: str, said: str) -> None:
    before = fixed_books.contents()
    done = fixed_books(*shlex.split(command.format(future=future)))
    assert done.code == 2
    assert said.format(future=future) in done.error
    assert fixed_books.contents() == before
    assert fixed_books.replay_databases() == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("MSFT,2012-03-02,10,9,11,10,100", "high was 9, which is below the low of 11"),
        ("MSFT,2012-03-02,13,12,9,11,100", "open was 13, which is not between low 9 and high 12"),
        ("MSFT,2012-03-02,10,12,-9,11,100", "low was -9; a price is above 0"),
        ("MSFT,2012-03-02,10,12,9,11,-1", "volume was -1; it is 0 or more"),
        ("MSFT,2012-03-02,NaN,12,9,11,100", "open was 'NaN', which is not a plain number"),
        ("MSFT,2012-03-02,10,inf,9,11,100", "high was 'inf', which is not a plain number"),
        ("MSFT,2012-03-02,10,12,9,,100", "close was '', which is not a plain number"),
        ("MSFT,2012-03-02,10,12,9,11", "does not have the 7 fields of the header"),
        ("msft,2012-03-02,10,12,9,11,100", "symbol was 'msft', which is no symbol in upper case"),
        ("MSFT,2012-03-03,10,12,9,11,100", "2012-03-03 (Saturday) is not a session of XNYS"),
        ("MSFT,{future},10,12,9,11,100", "that bar is not complete yet"),
        ("MSFT,2012-03-02T09:30:00,10,12,9,11,100", "a minute bar the instant it starts"),
        ("MSFT,2012-03-02T09:29:00-05:00,10,12,9,11,100", "when XNYS is closed"),
        ("MSFT,2012-03-01,10,12,9,11,100", "repeats MSFT of line 2"),
    ],
)
def test_a_bad_bar_is_named_by_its_line_and_none_is_taken_over(
    fixed_books: Trading, future: date, tmp_path: Path, row: str, said: str
) -> None:
    before = fixed_books.contents()
    (tmp_path / "new.csv").write_text(f"{HEADER}{GOOD_ROW}{row.format(future=future)}\n")
    done = fixed_books("bars", "import", tmp_path / "new.csv")
    assert done.code == 2
    assert done.error.startswith("new.csv line 3: ")
    assert said in done.error
    assert fixed_books.contents() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: the header was ''"),
        (b"ticker,timestamp,open,high,low,close,volume\n", "line 1: the header was 'ticker,"),
        (b'"symbol', "line 1: unexpected end of data"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_bars_is_refused(
    fixed_books: Trading, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "new.csv").write_bytes(content)
    done = fixed_books("bars", "import", tmp_path / "new.csv")
    assert done.code == 2
    assert said in done.error


@pytest.mark.parametrize("damage", [slice(100, 102), slice(-4, None)])
def test_a_damaged_archive_is_refused(
    fixed_books: Trading, bars_file: Path, tmp_path: Path, damage: slice
) -> None:
    packed = bytearray(gzip.compress(bars_file.read_bytes()))
    packed[damage] = b"\x00" * len(packed[damage])
    (tmp_path / "new.csv.gz").write_bytes(packed)
    done = fixed_books("bars", "import", tmp_path / "new.csv.gz")
    assert done.code == 2
    assert "new.csv.gz cannot be read: " in done.error or "new.csv.gz line " in done.error


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"name: momentum": "name: luck"}, "other.yaml line 4: factors[0].name was 'luck'"),
        ({"lookback: 5": "look: 5"}, "other.yaml line 5"),
        ({"lookback: 5": "lookback: many"}, "other.yaml line 5"),
        ({"AAPL, IBM": "AAPL, AAPPL"}, "Unknown symbol AAPPL"),
        ({"name: other": "name: trend"}, "The portfolio has a strategy named 'trend' already."),
        ({"name: other": "name: other\nportfolio: income"}, "to portfolio 'income', the command to 'growth'"),
    ],
)
def test_a_strategy_with_a_mistake_is_not_added(
    fixed_books: Trading,
    strategy_file: Callable[..., Path],
    replaced: dict[str, str],
    said: str,
) -> None:
    before = fixed_books.contents()
    done = fixed_books("strategy", "add", strategy_file("other", **replaced), "--portfolio", "growth")
    assert done.code == 2
    assert said in done.error
    assert fixed_books.contents() == before


def test_a_strategy_for_no_portfolio_is_not_added(
    fixed_books: Trading, strategy_file: Callable[..., Path]
) -> None:
    done = fixed_books("strategy", "add", strategy_file("other"))
    assert done.code == 2
    assert "No portfolio is named for strategy 'other'; give --portfolio" in done.error


@pytest.mark.parametrize("command", ["trades", "portfolio list", "db upgrade", "stream", "halt --reason x"])
def test_a_database_that_is_down_is_told(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret-password@127.0.0.1:1/trading")
    done = trading(*command.split())
    assert done.code == 1
    assert done.error.startswith("PostgreSQL at 127.0.0.1:1 cannot serve database trading: ")
    assert "Connection refused" in done.error


def test_a_port_in_use_is_told(fixed_books: Trading) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = fixed_books("stream", "--port", port)
    assert done.code == 2
    assert f"Port {port} on 127.0.0.1 is in use" in done.error


@pytest.mark.parametrize("command", ["trades", "portfolio add growth --cash 5", "exec -- true", "db upgrade"])
def test_a_home_that_cannot_be_written_is_told(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "file" / "home"))
    done = trading(*command.split())
    assert done.code == 1
    assert "cannot use" in done.error
    assert "set TRADING_HOME to a folder you may write to" in done.error


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRADING_UI_PORT", "high", "TRADING_UI_PORT: Input should be a valid integer"),
        ("TRADING_EXCHANGE", "XNYZ", "XNYZ"),
        ("DATABASE_URL", "mysql://root@localhost/trading", "must be postgresql://"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    done = trading("jobs")
    assert done.code == 2
    assert said in done.error
