"""The price stream's websocket server: follows the database, and sends clients the prices they watch."""

import asyncio
import errno
import logging
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import websockets.asyncio.server as websocket_server
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Origin

from trading_orchestration.errors import DatabaseError, InvalidInputError, SettingsError
from trading_orchestration.store.price_notifications import PriceReading, watch_prices
from trading_orchestration.stream.broadcast import PriceBook, Subscriber
from trading_orchestration.stream.messages import State, error_message, parse_request

log = logging.getLogger(__name__)

LOOPBACK_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 10.0
# A client may ask 50 times a second; faster ones wait in their own socket.
REQUEST_INTERVAL_S = 0.02
# The kernel would buffer megabytes for a client that does not read, and hide that it stalls.
SEND_BUFFER_BYTES = 128 * 1024
CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Where the price stream listens and what it allows. Raises InvalidInputError for an impossible value."""

    host: str = "127.0.0.1"
    #: 0 takes a free port.
    port: int = 8765
    #: Browser pages that may connect, as `https://host:port`, besides those served from this machine.
    allowed_origins: tuple[str, ...] = ()
    max_clients: int = 200
    max_symbols_per_client: int = 2_000
    max_request_bytes: int = 64 * 1024
    #: The least time between two price messages to the same client.
    flush_interval_s: float = 0.1
    #: A client that takes longer than this to read what it was sent is closed.
    stall_timeout_s: float = 10.0
    #: A client is pinged this often and closed when it does not answer as long.
    ping_interval_s: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInputError(f"Port {self.port} is impossible; choose one from 1 to 65535.")
        for name in ("max_clients", "max_symbols_per_client", "max_request_bytes", "flush_interval_s"):
            if getattr(self, name) <= 0:
                raise InvalidInputError(f"{name} is {getattr(self, name)}; it must be above 0.")


def run(database_url: str, options: StreamOptions, *, on_listening: Callable[[str], None]) -> None:
    """Serve the price stream until SIGINT or SIGTERM; see `serve`."""
    asyncio.run(_serve_until_signal(database_url, options, on_listening))


async def serve(
    database_url: str, options: StreamOptions, *, on_listening: Callable[[str], None] | None = None
) -> None:
    """Serve the price stream until cancelled; clients are then closed with code 1001 (going away).

    `on_listening` gets the address, as `ws://127.0.0.1:8765`, once all prices are loaded and clients may
    come. Raises DatabaseUnavailableError or SchemaError when the prices cannot be read at the start, and
    SettingsError when the port cannot be taken. A database that goes away later is waited for: clients
    stay, are told that prices are stale, and are sent what changed when it is back.
    """
    stream = _PriceStream(options)
    async with aclosing(watch_prices(database_url)) as readings:
        stream.take(await anext(readings))
        async with _listening(stream, options) as address:
            if on_listening:
                on_listening(address)
            await _follow(stream, readings, database_url)


async def _serve_until_signal(
    database_url: str, options: StreamOptions, on_listening: Callable[[str], None]
) -> None:
    serving = asyncio.create_task(serve(database_url, options, on_listening=on_listening))
    # asyncio.run does the same for SIGINT.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving


async def _follow(stream: "_PriceStream", readings: AsyncIterator[PriceReading], database_url: str) -> None:
    wait_s = FIRST_RETRY_S
    while True:
        try:
            async for reading in readings:
                stream.take(reading)
                wait_s = FIRST_RETRY_S
        except DatabaseError as error:
            log.warning("%s The prices are stale; trying again in %s s.", error, wait_s)
        stream.mark_stale()
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LAST_RETRY_S)
        readings = watch_prices(database_url)


@asynccontextmanager
async def _listening(stream: "_PriceStream", options: StreamOptions) -> AsyncIterator[str]:
    try:
        server = await websocket_server.serve(
            stream.serve_client,
            options.host,
            options.port,
            origins=[None, LOOPBACK_ORIGIN, *map(Origin, options.allowed_origins)],
            compression=None,
            max_size=options.max_request_bytes,
            ping_interval=options.ping_interval_s,
            ping_timeout=options.ping_interval_s,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=None,
        )
    except OSError as error:
        raise SettingsError(_why_not_listening(options, error)) from error
    async with server:
        yield _address(server)


class _PriceStream:
    """The price book and the clients that watch it."""

    def __init__(self, options: StreamOptions) -> None:
        self._options = options
        self._book = PriceBook()
        self._subscribers: set[Subscriber] = set()

    def take(self, reading: PriceReading) -> None:
        changed = self._book.take(reading)
        for subscriber in self._subscribers:
            subscriber.notice(changed)
        self._set_state(State.LIVE)

    def mark_stale(self) -> None:
        self._set_state(State.STALE)

    async def serve_client(self, connection: websocket_server.ServerConnection) -> None:
        if len(self._subscribers) >= self._options.max_clients:
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"{self._options.max_clients} clients are here")
            return
        _limit_send_buffer(connection)
        subscriber = Subscriber(self._book, max_symbols=self._options.max_symbols_per_client)
        self._subscribers.add(subscriber)
        try:
            async with asyncio.TaskGroup() as tasks:
                flushing = tasks.create_task(self._flush(connection, subscriber))
                await self._answer(connection, subscriber)
                flushing.cancel()
        except* ConnectionClosed as closed:
            log.debug("A client went away: %s", closed.exceptions[0])
        finally:
            self._subscribers.discard(subscriber)

    async def _answer(self, connection: websocket_server.ServerConnection, subscriber: Subscriber) -> None:
        async for message in connection:
            try:
                reply = subscriber.answer(parse_request(message))
            except InvalidInputError as error:
                reply = error_message(str(error))
            if reply is not None:
                await self._send(connection, reply)
            await asyncio.sleep(REQUEST_INTERVAL_S)

    async def _flush(self, connection: websocket_server.ServerConnection, subscriber: Subscriber) -> None:
        while True:
            await subscriber.has_news.wait()
            subscriber.has_news.clear()
            for message in subscriber.messages():
                await self._send(connection, message)
            await asyncio.sleep(self._options.flush_interval_s)

    async def _send(self, connection: websocket_server.ServerConnection, message: str) -> None:
        try:
            async with asyncio.timeout(self._options.stall_timeout_s):
                await connection.send(message)
        except TimeoutError:
            log.warning("Closing a client that read nothing for %s s.", self._options.stall_timeout_s)
            connection.transport.abort()

    def _set_state(self, state: State) -> None:
        if self._book.state is not state:
            self._book.state = state
            for subscriber in self._subscribers:
                subscriber.has_news.set()


def _limit_send_buffer(connection: websocket_server.ServerConnection) -> None:
    client_socket: socket.socket = connection.transport.get_extra_info("socket")
    client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _address(server: websocket_server.Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _why_not_listening(options: StreamOptions, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {options.port} on {options.host} is in use; stop the process that holds it, "
            "or give the price stream another port."
        )
    return f"The price stream cannot listen on {options.host} port {options.port}: {error.strerror or error}."
