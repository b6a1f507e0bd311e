"""A day that was traded, replayed: from its books, on the prices it saw, and what differs."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_orchestration.cli.app import main
from trading_orchestration_tests.cli.command import Trading, without_replays
from trading_orchestration_tests.conftest import NewDatabase

TRADED = ("--from", "2012-01-03", "--to", "2012-01-12")
#: Positions are held as it opens, AAPL is sold in it.
DAY = "2012-01-09"


@pytest.fixture(scope="module")
def traded_url(books_url: str, calendar_home: Path, new_database: NewDatabase) -> Iterator[str]:
    """Books in which eight sessions were traded: those that a replay has kept."""
    with new_database(sa.make_url(books_url).database or "") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("TRADING_HOME", str(calendar_home))
        books = Trading(url)
        with without_replays(books):
            assert main(["replay", *TRADED, "--keep"]) == 0
            [kept] = books.replay_databases()
            patch.undo()
            yield books.url_of(kept)


@pytest.fixture
def traded(
    on_database: Callable[[str], Trading], new_database: NewDatabase, traded_url: str
) -> Iterator[Trading]:
    """The command on a copy of those books."""
    with new_database(sa.make_url(traded_url).database or "") as url:
        yield on_database(url)


def test_a_traded_day_replays_as_it_was_from_the_books_of_its_open(traded: Trading) -> None:
    before = traded.contents()
    done = traded("replay", "--session", DAY, "--compare", "--json")
    assert (done.code, done.json["differences"], done.json["problems"]) == (0, [], [])
    assert done.json["decisions"] == 2
    assert done.json["trades"], "the day is chosen for its trades"
    for pair in done.json["trades"]:
        assert pair["happened"] == pair["replayed"]
    assert traded.contents() == before
    assert traded.replay_databases() == []


def test_what_a_fill_costs_more_is_listed_with_its_amount_and_ends_with_1(traded: Trading) -> None:
    done = traded("replay", "--session", DAY, "--compare", "--commission", "1.25/order", "--json")
    assert done.code == 1
    trades = done.json["trades"]
    fees = [one for one in done.json["differences"] if one["what"] == "trade fee"]
    assert [(one["happened"], one["replayed"], one["by"]) for one in fees] == [("0", "1.25", "1.25")] * len(
        trades
    )
    [cash] = [one for one in done.json["differences"] if one["what"] == "close cash"]
    assert Decimal(cash["by"]) == Decimal("-1.25") * len(trades)
    table = traded("replay", "--session", DAY, "--compare", "--commission", "1.25/order")
    assert table.out.startswith(f"{DAY} replayed from the books as of its open: 2 decisions")
    assert "trade fee" in table.out


def test_the_prices_that_were_seen_count_and_not_those_of_bars(traded: Trading) -> None:
    """The decision saw another price than the bar's open: the replay decides and fills at what it saw."""
    traded.rows(
        "ALTER TABLE decisions DISABLE TRIGGER ALL; "
        'UPDATE decisions SET signals = (SELECT jsonb_agg(s || \'{"price": "100.01"}\') '
        f"FROM jsonb_array_elements(signals) s) WHERE session = '{DAY}' AND strategy_id IS NOT NULL"
    )
    done = traded("replay", "--session", DAY, "--compare", "--json")
    assert not [one for one in done.json["differences"] if one["what"] == "signal price"]
    assert {pair["replayed"]["price"] for pair in done.json["trades"] if pair["replayed"]} == {"100.01"}


def test_a_bar_that_was_corrected_since_has_its_old_values(traded: Trading, tmp_path: Path) -> None:
    """The strategy looks at the closes; the corrected one would turn its signal."""
    file = tmp_path / "corrected.csv"
    file.write_text(
        "symbol,timestamp,open,high,low,close,volume\nAAPL,2012-01-06,1,1,1,1,1\nIBM,2012-01-06,1,1,1,1,1\n"
    )
    assert traded("bars", "import", file).code == 0
    done = traded("replay", "--session", DAY, "--compare", "--json")
    assert [one["what"] for one in done.json["differences"] if one["what"].startswith("signal")] == []


def test_what_cannot_be_compared_is_refused_before_anything_is_done(fixed_books: Trading) -> None:
    assert "Nothing was decided in 2012-01-09" in fixed_books("replay", "--session", DAY, "--compare").error
    for arguments in (("--compare", *TRADED), ("--compare", "--session", DAY, "--close-out"), ()):
        done = fixed_books("replay", *arguments)
        assert (done.code, fixed_books.replay_databases()) == (2, [])
    assert fixed_books("replay", "--session", DAY, *TRADED).code == 2
