"""Prices move as sets, never back in time, and what lies after an instant is not seen at it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import prices

OPEN = datetime(2024, 7, 2, 13, 30, tzinfo=UTC)
CLOSE = datetime(2024, 7, 2, 20, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        yield connection


def bar(close: str, *, days: int = 0, symbol: str = "AAPL", opening: str = "100") -> Bar:
    """A daily bar, so many days after the second of July."""
    low, high = sorted((Decimal(opening), Decimal(close)))
    return Bar(
        symbol=symbol,
        timeframe=Timeframe.DAY,
        session=(OPEN + days * DAY).date(),
        starts_at=OPEN + days * DAY,
        ends_at=CLOSE + days * DAY,
        open=Decimal(opening),
        high=high,
        low=low,
        close=Decimal(close),
        volume=Decimal(1),
        source="test",
    )


def minute(number: int, opening: str, close: str) -> Bar:
    starts_at = OPEN + timedelta(minutes=number)
    return replace(
        bar(close, opening=opening),
        timeframe=Timeframe.MINUTE,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=1),
    )


def quote(price: int, at: datetime) -> Quote:
    return Quote(symbol="AAPL", price=Decimal(price), quoted_at=at, source="test")


def save(connection: sa.Connection, *quotes: Quote) -> prices.SavedQuotes:
    return prices.save_quotes(connection, quotes, received_at=OPEN)


def save_bars(connection: sa.Connection, *bars: Bar) -> prices.SavedBars:
    saved = prices.save_bars(connection, bars)
    connection.execute(sa.text("DROP TABLE incoming_bars"))
    return saved


def test_a_quote_of_the_same_instant_corrects_and_an_older_one_does_not(connection: sa.Connection):
    assert save(connection, quote(100, OPEN)) == prices.SavedQuotes(["AAPL"], ["AAPL"])
    assert save(connection, quote(100, OPEN)) == prices.SavedQuotes(["AAPL"], [])
    assert save(connection, quote(101, OPEN)) == prices.SavedQuotes(["AAPL"], ["AAPL"])
    assert save(connection, quote(99, OPEN - timedelta(microseconds=1))) == prices.SavedQuotes([], [])
    assert prices.read_quotes(connection)["AAPL"].price == 101


def test_whatever_a_symbol_is_called_and_a_price_lacks_comes_back_as_it_was(connection: sa.Connection):
    odd = replace(quote(100, OPEN), source='a "b", {\\} NULL', bid=Decimal("99.123456789"))
    plain = replace(quote(5, OPEN), symbol="NULL", ask=Decimal("1E+2"), previous_close=Decimal("1E-9"))
    save(connection, odd, plain)
    assert prices.read_quotes(connection, [odd.symbol, "NULL"]) == {odd.symbol: odd, "NULL": plain}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=8))
def test_in_whatever_order_quotes_arrive_the_newest_stays(
    connection: sa.Connection, arrivals: list[tuple[int, int]]
):
    connection.execute(sa.text("DELETE FROM quotes"))
    for at, price in arrivals:
        save(connection, quote(price, OPEN + timedelta(seconds=at)))
    newest = max(at for at, _ in arrivals)
    kept = prices.read_quotes(connection)["AAPL"]
    assert kept.quoted_at == OPEN + timedelta(seconds=newest)
    assert kept.price == [price for at, price in arrivals if at == newest][-1]


def test_the_same_bars_again_change_nothing_and_others_correct(connection: sa.Connection):
    assert save_bars(connection, bar("101"), bar("102", days=1)) == prices.SavedBars(added=2, corrected=0)
    assert save_bars(connection, bar("101"), bar("102", days=1)) == prices.SavedBars(added=0, corrected=0)
    assert save_bars(connection, bar("103")) == prices.SavedBars(added=0, corrected=1)


def test_what_a_bar_said_before_it_was_corrected_is_kept(connection: sa.Connection):
    save_bars(connection, bar("101"), bar("50", symbol="MSFT", opening="50"))
    save_bars(connection, bar("101"))
    assert prices.bar_revisions(connection, limit=9) == []
    save_bars(connection, replace(bar("103"), source="vendor"), bar("60", symbol="IBM"))
    save_bars(connection, replace(bar("102"), source="file"))
    kept = [
        (row["symbol"], row["session"], row["old_close"], row["new_close"], row["old_source"], row["source"])
        for row in prices.bar_revisions(connection, limit=9)
    ]
    day = OPEN.date()
    assert kept == [
        ("AAPL", day, 103, 102, "vendor", "file"),
        ("AAPL", day, 101, 103, "test", "vendor"),
    ]
    assert prices.bar_revisions(connection, symbol="MSFT", limit=9) == []
    with pytest.raises(sa.exc.DBAPIError, match="bar_revisions is append-only"):
        connection.execute(sa.text("UPDATE bar_revisions SET source = 'x'"))


def test_at_an_instant_a_symbol_costs_what_was_known_then(connection: sa.Connection):
    save_bars(connection, bar("101", opening="90"), bar("120", days=1, opening="110"))

    def price_at(at: datetime) -> Any:
        found = prices.stored_quotes(connection, ["AAPL"], at, "stored")
        return (found[0].price, found[0].quoted_at, found[0].previous_close) if found else None

    assert price_at(OPEN - timedelta(seconds=1)) is None
    assert price_at(OPEN) == (90, OPEN, None)
    assert price_at(CLOSE - timedelta(seconds=1)) == (90, OPEN, None)
    assert price_at(CLOSE) == (101, CLOSE, None)
    assert price_at(OPEN + DAY) == (110, OPEN + DAY, 101)


def test_minutes_tell_more_than_the_day(connection: sa.Connection):
    save_bars(connection, bar("150", opening="90"), minute(0, "90", "91"), minute(1, "92", "93"))

    def price_at(minutes: float) -> Decimal:
        at = OPEN + timedelta(minutes=minutes)
        return prices.stored_quotes(connection, ["AAPL"], at, "stored")[0].price

    assert [price_at(m) for m in (0, 0.5, 1, 1.5, 2, 60)] == [90, 90, 92, 92, 93, 93]


def test_a_history_holds_the_last_complete_bars_oldest_first(connection: sa.Connection):
    save_bars(connection, *(bar(str(100 + n), days=n) for n in range(5)))

    def closes(at: datetime, count: int) -> list[float] | None:
        found = prices.read_histories(connection, ["AAPL", "MSFT"], Timeframe.DAY, at=at, count=count)
        assert "MSFT" not in found
        return found["AAPL"].closes if found else None

    assert closes(CLOSE + 4 * DAY, 3) == [102, 103, 104]
    assert closes(CLOSE + 4 * DAY - timedelta(microseconds=1), 3) == [101, 102, 103]
    assert closes(OPEN, 3) is None


def test_the_official_closes_of_sessions_and_the_last_ones_before_them(connection: sa.Connection):
    today, yesterday, tomorrow = OPEN.date(), (OPEN - DAY).date(), (OPEN + DAY).date()
    save_bars(connection, bar("101"), bar("50", symbol="MSFT", days=-1, opening="50"), bar("120", days=1))
    assert prices.closes_between(connection, ["AAPL", "MSFT", "IBM"], today, tomorrow) == {
        ("AAPL", today): Decimal(101),
        ("AAPL", tomorrow): Decimal(120),
    }
    wanted = [("AAPL", today), ("AAPL", tomorrow), ("MSFT", today), ("IBM", today)]
    assert prices.closes_before(connection, wanted) == {
        ("AAPL", tomorrow): (Decimal(101), today),
        ("MSFT", today): (Decimal(50), yesterday),
    }


def test_the_last_minute_of_a_session(connection: sa.Connection):
    save_bars(connection, minute(0, "90", "91"), minute(7, "92", "93"), bar("150", opening="90"))
    wanted = [("AAPL", OPEN.date()), ("MSFT", OPEN.date()), ("AAPL", (OPEN + DAY).date())]
    assert prices.last_minute_closes(connection, wanted) == {("AAPL", OPEN.date()): 93}


def test_unknown_symbols_are_all_named(connection: sa.Connection):
    prices.ensure_instruments(connection, ["AAPL"])
    with pytest.raises(InvalidInputError, match="Unknown symbols IBM, XX: import bars"):
        prices.require_instruments(connection, ["XX", "AAPL", "IBM"])
