"""The price stream over real sockets, on a real database."""

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from trading_orchestration.errors import (
    DatabaseUnavailableError,
    InvalidInputError,
    SchemaError,
    SettingsError,
)
from trading_orchestration.stream import server
from trading_orchestration.stream.server import StreamOptions, serve
from trading_orchestration_tests.stream.conftest import (
    PATIENCE_S,
    Client,
    PriceWriter,
    StartStream,
    client_of,
    no_new_sessions,
    prices_of,
)


async def changes_until(client: Client, symbol: str, price: str) -> list[dict[str, str]]:
    """The prices messages up to the one in which a symbol has a price."""
    messages = [prices_of(await client.receive("prices"))]
    while messages[-1].get(symbol) != price:
        messages.append(prices_of(await client.receive("prices")))
    return messages


def test_a_client_receives_a_snapshot_and_then_only_its_symbols(
    start_stream: StartStream, writer: PriceWriter
) -> None:
    async def scenario() -> None:
        first = writer.publish(AAPL=10, MSFT=20)
        async with start_stream() as address, client_of(address) as client:
            assert (await client.receive("status"))["state"] == "live"
            snapshot = await client.subscribe("AAPL", "ZZZ")
            assert prices_of(snapshot) == {"AAPL": "10"}
            assert snapshot["sequence"] == first
            assert snapshot["unpriced"] == ["ZZZ"]
            writer.publish(MSFT=21)
            last = writer.publish(AAPL=11, MSFT=22)
            message = await client.receive("prices")
            assert prices_of(message) == {"AAPL": "11"}
            assert message["sequence"] == last

    asyncio.run(scenario())


def test_an_unsubscribed_symbol_is_not_sent_any_more(start_stream: StartStream, writer: PriceWriter) -> None:
    async def scenario() -> None:
        async with start_stream() as address, client_of(address) as client:
            await client.subscribe("AAPL", "MSFT")
            await client.send("unsubscribe", "AAPL")
            await client.subscribe("MSFT")
            writer.publish(AAPL=10, MSFT=20)
            assert prices_of(await client.receive("prices")) == {"MSFT": "20"}

    asyncio.run(scenario())


def test_changes_faster_than_the_flush_are_conflated_to_the_newest(
    start_stream: StartStream, writer: PriceWriter
) -> None:
    async def scenario() -> None:
        async with start_stream(flush_interval_s=0.6) as address, client_of(address) as client:
            await client.subscribe("AAPL")
            for price in range(1, 31):
                writer.publish(AAPL=price)
                await asyncio.sleep(0.005)
            messages = await changes_until(client, "AAPL", "30")
            assert len(messages) < 15

    asyncio.run(scenario())


def test_a_batch_that_is_rolled_back_is_never_heard_of(
    start_stream: StartStream, writer: PriceWriter
) -> None:
    async def scenario() -> None:
        async with start_stream() as address, client_of(address) as client:
            await client.subscribe("AAPL", "MSFT")
            with writer.engine.connect() as connection:
                writer.write(connection, {"AAPL": 666})
                connection.rollback()
            writer.publish(MSFT=20)
            assert prices_of(await client.receive("prices")) == {"MSFT": "20"}
            assert prices_of(await client.subscribe("AAPL")) == {}

    asyncio.run(scenario())


def test_a_lost_notification_is_made_good_by_the_next(start_stream: StartStream, writer: PriceWriter) -> None:
    async def scenario() -> None:
        async with start_stream() as address, client_of(address) as client:
            await client.subscribe("AAPL", "MSFT")
            writer.lose_batch(AAPL=10)
            writer.publish(MSFT=20)
            assert prices_of(await client.receive("prices")) == {"AAPL": "10", "MSFT": "20"}

    asyncio.run(scenario())


def test_clients_outlive_a_lost_database_connection_and_get_what_changed_meanwhile(
    start_stream: StartStream, writer: PriceWriter
) -> None:
    async def scenario() -> None:
        async with start_stream() as address, client_of(address) as client:
            assert (await client.receive("status"))["state"] == "live"
            await client.subscribe("AAPL")
            writer.cut_listeners()
            writer.publish(AAPL=10)
            assert (await client.receive("status", "prices"))["state"] == "stale"
            assert (await client.receive("status", "prices"))["state"] == "live"
            assert prices_of(await client.receive("prices")) == {"AAPL": "10"}
            writer.publish(AAPL=11)
            assert prices_of(await client.receive("prices")) == {"AAPL": "11"}

    asyncio.run(scenario())


