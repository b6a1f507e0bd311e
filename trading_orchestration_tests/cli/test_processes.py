"""The supervisor over real processes: what dies or stands still is mended, and a stop lets runs finish."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trading_orchestration.cli import processes
from trading_orchestration.cli.process_logs import ProcessLogs
from trading_orchestration.cli.processes import Program, Supervisor
from trading_orchestration.errors import TradingError
from trading_orchestration.wiring import system_clock

WITHIN_S = 20.0
#: Says that it lives by touching a file, again and again; SIGTERM ends it.
BEAT = "import pathlib, sys, time\nwhile True:\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(0.02)\n"
#: The same in a child of its own, as the code server has its runs; the child ends after a while.
WITH_CHILD = (
    "import subprocess, sys, time\n"
    "code = 'import pathlib, sys, time; time.sleep(float(sys.argv[2])); pathlib.Path(sys.argv[1]).touch()'\n"
    "subprocess.Popen([sys.executable, '-S', '-c', code, *sys.argv[1:]])\n"
    "time.sleep(60)\n"
)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


class System:
    """A supervisor at work in a thread, and what it said."""

    def __init__(self, folder: Path, *programs: Program) -> None:
        self.told: list[str] = []
        self.supervisor = Supervisor(
            programs, dict(os.environ), ProcessLogs(folder / "logs"), self.told.append, self.told.append
        )
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._is_up.wait(WITHIN_S)

    def pids(self) -> dict[str, int]:
        return {name: running.process.pid for name, running in list(self.supervisor._running.items())}

    def said(self, part: str) -> bool:
        return any(part in sentence for sentence in self.told)

    def stop(self) -> None:
        self.supervisor.request_stop()
        self._thread.join(WITHIN_S)

    def _run(self) -> None:
        self.supervisor.start()
        self._is_up.set()
        self.supervisor.watch(lambda: None)
        self.supervisor.stop()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., System]]:
    """Starts a system whose supervisor is patient for tenths of seconds."""
    for name, value in {
        "_POLL_S": 0.02,
        "_PROBE_EVERY_S": 0.02,
        "_PATIENCE_S": 0.3,
        "_RECOVERY_S": 0.2,
        "_RESTART_WAIT_BASE_S": 0.02,
    }.items():
        monkeypatch.setattr(processes, name, value)
    # The kernel tells children of the end of the thread that made them.
    monkeypatch.setattr(processes, "_libc", None)
    started: list[System] = []

    def start(*programs: Program) -> System:
        started.append(System(tmp_path, *programs))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def beating(path: Path, name: str = "beat", **more: Any) -> Program:
    def fault(_: datetime) -> str | None:
        is_fresh = path.exists() and time.time() - path.stat().st_mtime < 0.3  # noqa: TID251
        return None if is_fresh else "It has no pulse."

    return Program(name=name, command=python(BEAT, path), fault=fault, is_ready=path.exists, **more)


def test_a_program_that_dies_is_started_again(system: Callable[..., System], tmp_path: Path) -> None:
    running = system(beating(tmp_path / "pulse"))
    first = running.pids()["beat"]
    os.kill(first, signal.SIGKILL)
    until(lambda: running.pids()["beat"] != first)
    assert running.said("beat ended with -9; it starts again in")


def test_a_program_that_stands_still_is_started_again(system: Callable[..., System], tmp_path: Path) -> None:
    running = system(beating(tmp_path / "pulse"))
    first = running.pids()["beat"]
    os.kill(first, signal.SIGSTOP)
    until(lambda: running.pids()["beat"] != first)
    assert running.told == ["beat does not do its work, and beat is started again. It has no pulse."]


def test_a_program_whose_work_cannot_be_seen_is_left_alone(
    system: Callable[..., System], tmp_path: Path
) -> None:
    def no_database(_: datetime) -> str | None:
        raise ConnectionError("connection refused\nIs the server running?")

    running = system(Program(name="daemon", command=python(BEAT, tmp_path / "pulse"), fault=no_database))
    first = running.pids()["daemon"]
    until(lambda: bool(running.told))
    time.sleep(1)
    assert running.pids()["daemon"] == first
    assert running.told == ["Whether daemon does its work cannot be seen: connection refused"]


def test_what_a_program_needs_is_started_again_where_a_new_process_did_not_help(
    system: Callable[..., System], tmp_path: Path
) -> None:
    def is_new(began_at: datetime) -> bool:
        return system_clock() - began_at < timedelta(seconds=0.2)

    running = system(
        Program(name="server", command=python(BEAT, tmp_path / "server")),
        Program(
            name="daemon",
            command=python(BEAT, tmp_path / "daemon"),
            # Nothing is known of it while it is new.
            fault=lambda began_at: None if is_new(began_at) else "Nothing ticked.",
            needs="server",
        ),
    )
    first = running.pids()["server"]
    until(lambda: running.pids()["server"] != first)
    assert [sentence.partition(". ")[0] for sentence in running.told[:2]] == [
        "daemon does not do its work, and daemon is started again",
        "daemon does not do its work, and server is started again",
    ]


def test_a_program_is_not_blamed_for_what_it_needs(system: Callable[..., System], tmp_path: Path) -> None:
    server = beating(tmp_path / "pulse", "server")
    daemon = Program(
        name="daemon", command=python(BEAT, tmp_path / "other"), fault=server.fault, needs="server"
    )
    running = system(server, daemon)
    first = running.pids()
    os.kill(first["server"], signal.SIGSTOP)
    until(lambda: running.pids()["server"] != first["server"])
    assert running.pids()["daemon"] == first["daemon"]
    assert not running.said("daemon does not do its work")


def test_a_stop_ends_first_what_begins_runs_and_waits_for_those_at_work(
    system: Callable[..., System], tmp_path: Path
) -> None:
    lived: list[bool] = []
    asked = time.monotonic()

    def at_work() -> int:
        lived.append(_is_alive(first["daemon"]))
        return int(time.monotonic() < asked + 0.8)

    server = Program(name="code-server", command=python(BEAT, tmp_path / "server"), at_work=at_work)
    running = system(server, Program(name="daemon", command=python(BEAT, tmp_path / "daemon")))
    first, asked = running.pids(), time.monotonic()
    running.stop()
    assert lived
    assert not any(lived), "the daemon was gone before runs were waited for"
    assert time.monotonic() - asked > 0.8
    assert running.told == ["Runs at work: 1. They have 30 s to finish; Ctrl-C ends them."]
    assert not _is_alive(first["code-server"])


@pytest.mark.parametrize("is_asked_again", [True, False])
def test_a_wait_for_runs_has_an_end(
    system: Callable[..., System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_asked_again: bool
) -> None:
    monkeypatch.setattr(processes, "DRAIN_S", 60.0 if is_asked_again else 0.3)
    running = system(
        Program(name="code-server", command=python(BEAT, tmp_path / "server"), at_work=lambda: 2)
    )
    running.supervisor.request_stop()
    until(lambda: running.said("Runs at work: 2."))
    if is_asked_again:
        running.supervisor.request_stop()
    running.stop()
    assert running.said("Runs ended by the stop: 2. What they had begun is settled after the next start.")


def test_runs_outlive_a_code_server_that_is_killed_and_a_stop_waits_for_them(
    system: Callable[..., System], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    server = Program(name="code-server", command=python(WITH_CHILD, done, 2), at_work=lambda: 0)
    running = system(server)
    first = running.pids()["code-server"]
    time.sleep(0.5)
    os.kill(first, signal.SIGKILL)
    until(lambda: running.pids()["code-server"] != first)
    running.stop()
    assert done.exists()


def test_a_renewal_waits_until_nothing_is_at_work(
    system: Callable[..., System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_QUIET", range(60))
    at_work = [1]
    running = system(
        Program(name="code-server", command=python(BEAT, tmp_path / "s"), at_work=lambda: at_work[0])
    )
    first = running.pids()["code-server"]
    running.supervisor.renew(["code-server"], "the special hours have changed.")
    time.sleep(0.3)
    assert running.pids()["code-server"] == first
    at_work[0] = 0
    until(lambda: running.pids()["code-server"] != first)
    assert running.told == ["code-server is started again: the special hours have changed."]


def test_a_program_that_does_not_start_is_told_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    program = Program(name="daemon", command=python("raise SystemExit('no port')"), is_ready=lambda: False)
    supervisor = Supervisor(
        [program], dict(os.environ), ProcessLogs(tmp_path), lambda _: None, lambda _: None
    )
    with pytest.raises(TradingError, match=r"daemon did not start; see .*daemon\.log: no port"):
        supervisor.start()
    supervisor.stop()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
