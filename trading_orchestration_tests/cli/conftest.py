"""Databases for the command: an empty one, one with books, and one with books that no test changes."""

import csv
import gzip
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_orchestration.cli.app import main
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.store.database import create_engine
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.cli.command import STRATEGY, Trading
from trading_orchestration_tests.conftest import NewDatabase
from trading_orchestration_tests.fixtures.traded_week import trade_the_week_in


@pytest.fixture(scope="session")
def calendar_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the calendar is made already; nothing else is kept there."""
    home = tmp_path_factory.mktemp("home")
    load_calendar("XNYS", today=system_clock().date(), cache_directory=home / "calendars")
    return home


@pytest.fixture(scope="session")
def bars_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real daily bars of AAPL and IBM, November 2011 to February 2012."""
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    sample = resources.files("trading_orchestration") / "sample_data" / "daily_prices.csv.gz"
    with resources.as_file(sample) as packed, gzip.open(packed, "rt", newline="") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows[1:] if row[0] in ("AAPL", "IBM") and "2011-11" <= row[1] < "2012-03"]
    with path.open("w", newline="") as out:
        csv.writer(out).writerows([rows[0], *kept])
    return path


@pytest.fixture
def strategy_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a strategy; keywords replace words of it."""

    def write(name: str = "trend", universe: str = "AAPL, IBM", **replaced: str) -> Path:
        text = STRATEGY.format(name=name, universe=universe)
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def books_url(
    new_database: NewDatabase,
    template: str,
    calendar_home: Path,
    bars_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A database with bars, a portfolio `growth` of 100,000 and its strategy `trend`; never changed."""
    strategy = tmp_path_factory.mktemp("strategy") / "trend.yaml"
    strategy.write_text(STRATEGY.format(name="trend", universe="AAPL, IBM"))
    with new_database(template) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("TRADING_HOME", str(calendar_home))
        assert main(["bars", "import", str(bars_file)]) == 0
        assert main(["portfolio", "add", "growth", "--cash", "100000"]) == 0
        assert main(["strategy", "add", str(strategy), "--portfolio", "growth"]) == 0
        patch.undo()
        yield url


@pytest.fixture
def on_database(
    calendar_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], Trading]:
    """`on_database(url)` is the command on that database."""

    def open_on(url: str) -> Trading:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("TRADING_HOME", str(calendar_home))
        monkeypatch.delenv("TRADING_DEBUG", raising=False)
        return Trading(url, capfd)

    return open_on


@pytest.fixture
def trading(on_database: Callable[[str], Trading], database_url: str) -> Trading:
    """The command on a migrated, empty database."""
    return on_database(database_url)


@pytest.fixture
def fixed_books(on_database: Callable[[str], Trading], books_url: str) -> Trading:
    """The command on the books that no test changes."""
    return on_database(books_url)


@pytest.fixture
def books(
    on_database: Callable[[str], Trading], new_database: NewDatabase, books_url: str
) -> Iterator[Trading]:
    """The command on a copy of those books."""
    with new_database(sa.make_url(books_url).database or "") as url:
        yield on_database(url)


@pytest.fixture(scope="session")
def week_url(new_database: NewDatabase, template: str) -> Iterator[str]:
    """A database with the books of `fixtures/traded_week.py`, which no test changes."""
    with new_database(template) as url:
        trade_the_week_in(url)
        yield url


@pytest.fixture
def fixed_week(on_database: Callable[[str], Trading], week_url: str) -> Trading:
    """The command on those books, for tests that change nothing."""
    return on_database(week_url)


@pytest.fixture
def week(
    on_database: Callable[[str], Trading], new_database: NewDatabase, week_url: str
) -> Iterator[Trading]:
    """The command on a copy of those books."""
    with new_database(sa.make_url(week_url).database or "") as url:
        yield on_database(url)


@pytest.fixture
def week_engine(week: Trading) -> Iterator[sa.Engine]:
    """An engine on that copy."""
    engine = create_engine(week.url, application_name="tests")
    yield engine
    engine.dispose()