def test_a_database_that_stays_away_is_asked_again_until_it_is_back(
    start_stream: StartStream, writer: PriceWriter, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with start_stream() as address, client_of(address) as client:
            await client.subscribe("AAPL")
            writer.publish(AAPL=9)
            assert prices_of(await client.receive("prices")) == {"AAPL": "9"}
            with no_new_sessions(server_url, writer.engine):
                writer.cut_listeners()
                writer.publish(AAPL=10)
                async with asyncio.timeout(PATIENCE_S):
                    while "trying again in 0.5 s" not in caplog.text:
                        await asyncio.sleep(0.02)
            assert prices_of(await client.receive("prices")) == {"AAPL": "10"}

    asyncio.run(scenario())


def test_a_client_that_answers_no_ping_loses_its_place(
    start_stream: StartStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSE_TIMEOUT_S", 0.1)

    async def scenario() -> None:
        async with (
            start_stream(max_clients=1, ping_interval_s=0.1) as address,
            client_of(address, close_timeout=0.1) as deaf,
        ):
            await deaf.subscribe("AAPL")
            deaf.connection.transport.pause_reading()
            async with asyncio.timeout(PATIENCE_S):
                while not await is_let_in(address):
                    await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_client_that_vanishes_is_no_error(
    start_stream: StartStream, writer: PriceWriter, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with start_stream() as address:
            async with client_of(address) as vanishing:
                await vanishing.subscribe("AAPL")
                vanishing.connection.transport.abort()
            writer.publish(AAPL=10)
            async with client_of(address) as client:
                await client.subscribe("AAPL")
                writer.publish(AAPL=11)
                await client.receive("prices")

    asyncio.run(scenario())
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


def test_a_client_that_resumes_gets_all_its_prices_and_how_many_batches_it_missed(
    start_stream: StartStream, writer: PriceWriter
) -> None:
    async def scenario() -> None:
        writer.publish(AAPL=10, MSFT=20)
        async with start_stream() as address:
            async with client_of(address) as client:
                seen = (await client.subscribe("AAPL", "MSFT"))["sequence"]
            for price in (11, 12, 13):
                writer.publish(AAPL=price)
            async with client_of(address) as watcher:
                while (await watcher.subscribe("AAPL"))["sequence"] < seen + 3:
                    await asyncio.sleep(0.01)
            async with client_of(address) as client:
                await client.send("resume", "AAPL", "MSFT", sequence=seen)
                snapshot = await client.receive("snapshot", "prices")
                assert prices_of(snapshot) == {"AAPL": "13", "MSFT": "20"}
                assert snapshot["missed_batches"] == 3
                assert snapshot["sequence"] == seen + 3

    asyncio.run(scenario())


def test_a_stalled_client_is_closed_and_holds_nobody_up(
    start_stream: StartStream, writer: PriceWriter, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = [f"S{number}" for number in range(1_000)]

    async def scenario() -> None:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        async with AsyncExitStack() as stack:
            address = await stack.enter_async_context(start_stream(stall_timeout_s=0.5))
            host, port = address.removeprefix("ws://").split(":")
            narrow.connect((host, int(port)))
            stalled = await stack.enter_async_context(client_of(address, sock=narrow, max_queue=1))
            reading = await stack.enter_async_context(client_of(address))
            await stalled.send("subscribe", *symbols)
            await reading.subscribe("S0")
            for price in range(1, 6):
                writer.publish(**dict.fromkeys(symbols, price))
                assert prices_of(await reading.receive("prices")) == {"S0": str(price)}
            async with asyncio.timeout(PATIENCE_S):
                while "Closing a client that read nothing for 0.5 s" not in caplog.text:
                    await asyncio.sleep(0.02)
            with pytest.raises(ConnectionClosedError):
                await stalled.receive("no such type")
            writer.publish(S0=99)
            assert prices_of(await reading.receive("prices")) == {"S0": "99"}

    asyncio.run(scenario())


BAD_REQUESTS: dict[str | bytes, str] = {
    "not json": "is not JSON",
    b"\x00": "was binary",
    '{"action":"buy"}': "unknown",
    '{"action":"subscribe","symbols":["A","B","C","D"]}': "may watch 3 symbols",
}


def test_a_bad_request_gets_a_reason_and_the_connection_goes_on(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with start_stream(max_symbols_per_client=3) as address, client_of(address) as client:
            for message, reason in BAD_REQUESTS.items():
                await client.connection.send(message)
                assert reason in (await client.receive("error"))["message"]
            assert (await client.subscribe("AAPL"))["unpriced"] == ["AAPL"]

    asyncio.run(scenario())


def test_a_request_above_the_size_limit_closes_the_connection(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with start_stream(max_request_bytes=1_000) as address, client_of(address) as client:
            await client.connection.send("x" * 1_001)
            with pytest.raises(ConnectionClosedError) as closed:
                await client.receive("error")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    asyncio.run(scenario())


async def is_let_in(address: str) -> bool:
    """Whether a new client is served."""
    async with client_of(address) as client:
        try:
            await client.subscribe("AAPL")
        except ConnectionClosedError:
            return False
    return True


def test_one_client_too_many_is_sent_away_and_a_freed_place_is_given_again(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with start_stream(max_clients=1) as address:
            async with client_of(address) as first:
                await first.subscribe("AAPL")
                async with client_of(address) as second:
                    with pytest.raises(ConnectionClosedError) as closed:
                        await second.receive("status")
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1013
            async with asyncio.timeout(PATIENCE_S):
                while not await is_let_in(address):
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


OUR_ORIGINS = (None, "http://localhost:3000", "http://127.0.0.1", "https://[::1]:8000", "https://desk.test")
FOREIGN_ORIGINS = ("https://evil.test", "null", "http://localhost.evil.test", "http://127.0.0.1:80.evil.test")


def test_only_pages_of_this_machine_and_of_the_allow_list_may_connect(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with start_stream(allowed_origins=("https://desk.test",)) as address:
            for origin in OUR_ORIGINS:
                async with client_of(address, origin=origin) as client:
                    await client.subscribe("AAPL")
            for origin in FOREIGN_ORIGINS:
                with pytest.raises(InvalidStatus, match="403"):
                    async with client_of(address, origin=origin):
                        pass

    asyncio.run(scenario())


def test_a_port_in_use_is_named_with_the_mend(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with start_stream() as address:
            port = int(address.rpartition(":")[2])
            with pytest.raises(SettingsError, match=f"Port {port} on 127.0.0.1 is in use; stop the process"):
                async with start_stream(port=port):
                    pass

    asyncio.run(scenario())


def test_an_impossible_option_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="Port 70000 is impossible"):
        StreamOptions(port=70_000)
    with pytest.raises(InvalidInputError, match="max_clients is 0"):
        StreamOptions(max_clients=0)


def test_a_database_that_is_down_at_the_start_is_an_error() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"postgresql://trading@127.0.0.1:{held.getsockname()[1]}/trading"
        with pytest.raises(DatabaseUnavailableError, match="lost PostgreSQL"):
            asyncio.run(serve(url, StreamOptions(port=0)))


def test_a_database_without_our_tables_is_an_error_that_names_the_command(empty_database_url: str) -> None:
    with pytest.raises(SchemaError, match="trading db upgrade"):
        asyncio.run(serve(empty_database_url, StreamOptions(port=0)))


def test_stopping_tells_every_client_that_the_server_goes_away(start_stream: StartStream) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            stream = AsyncExitStack()
            address = await stream.enter_async_context(start_stream())
            client = await stack.enter_async_context(client_of(address))
            await client.subscribe("AAPL")
            await stream.aclose()
            with pytest.raises(ConnectionClosedOK) as closed:
                await client.receive("prices")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_without_a_complaint(database_url: str, number: signal.Signals) -> None:
    program = (
        "import sys\n"
        "from trading_orchestration.stream.server import StreamOptions, run\n"
        "run(sys.argv[1], StreamOptions(port=0), on_listening=lambda address: print(address, flush=True))\n"
    )
    arguments = [sys.executable, "-c", program, database_url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ws://127.0.0.1:")
        process.send_signal(number)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (0, "")
