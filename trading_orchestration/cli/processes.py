"""The processes of a running system: started in order, watched, restarted when they die, stopped together.

Each child is told by the kernel when its supervisor dies, so that kill -9 of the supervisor leaves none.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from trading_orchestration.errors import SettingsError, TradingError

_STOP_S = 10.0
_POLL_S = 0.2
_LOOK_AFTER_S = 2.0
_RESTART_WAIT_BASE_S = 1.0
_RESTART_WAIT_CAP_S = 30.0
#: A process that lived this long starts again without waiting.
_STABLE_S = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running. `is_ready` tells when the next may start; it is asked until `ready_s`."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True
    ready_s: float = 60.0


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0
    start_again_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Keeps programs running until it is told to stop. Output goes to files in `logs`."""

    programs: Sequence[Program]
    environment: Mapping[str, str]
    logs: Path
    tell: Callable[[str], None]
    _running: list[_Running] = field(default_factory=list)
    _is_stopping: bool = False

    def start(self) -> None:
        """Start all programs, each once the one before is ready; raises TradingError if one is not."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for program in self.programs:
            process = self._spawn(program)
            self._running.append(_Running(program, process, time.monotonic()))
            self._wait_until_ready(program, process)

    def watch(self, look_after: Callable[[], None]) -> None:
        """Start again what dies, until a signal asks to stop; `look_after` is called every few seconds."""
        looked_at = time.monotonic()
        while not self._is_stopping:
            for running in self._running:
                self._revive(running)
            if time.monotonic() - looked_at > _LOOK_AFTER_S:
                look_after()
                looked_at = time.monotonic()
            time.sleep(_POLL_S)

    def request_stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End `watch`; safe as a signal handler."""
        self._is_stopping = True

    def stop(self) -> None:
        """Ask every process to end, the last started first; kill what does not within seconds."""
        self._is_stopping = True
        for running in reversed(self._running):
            _signal_group(running.process, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_S
            while running.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            _signal_group(running.process, signal.SIGKILL)
            running.process.wait()
        self._running.clear()

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with (self.logs / f"{program.name}.log").open("ab") as log:
            return subprocess.Popen(
                list(program.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _wait_until_ready(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + program.ready_s
        while not program.is_ready():
            if self._is_stopping:
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise TradingError(
                    f"{program.name} did not start; see {self.logs / f'{program.name}.log'}: "
                    f"{_last_line(self.logs / f'{program.name}.log')}"
                )
            time.sleep(0.1)

    def _revive(self, running: _Running) -> None:
        code, now = running.process.poll(), time.monotonic()
        if code is None:
            return
        if running.start_again_at is None:
            is_stable = now - running.started_at > _STABLE_S
            running.restarts = 0 if is_stable else running.restarts + 1
            wait = min(_RESTART_WAIT_CAP_S, _RESTART_WAIT_BASE_S * 2 ** min(running.restarts, 10))
            running.start_again_at = now + (0 if is_stable else wait)
            self.tell(f"{running.program.name} ended with {code}; it starts again in {wait:.0f} s.")
        if now >= running.start_again_at:
            running.process = self._spawn(running.program)
            running.started_at, running.start_again_at = now, None


@contextmanager
def stopping_on_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C and SIGTERM end `watch`; the handlers of before come back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, supervisor.request_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_free_port(port: int, variable: str) -> None:
    """Raise SettingsError naming the port and the variable that moves it, when something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SettingsError(
                f"Port {port} is in use; end what listens there or set {variable} to another port."
            ) from None


def free_port() -> int:
    """A port of the loopback interface that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it wrote nothing"
