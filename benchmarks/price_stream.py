"""How fast changed prices reach websocket clients: `python benchmarks/price_stream.py`.

Three processes, as in production: a publisher that writes every symbol and commits, the server, and the
clients. "Latency" is from the publisher's commit to a client holding the message, at one batch every
250 ms. "Capacity" is what the server sends while batches are published without a pause and the flush
interval is 1 ms instead of 100. Each is the median of several runs.
"""

import argparse
import asyncio
import json
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import sqlalchemy as sa
from websockets.asyncio.client import ClientConnection, connect

from trading_orchestration.domain.price import Quote
from trading_orchestration.store import embedded_postgres, migrations
from trading_orchestration.store.database import create_engine
from trading_orchestration.stream.price_stream import WebSocketService

AT = datetime(2024, 7, 3, 16, tzinfo=UTC)
SERVER = (
    "import sys; from trading_orchestration.stream.server import StreamOptions, run\n"
    "options = StreamOptions(port=0, max_clients=2_000, flush_interval_s=float(sys.argv[2]))\n"
    "run(sys.argv[1], options, on_listening=lambda address: print(address, flush=True))"
)
UPSERT = sa.text("""
    INSERT INTO quotes (symbol, price, quoted_at, received_at, source)
    SELECT symbol, :price, :at, :at, 'benchmark' FROM unnest(CAST(:symbols AS text[])) AS symbol
    ON CONFLICT (symbol) DO UPDATE SET price = excluded.price""")

# (batch number, moment) of every message a client received; all symbols of a batch change.
Arrivals = list[tuple[int, float]]


def main() -> None:
    """Run both measurements and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one run")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    symbols = [f"S{number:05}" for number in range(given.symbols)]
    print(f"{platform.node()}, {platform.machine()}, {multiprocessing.cpu_count()} cores, "
          f"Python {platform.python_version()}")  # fmt: skip
    print(f"{given.clients} clients × {given.symbols} symbols, {given.runs} runs of {given.seconds:g} s")
    with database(symbols) as url:
        publisher = Publisher(url, symbols)
        runs = range(given.runs)
        print_latency([measure(publisher, given.clients, given.seconds, 0.25, 0.1) for _ in runs])
        print_capacity([measure(publisher, given.clients, given.seconds, 0.0, 0.001) for _ in runs], symbols)


@contextmanager
def database(symbols: list[str]) -> Iterator[str]:
    """A migrated database on an embedded server of its own."""
    with tempfile.TemporaryDirectory() as home, embedded_postgres.use(Path(home)) as server:
        engine = create_engine(server.trading_url, application_name="benchmark")
        migrations.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO instruments (symbol) VALUES (:s)"), [{"s": symbol} for symbol in symbols]
            )
        engine.dispose()
        yield server.trading_url


class Publisher:
    """Writes a new price for every symbol and announces the batch."""

    def __init__(self, url: str, symbols: list[str]) -> None:
        self.url = url
        self.symbols = symbols
        self.committed_at: dict[int, float] = {}
        self._engine = create_engine(url, application_name="benchmark")
        self._count = 0

    def publish(self) -> None:
        self._count += 1
        price = 100 + Decimal(self._count) / 100
        quotes = [Quote(symbol=s, price=price, quoted_at=AT, source="benchmark") for s in self.symbols]
        with self._engine.begin() as connection:
            connection.execute(UPSERT, {"symbols": self.symbols, "price": price, "at": AT})
            sequence = WebSocketService().broadcast_price_update(connection, quotes)
        assert sequence is not None
        self.committed_at[sequence] = time.monotonic()


class Run:
    """What one run saw."""

    def __init__(self, committed_at: dict[int, float], arrivals: Arrivals, seconds: float) -> None:
        latencies = [at - committed_at[number] for number, at in arrivals if number in committed_at]
        self.latencies_ms = sorted(1_000 * max(0.0, latency) for latency in latencies)
        self.batches_per_s = len(committed_at) / seconds
        self.messages_per_s = len(arrivals) / seconds


def measure(publisher: Publisher, clients: int, seconds: float, pause_s: float, flush_s: float) -> Run:
    """Publish for `seconds` to clients of a fresh server, then collect what they received."""
    with server(publisher.url, flush_s) as address:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        arguments = (address, clients, publisher.symbols, theirs)
        receiver = multiprocessing.get_context("spawn").Process(target=receive, args=arguments)
        receiver.start()
        ours.recv()
        publisher.committed_at = {}
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            publisher.publish()
            time.sleep(pause_s)
        ours.send("stop")
        arrivals: Arrivals = ours.recv()
        receiver.join()
    return Run(publisher.committed_at, arrivals, seconds)


@contextmanager
def server(url: str, flush_s: float) -> Iterator[str]:
    """The price stream in a process of its own; its address."""
    command = [sys.executable, "-c", SERVER, url, str(flush_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def receive(address: str, clients: int, symbols: list[str], pipe: Pipe) -> None:
    """The clients' process: connect, say so, and send back all arrivals when told to stop."""
    asyncio.run(_receive(address, clients, symbols, pipe))


async def _receive(address: str, clients: int, symbols: list[str], pipe: Pipe) -> None:
    arrivals: Arrivals = []
    connections = [
        await connect(address, compression=None, max_size=None, proxy=None) for _ in range(clients)
    ]
    await asyncio.gather(*(_subscribe(connection, symbols) for connection in connections))
    tasks = [asyncio.create_task(_collect(connection, arrivals.append)) for connection in connections]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stopping.set)
    pipe.send("ready")
    await stopping.wait()
    for task in tasks:
        task.cancel()
    pipe.send(arrivals)
    for connection in connections:
        connection.transport.abort()


async def _subscribe(connection: ClientConnection, symbols: list[str]) -> None:
    await connection.send(json.dumps({"action": "subscribe", "symbols": symbols}))
    while json.loads(await connection.recv())["type"] != "snapshot":
        pass


async def _collect(connection: ClientConnection, arrived: Callable[[tuple[int, float]], None]) -> None:
    async for message in connection:
        assert isinstance(message, str)
        at = time.monotonic()
        if message.startswith('{"type":"prices","sequence":'):
            arrived((int(message[28 : message.index(",", 28)]), at))


def print_latency(runs: list[Run]) -> None:
    """Medians over the runs of the median and the 99th percentile."""
    median = statistics.median(statistics.median(run.latencies_ms) for run in runs)
    late = statistics.median(run.latencies_ms[int(len(run.latencies_ms) * 0.99)] for run in runs)
    print(f"latency, commit → client    median {median:.0f} ms, 99 % within {late:.0f} ms")


def print_capacity(runs: list[Run], symbols: list[str]) -> None:
    """Medians over the runs of what was sent."""
    messages = statistics.median(run.messages_per_s for run in runs)
    batches = statistics.median(run.batches_per_s for run in runs)
    print(
        f"capacity                    {messages:,.0f} messages/s of {len(symbols)} prices "
        f"({messages * len(symbols):,.0f} prices/s), while {batches:.0f} batches/s were published"
    )


if __name__ == "__main__":
    main()
