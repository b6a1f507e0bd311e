"""Announcing changed prices and hearing of them, between two sessions of a real PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.store import price_notifications
from trading_orchestration.store.price_notifications import PriceReading, publish_price_batch, watch_prices

NOON = datetime(2024, 7, 3, 16, tzinfo=UTC)


def store(connection: sa.Connection, price: int, *symbols: str) -> None:
    """Write one price for all symbols."""
    for table, columns, values, conflict in (
        ("instruments", "symbol", ":symbol", "DO NOTHING"),
        (
            "quotes",
            "symbol, price, quoted_at, received_at, source",
            ":symbol, :price, :at, :at, 'test'",
            "(symbol) DO UPDATE SET price = excluded.price",
        ),
    ):
        statement = sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT {conflict}")
        connection.execute(statement, [{"symbol": symbol, "price": price, "at": NOON} for symbol in symbols])


@pytest.fixture
def other_connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


async def next_reading(readings: AsyncGenerator[PriceReading]) -> PriceReading:
    async with asyncio.timeout(10):
        return await anext(readings)


def prices(reading: PriceReading) -> dict[str, int]:
    return {quote.symbol: int(quote.price) for quote in reading.quotes}


def test_the_first_reading_holds_every_price_as_the_domain_knows_it(
    database_url: str, engine: sa.Engine
) -> None:
    async def scenario() -> None:
        with engine.begin() as connection:
            store(connection, 10, "AAPL")
        async with aclosing(watch_prices(database_url)) as readings:
            reading = await next_reading(readings)
        expected = Quote(symbol="AAPL", price=Decimal(10), quoted_at=NOON, source="test")
        assert reading == PriceReading(0, [expected], is_complete=True)
        assert reading.quotes[0].quoted_at.utcoffset() == timedelta(0)

    asyncio.run(scenario())


def test_a_batch_is_numbered_and_read_by_its_symbols(database_url: str, engine: sa.Engine) -> None:
    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            with engine.begin() as connection:
                store(connection, 10, "AAPL", "MSFT")
                assert publish_price_batch(connection, ["AAPL"]) == 1
            reading = await next_reading(readings)
            assert (reading.sequence, reading.is_complete, prices(reading)) == (1, False, {"AAPL": 10})

    asyncio.run(scenario())


def test_a_batch_too_large_to_name_its_symbols_is_read_whole(database_url: str, engine: sa.Engine) -> None:
    symbols = [f"S{number:04}" for number in range(2_000)]

    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            with engine.begin() as connection:
                store(connection, 10, *symbols)
                publish_price_batch(connection, symbols)
            reading = await next_reading(readings)
            assert reading.is_complete
            assert len(reading.quotes) == 2_000

    asyncio.run(scenario())


def test_publishing_is_one_statement_whatever_the_number_of_symbols(engine: sa.Engine) -> None:
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    counts = [1, 1_316, 1_317, 5_000]
    for count in counts:
        with engine.begin() as connection:
            publish_price_batch(connection, [f"S{number:04}" for number in range(count)])
    assert len(statements) == len(counts)


def test_batches_that_commit_in_the_other_order_are_both_read(
    database_url: str, engine: sa.Engine, other_connection: sa.Connection
) -> None:
    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            store(other_connection, 10, "AAPL")
            assert publish_price_batch(other_connection, ["AAPL"]) == 1
            with engine.begin() as connection:
                store(connection, 20, "MSFT")
                assert publish_price_batch(connection, ["MSFT"]) == 2
            early = await next_reading(readings)
            assert (early.sequence, prices(early)) == (2, {"MSFT": 20})
            other_connection.commit()
            late = await next_reading(readings)
            assert (late.sequence, prices(late)) == (2, {"AAPL": 10})

    asyncio.run(scenario())


def test_a_gap_in_the_numbers_makes_it_read_everything(database_url: str, engine: sa.Engine) -> None:
    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            with engine.begin() as connection:
                store(connection, 10, "AAPL", "MSFT")
                connection.execute(sa.text("SELECT nextval('price_batch_sequence')"))
                publish_price_batch(connection, ["MSFT"])
            reading = await next_reading(readings)
            assert (reading.sequence, reading.is_complete) == (2, True)
            assert prices(reading) == {"AAPL": 10, "MSFT": 10}

    asyncio.run(scenario())


def test_a_silent_gap_is_found_by_the_heartbeat(database_url: str, engine: sa.Engine) -> None:
    async def scenario() -> None:
        async with aclosing(watch_prices(database_url, heartbeat_s=0.05)) as readings:
            await next_reading(readings)
            with engine.begin() as connection:
                store(connection, 10, "AAPL")
                connection.execute(sa.text("SELECT nextval('price_batch_sequence')"))
            reading = await next_reading(readings)
            assert (reading.sequence, prices(reading)) == (1, {"AAPL": 10})

    asyncio.run(scenario())


def test_a_notification_that_is_not_ours_makes_it_read_everything(
    database_url: str, engine: sa.Engine
) -> None:
    announce = sa.text("SELECT pg_notify('price_batches', :payload)")

    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            for payload in ("", "nonsense", "9" * 5_000, "-1", "99999999999 AAPL"):
                with engine.begin() as connection:
                    connection.execute(announce, {"payload": payload})
                reading = await next_reading(readings)
                assert (reading.sequence, reading.is_complete) == (0, True)

    asyncio.run(scenario())


def test_notifications_that_arrive_while_it_reads_are_not_lost(database_url: str, engine: sa.Engine) -> None:
    """Two batches are committed between two readings: the session's buffer holds the second."""

    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            seen: dict[str, int] = {}
            for number in range(1, 41):
                with engine.begin() as connection:
                    store(connection, number, f"S{number}")
                    publish_price_batch(connection, [f"S{number}"])
                if number % 2 == 0:
                    seen |= prices(await next_reading(readings))
            while len(seen) < 40:
                seen |= prices(await next_reading(readings))
            assert seen == {f"S{number}": number for number in range(1, 41)}

    asyncio.run(scenario())


def test_a_lost_connection_is_said_and_ends_the_readings(database_url: str, engine: sa.Engine) -> None:
    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            with engine.begin() as connection:
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'trading stream' AND datname = current_database()"
                    )
                )
            with pytest.raises(DatabaseUnavailableError, match="lost PostgreSQL"):
                await next_reading(readings)

    asyncio.run(scenario())


def test_a_server_that_stops_answering_is_a_lost_connection(
    database_url: str,
    engine: sa.Engine,
    other_connection: sa.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(price_notifications, "READ_TIMEOUT_S", 0.2)

    async def scenario() -> None:
        async with aclosing(watch_prices(database_url)) as readings:
            await next_reading(readings)
            other_connection.execute(sa.text("LOCK TABLE quotes"))
            with engine.begin() as connection:
                publish_price_batch(connection, ["AAPL"])
            with pytest.raises(DatabaseUnavailableError, match="lost PostgreSQL"):
                await next_reading(readings)

    asyncio.run(scenario())
