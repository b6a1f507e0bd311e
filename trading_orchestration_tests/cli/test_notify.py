"""`trading notify`: channels tried over real HTTP, messages listed, the process that sends them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trading_orchestration_tests.cli.command import Trading
from trading_orchestration_tests.fixtures.loopback_vendor import LoopbackVendor, Reply, loopback_vendor

TOKEN = "t0ken-that-nobody-may-see"
PROCESS_S = 90


@pytest.fixture
def service() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        vendor.replies(Reply())
        yield vendor


@pytest.fixture
def channels(service: LoopbackVendor, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"{service.url.replace('http:', 'json:')}/{TOKEN}"
    monkeypatch.setenv("TRADING_NOTIFY_URLS", f"phone={url} mail={url}/mail")
    return url


@pytest.mark.usefixtures("channels")
def test_a_test_message_goes_to_the_channel_that_is_named(trading: Trading, service: LoopbackVendor) -> None:
    done = trading("notify", "test", "mail", "--json")
    assert (done.code, done.json[0]["channel"], done.json[0]["outcome"]) == (0, "mail", "sent")
    (asked,) = service.asked
    assert asked.path == f"/{TOKEN}/mail"
    assert asked.body["title"] == "A test of trading"


@pytest.mark.usefixtures("channels")
def test_a_channel_that_does_not_take_it_ends_the_test_with_1(
    trading: Trading, service: LoopbackVendor
) -> None:
    service.replies(Reply(status=404), Reply())
    done = trading("notify", "test")
    assert done.code == 1
    assert "error=404" in done.out
    assert TOKEN not in done.out + done.err
    assert len(service.asked) == 2


@pytest.mark.usefixtures("channels")
def test_a_channel_that_is_none_is_bad_input(trading: Trading) -> None:
    assert trading("notify", "test", "fax").error == "There is no channel fax; there are: phone, mail."


def test_without_channels_it_says_what_to_set(trading: Trading) -> None:
    done = trading("notify", "test")
    assert done.code == 2
    assert "TRADING_NOTIFY_URLS" in done.error


@pytest.mark.usefixtures("channels")
def test_the_doctor_looks_at_channels_and_at_what_waits(trading: Trading) -> None:
    trading("halt", "--reason", "storm")
    trading.rows("UPDATE notifications SET occurred_at = occurred_at - interval '11 minutes'")
    found = {one["check"]: one for one in trading("doctor", "--json").json}
    assert found["channel phone"]["message"].endswith("info and above, all kinds")
    assert found["messages"]["level"] == "warning"
    assert found["messages"]["message"] == "1 wait to be looked at"


def test_the_doctor_tells_a_url_that_nobody_can_read(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_NOTIFY_URLS", f"phone=nosuch://{TOKEN}")
    done = trading("doctor", "--json")
    found = {one["check"]: one for one in done.json}
    assert (done.code, found["channel phone"]["level"]) == (1, "error")
    assert TOKEN not in done.out


@pytest.fixture
def sender() -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `trading notify run` as a process of its own; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).parent / "trading"), "notify", "run"]
        process = subprocess.Popen(
            command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PROCESS_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)


@pytest.mark.usefixtures("channels")
def test_the_process_sends_pings_and_ends_when_it_is_told_to(
    trading: Trading,
    service: LoopbackVendor,
    sender: Callable[[], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of them at work send each message once; without an alarm the switch is pinged."""
    monkeypatch.setenv("TRADING_HEARTBEAT_URL", f"{service.url}/ping/{TOKEN}")
    trading("halt", "--reason", "storm")
    processes = [sender(), sender()]
    until(lambda: sum(asked.method == "GET" for asked in service.asked) == 2)
    until(lambda: not trading.rows("SELECT 1 FROM notification_deliveries WHERE status <> 'sent'"))
    for process in processes:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=PROCESS_S)[0]
        assert process.returncode == 0, said
        assert TOKEN not in said
    posts = [asked for asked in service.asked if asked.method == "POST"]
    assert sorted(asked.path for asked in posts) == [f"/{TOKEN}", f"/{TOKEN}/mail"]
    assert {asked.body["message"].splitlines()[0] for asked in posts} == {"storm"}
    (row,) = json.loads(trading("notify", "list", "--json").out)
    assert [(one["channel"], one["status"]) for one in row["deliveries"]] == [
        ("mail", "sent"),
        ("phone", "sent"),
    ]
    assert trading("notify", "list").out.splitlines()[1].endswith("mail, phone")
