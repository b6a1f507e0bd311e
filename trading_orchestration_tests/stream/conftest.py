"""A price stream on a free loopback port, clients of it, and a job that publishes prices."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

import psycopg
import pytest
import sqlalchemy as sa
from websockets.asyncio.client import ClientConnection, connect

from trading_orchestration.domain.price import Quote
from trading_orchestration.stream.price_stream import WebSocketService
from trading_orchestration.stream.server import StreamOptions, serve

NOON = datetime(2024, 7, 3, 16, tzinfo=UTC)
PATIENCE_S = 10.0

INSTRUMENTS = sa.text("INSERT INTO instruments (symbol) VALUES (:symbol) ON CONFLICT DO NOTHING")
QUOTES = sa.text("""
    INSERT INTO quotes (symbol, price, quoted_at, received_at, source)
    VALUES (:symbol, :price, :at, :at, 'test')
    ON CONFLICT (symbol) DO UPDATE SET price = excluded.price""")


class PriceWriter:
    """Writes prices as `price_update` does: rows and announcement in one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def write(self, connection: sa.Connection, prices: Mapping[str, int]) -> int | None:
        """Write and announce prices on a connection, whose transaction the caller ends."""
        self.store(connection, prices)
        changed = [
            Quote(symbol=symbol, price=Decimal(price), quoted_at=NOON, source="test")
            for symbol, price in prices.items()
        ]
        return WebSocketService().broadcast_price_update(connection, changed)

    def store(self, connection: sa.Connection, prices: Mapping[str, int]) -> None:
        """Write prices and tell nobody."""
        rows = [{"symbol": symbol, "price": price, "at": NOON} for symbol, price in prices.items()]
        connection.execute(INSTRUMENTS, rows)
        connection.execute(QUOTES, rows)

    def publish(self, **prices: int) -> int | None:
        """One committed batch."""
        with self.engine.begin() as connection:
            return self.write(connection, prices)

    def lose_batch(self, **prices: int) -> None:
        """A committed batch whose notification nobody ever gets."""
        with self.engine.begin() as connection:
            self.store(connection, prices)
            connection.execute(sa.text("SELECT nextval('price_batch_sequence')"))

    def cut_listeners(self) -> None:
        """End every listening session of this database, as an administrator or a restart would."""
        with self.engine.begin() as connection:
            count = connection.execute(
                sa.text(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'trading stream' AND datname = current_database()"
                )
            ).scalar_one()
        assert count > 0


class Client:
    """A websocket client that speaks the stream's JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, action: str, *symbols: str, **more: object) -> None:
        """Send one request."""
        content = {"action": action, **({"symbols": symbols} if symbols else {}), **more}
        await self.connection.send(json.dumps(content))

    async def receive(self, *types: str) -> dict[str, Any]:
        """The next message of one of these types; others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                if message["type"] in types:
                    return message

    async def subscribe(self, *symbols: str) -> dict[str, Any]:
        """Subscribe and wait for the snapshot."""
        await self.send("subscribe", *symbols)
        return await self.receive("snapshot")


@contextmanager
def no_new_sessions(server_url: str, engine: sa.Engine) -> Iterator[None]:
    """The engine's database takes no new session; those that are open go on."""
    statement = 'ALTER DATABASE "{}" ALLOW_CONNECTIONS {}'
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(statement.format(engine.url.database, "false").encode())
        yield
        administrator.execute(statement.format(engine.url.database, "true").encode())


def prices_of(message: Mapping[str, Any]) -> dict[str, str]:
    """symbol → price of a snapshot or prices message."""
    return {price["symbol"]: price["price"] for price in message["prices"]}


@asynccontextmanager
async def client_of(address: str, **options: Any) -> AsyncIterator[Client]:
    """A connected client."""
    async with connect(address, compression=None, **options) as connection:
        yield Client(connection)


class StartStream(Protocol):
    """Starts a stream; gives its address."""

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
def writer(engine: sa.Engine) -> PriceWriter:
    return PriceWriter(engine)


@pytest.fixture
def start_stream(database_url: str) -> StartStream:
    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[str]:
        address = asyncio.get_running_loop().create_future()
        on_listening: Callable[[str], None] = address.set_result
        settings = StreamOptions(**{"port": 0, "flush_interval_s": 0.02, **options})
        serving = asyncio.create_task(serve(database_url, settings, on_listening=on_listening))
        try:
            await asyncio.wait({serving, address}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            yield address.result()
        finally:
            serving.cancel()
            await asyncio.wait({serving})
        assert serving.cancelled()

    return start
