"""Changed prices between processes: one NOTIFY a batch, and a listener that misses none.

The notification carries the batch's number and, where they fit, the symbols that changed; never prices.
The listener reads the rows of those symbols from `quotes`, by primary key. PostgreSQL limits a payload to
8,000 bytes: 500 symbols fit, 5,000 do not, and a batch of that size is most of the table, so it carries its
number alone and the listener reads the table whole (5,000 rows in about 15 ms). That is why `quotes` needs no
column naming the batch that wrote a row: an index on such a column would end HOT updates of the hottest
table, "changed since number N" would still miss batches that commit out of order, and every writer of
`quotes` would have to set it.

Numbers come from a sequence, so a rolled-back batch leaves a gap and two writers may commit in the other
order. Neither loses a price: a gap makes the listener read everything, and a number that comes late is read
like any other. What is read is always the newest committed row, so reading it twice does no harm.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import class_row

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import DatabaseError, DatabaseUnavailableError, SchemaError
from trading_orchestration.store.database import CONNECT_TIMEOUT_S, query, run

Connection = sa.Connection

# PostgreSQL refuses 8,000 bytes and more; a batch number takes up to 19 of them.
MAX_NAMES_BYTES = 7_900

# Silence after which the listener asks whether the server is there and whether it missed a number.
HEARTBEAT_S = 5.0
READ_TIMEOUT_S = 10.0


def publish_price_batch(connection: Connection, symbols: Sequence[str]) -> int:
    """Announce that the prices of `symbols` changed; answers the batch's number.

    Listeners hear of it when the caller's transaction commits, and never if it does not.
    """
    names = "".join(f" {symbol}" for symbol in symbols)
    if len(names.encode()) > MAX_NAMES_BYTES:
        names = ""
    return int(run(connection, "publish_price_batch", names=names).scalar_one())


@dataclass(frozen=True, slots=True)
class PriceReading:
    """Prices as they stood at batch `sequence` or later: all there are (`is_complete`), or changed ones."""

    sequence: int
    quotes: Sequence[Quote]
    is_complete: bool


async def watch_prices(url: str, *, heartbeat_s: float = HEARTBEAT_S) -> AsyncGenerator[PriceReading]:
    """All prices at once, then every change as it is committed, for as long as the connection holds.

    It listens before it reads, so nothing committed in between is lost; batches that arrive together are
    read together. After `heartbeat_s` of silence the server is asked for the newest number, which tells a
    dead connection and a lost notification alike. It needs a session of its own: a pooler that shares
    sessions between transactions drops LISTEN.

    Raises DatabaseUnavailableError when the connection cannot be made or is lost, SchemaError when the
    database was never upgraded, DatabaseError for anything else. Call it again to come back.
    """
    try:
        async with await _connect(url) as connection:
            listener = _Listener(connection)
            yield await listener.start()
            while True:
                reading = await listener.wait_for_change(heartbeat_s)
                if reading is not None:
                    yield reading
    except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
        raise DatabaseUnavailableError(f"The price stream lost PostgreSQL: {_last_line(error)}") from error
    except psycopg.errors.UndefinedTable as error:
        raise SchemaError("The database holds no prices table; run `trading db upgrade`.") from error
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL refused the price stream: {_last_line(error)}") from error


class _Listener:
    """One listening session, and the number of the newest batch it has read."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._sequence = 0

    async def start(self) -> PriceReading:
        await self._connection.execute("SET TIME ZONE 'UTC'; LISTEN price_batches")
        return await self._read_all()

    async def wait_for_change(self, timeout_s: float) -> PriceReading | None:
        # Stops after the first packet, which may hold several; the connection keeps what comes meanwhile.
        notifications = self._connection.notifies(timeout=timeout_s, stop_after=1)
        batches = [_parse(notification.payload) async for notification in notifications]
        if not batches:
            return await self._read_all() if await self._newest() > self._sequence else None
        symbols = {symbol for _, names in batches for symbol in names}
        if any(not names for _, names in batches) or self._misses_one([number for number, _ in batches]):
            return await self._read_all()
        self._sequence = max(self._sequence, *(number for number, _ in batches))
        return PriceReading(self._sequence, await self._read_quotes_of(symbols), is_complete=False)

    def _misses_one(self, numbers: Sequence[int]) -> bool:
        newer = {number for number in numbers if number > self._sequence}
        return bool(newer) and max(newer) - self._sequence != len(newer)

    async def _read_all(self) -> PriceReading:
        self._sequence = await self._newest()
        async with asyncio.timeout(READ_TIMEOUT_S), self._connection.cursor(row_factory=_to_quote) as cursor:
            await cursor.execute(_driver_sql("streamed_quotes"))
            return PriceReading(self._sequence, await cursor.fetchall(), is_complete=True)

    async def _read_quotes_of(self, symbols: Collection[str]) -> list[Quote]:
        async with asyncio.timeout(READ_TIMEOUT_S), self._connection.cursor(row_factory=_to_quote) as cursor:
            await cursor.execute(_driver_sql("streamed_quotes_of"), {"symbols": sorted(symbols)})
            return await cursor.fetchall()

    async def _newest(self) -> int:
        async with asyncio.timeout(READ_TIMEOUT_S):
            cursor = await self._connection.execute(_driver_sql("newest_price_batch"))
            return int((await cursor.fetchone() or (0,))[0])


_to_quote = class_row(Quote)
_DIALECT = sa.make_url("postgresql+psycopg://").get_dialect()()


async def _connect(url: str) -> psycopg.AsyncConnection[Any]:
    conninfo = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return await psycopg.AsyncConnection.connect(
        conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="trading stream"
    )


def _driver_sql(name: str) -> bytes:
    """A named query with the driver's own placeholders."""
    return str(query(name).compile(dialect=_DIALECT)).encode()


def _parse(payload: str) -> tuple[int, tuple[str, ...]]:
    """A batch's number and symbols; no symbols means: read everything. Any role may NOTIFY anything."""
    number, *names = payload.split(" ")
    try:
        return int(number), tuple(names)
    except ValueError:
        return 0, ()


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
