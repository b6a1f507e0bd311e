"""The questions that `trading up` asks its processes, asked of those that work and of those that do not."""

import re
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from trading_orchestration.cli import probes
from trading_orchestration.cli.probes import CodeServer, DaemonWork, stream_fault, web_server_fault
from trading_orchestration.settings import Settings
from trading_orchestration.wiring import open_calendar, system_clock
from trading_orchestration_tests.acceptance.conftest import Demo, RunningSystem

pytestmark = pytest.mark.xdist_group("acceptance")


@pytest.fixture
def code_server(demo: Demo, system: RunningSystem) -> CodeServer:
    assert system.process.poll() is None
    workspace = (demo.home / "dagster" / "workspace.yaml").read_text()
    found = re.search(r"port: (\d+)", workspace)
    assert found is not None
    return CodeServer(int(found[1]))


@pytest.fixture
def deaf_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port whose process stands still: the kernel takes connections, and nobody answers."""
    monkeypatch.setattr(probes, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_processes_at_work_are_at_no_fault(code_server: CodeServer, demo: Demo) -> None:
    assert code_server.fault() is None
    assert code_server.runs_at_work() >= 0
    assert web_server_fault(int(demo.environment["TRADING_UI_PORT"])) is None
    assert stream_fault(int(demo.environment["TRADING_STREAM_PORT"])) is None


@pytest.mark.usefixtures("system")
def test_a_daemon_at_work_is_at_no_fault(demo: Demo) -> None:
    settings = Settings(trading_home=demo.home, database_url=None)
    calendar = open_calendar(settings)
    assert DaemonWork(settings, lambda: calendar).fault(system_clock() - timedelta(minutes=2)) is None


def test_processes_that_stand_still_are_at_fault(deaf_port: int) -> None:
    assert CodeServer(deaf_port).fault() == "It does not list its repositories: deadline exceeded."
    assert CodeServer(deaf_port).runs_at_work() == 0
    assert web_server_fault(deaf_port) == "It does not answer GraphQL: timed out."
    assert (stream_fault(deaf_port) or "").startswith("It takes no client: timed out")


def test_processes_that_are_gone_are_at_fault() -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        gone = bound.getsockname()[1]
        assert (CodeServer(gone).fault() or "").startswith("It does not list its repositories: unavailable")
        assert "refused" in (web_server_fault(gone) or "")
        assert "refused" in (stream_fault(gone) or "")
