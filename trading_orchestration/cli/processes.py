"""The processes of a running system: started in order, watched by their work, mended, stopped together.

Each child is told by the kernel when its supervisor dies, so that kill -9 of the supervisor leaves none.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

from trading_orchestration.cli.process_logs import ProcessLogs
from trading_orchestration.errors import SettingsError, TradingError
from trading_orchestration.wiring import system_clock

#: In this order: the rest has so long to end, then runs have so long to finish, then those that hold them.
STOP_S, DRAIN_S, STOP_LAST_S = 10.0, 30.0, 5.0
_POLL_S = 0.2
_LOOK_AFTER_S = 2.0
_PROBE_EVERY_S = 5.0
#: A question that is not answered by then, by a database that stands still, is asked anew.
_PROBE_MAX_S = 120.0
#: A process that is at fault for this long does not come back by itself.
_PATIENCE_S = 20.0
#: What depends on a process that has just begun is given so long to get back to work.
_RECOVERY_S = 60.0
#: A new process that works for so long has helped.
_PROVEN_S = 300.0
_RESTART_WAIT_BASE_S = 1.0
_RESTART_WAIT_CAP_S = 30.0
#: A process that lived this long starts again without waiting.
_STABLE_S = 60.0
#: Seconds of a minute in which no tick begins and those of before are mostly done.
_QUIET = range(15, 45)
_QUIET_WAIT_S = 180.0
_PR_SET_PDEATHSIG = 1
# Loaded before any thread runs: a child between fork and exec may not load anything.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running.

    `is_ready` tells when the next may start; it is asked until `ready_s`. `fault` is asked, with the instant
    of the last start, what is wrong with its work. While what `needs` names is at fault, this is not judged;
    where a new process did not help, that one is started again. `at_work` counts the runs it is to finish.
    """

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True
    ready_s: float = 60.0
    fault: Callable[[datetime], str | None] | None = None
    needs: str = ""
    at_work: Callable[[], int] | None = None


class _Probe:
    """One question about a program's work, asked beside everything else."""

    def __init__(self, fault: Callable[[datetime], str | None], began_at: datetime) -> None:
        self.asked = time.monotonic()
        self.fault: str | None = None
        #: Why it cannot be told.
        self.obstacle: Exception | None = None
        self._thread = threading.Thread(target=self._ask, args=(fault, began_at), daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        if self._thread.is_alive() and time.monotonic() - self.asked > _PROBE_MAX_S:
            self.obstacle = TimeoutError(f"no answer in {_PROBE_MAX_S:.0f} s")
            return True
        return not self._thread.is_alive()

    def _ask(self, fault: Callable[[datetime], str | None], began_at: datetime) -> None:
        try:
            self.fault = fault(began_at)
        except Exception as error:  # noqa: BLE001 (it is told: the work could not be looked at)
            self.obstacle = error


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    began_at: datetime
    began: float
    restarts: int = 0
    start_again_at: float | None = None
    probe: _Probe | None = None
    probed: float = 0.0
    faulty_since: float | None = None
    is_unclear: bool = False
    mended: int = 0
    #: Since when, and why, it is to be started again once nothing is at work.
    renew_since: float = 0.0
    renew_because: str = ""
    #: When it was asked to end so that it can be started again.
    ending_since: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Keeps programs running until it is told to stop.

    `tell` gets each event as a sentence, `report` those that people should hear of.
    """

    programs: Sequence[Program]
    environment: Mapping[str, str]
    logs: ProcessLogs
    tell: Callable[[str], None]
    report: Callable[[str], None]
    _running: dict[str, _Running] = field(default_factory=dict)
    #: Groups of processes whose first is gone; runs of it may still be at work.
    _left: list[int] = field(default_factory=list)
    _signals: int = 0

    def start(self) -> None:
        """Start all programs, each once the one before is ready; raises TradingError if one is not."""
        for program in self.programs:
            self._running[program.name] = running = self._spawn(program)
            self._wait_until_ready(running)

    def watch(self, look_after: Callable[[], None]) -> None:
        """Mend what dies or stops working, until a signal; `look_after` is called every few seconds."""
        looked_at = 0.0
        while not self._signals:
            for running in self._running.values():
                if not self._revive(running):
                    self._judge(running)
                    self._renew(running)
            if time.monotonic() - looked_at > _LOOK_AFTER_S:
                look_after()
                self.logs.look_after()
                looked_at = time.monotonic()
            time.sleep(_POLL_S)

    def request_stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End `watch`, and asked a second time the wait for runs; safe as a signal handler."""
        self._signals += 1

    def renew(self, names: Sequence[str], why: str) -> None:
        """Start programs again at a quiet moment, with nothing in them at work."""
        for name in names:
            running = self._running[name]
            running.renew_since, running.renew_because = time.monotonic(), why

    def stop(self) -> None:
        """End everything: first what begins runs, then, once these are done, what holds them."""
        self._signals += 1
        last = [running for running in self._running.values() if running.program.at_work is not None]
        self._end([running for running in self._running.values() if running not in last], STOP_S)
        self._drain(last)
        for group in self._left:
            _signal_group(group, signal.SIGTERM)
        self._end(last, STOP_LAST_S)
        for group in self._left:
            _signal_group(group, signal.SIGKILL)
        self._running.clear()
        self.logs.look_after()

    def _drain(self, holders: Sequence[_Running]) -> None:
        before, deadline, told = self._signals, time.monotonic() + DRAIN_S, 0
        while (left := self._runs_at_work(holders)) and time.monotonic() < deadline:
            if self._signals > before:
                break
            if left != told:
                self.tell(f"Runs at work: {left}. They have {DRAIN_S:.0f} s to finish; Ctrl-C ends them.")
                told = left
            time.sleep(_POLL_S)
        if left:
            self.report(
                f"Runs ended by the stop: {left}. What they had begun is settled after the next start."
            )

    def _runs_at_work(self, holders: Sequence[_Running]) -> int:
        asked = [r.program.at_work() for r in holders if r.program.at_work and r.process.poll() is None]
        return sum(asked) + sum(_has_members(group) for group in self._left)

    def _end(self, these: Sequence[_Running], within_s: float) -> None:
        """Ask processes to end, the last started first; kill what is left of them when the time is over."""
        for running in reversed(these):
            _signal_group(running.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        for running in these:
            while running.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            _signal_group(running.process.pid, signal.SIGKILL)
            running.process.wait()

    def _spawn(self, program: Program) -> _Running:
        with self.logs.path(program.name).open("ab") as log:
            process = subprocess.Popen(
                list(program.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        return _Running(program, process, system_clock(), time.monotonic())

    def _wait_until_ready(self, running: _Running) -> None:
        program, log = running.program, self.logs.path(running.program.name)
        deadline = time.monotonic() + program.ready_s
        while not program.is_ready():
            self.logs.look_after()
            if self._signals:
                return
            if running.process.poll() is not None or time.monotonic() > deadline:
                raise TradingError(f"{program.name} did not start; see {log}: {_last_line(log)}")
            time.sleep(0.1)

    def _revive(self, running: _Running) -> bool:
        """Start again what has ended; answers whether it is gone just now."""
        code, now = running.process.poll(), time.monotonic()
        if code is None:
            if running.ending_since is not None and now - running.ending_since > STOP_S:
                running.process.kill()
            return running.ending_since is not None
        if running.start_again_at is None:
            running.start_again_at = now + self._wait_s(running, code)
            self._left = [group for group in (*self._left, running.process.pid) if _has_members(group)]
        if now >= running.start_again_at:
            new = self._spawn(running.program)
            new.restarts, new.mended = running.restarts, running.mended
            self._running[running.program.name] = new
        return True

    def _wait_s(self, running: _Running, code: int) -> float:
        if running.ending_since is not None:
            return 0.0
        is_stable = time.monotonic() - running.began > _STABLE_S
        running.restarts = 0 if is_stable else running.restarts + 1
        wait_s = _RESTART_WAIT_BASE_S * 2 ** min(running.restarts, 10)
        wait_s = 0.0 if is_stable else min(_RESTART_WAIT_CAP_S, wait_s)
        self.report(f"{running.program.name} ended with {code}; it starts again in {wait_s:.0f} s.")
        return wait_s

    def _judge(self, running: _Running) -> None:
        """Ask about its work, and end what has done none for too long."""
        now, fault = time.monotonic(), running.program.fault
        if fault is None:
            return
        if not self._can_be_judged(running):
            running.probe, running.faulty_since = None, None
            return
        if running.probe is None and now - running.probed > _PROBE_EVERY_S:
            running.probe = _Probe(fault, running.began_at)
        if running.probe is None or not running.probe.is_over:
            return
        probe, running.probe, running.probed = running.probe, None, now
        self._tell_what_is_unclear(running, probe)
        if probe.fault is None:
            running.faulty_since = None
            is_proven = probe.obstacle is None and now - running.began > _PROVEN_S
            running.mended = 0 if is_proven else running.mended
        elif running.faulty_since is None:
            running.faulty_since = now
        elif now - running.faulty_since > _PATIENCE_S:
            self._mend(running, probe.fault)

    def _tell_what_is_unclear(self, running: _Running, probe: _Probe) -> None:
        name = running.program.name
        if probe.obstacle is not None and not running.is_unclear:
            self.tell(f"Whether {name} does its work cannot be seen: {_first_line(str(probe.obstacle))}")
        elif probe.obstacle is None and running.is_unclear:
            self.tell(f"Whether {name} does its work can be seen again.")
        running.is_unclear = probe.obstacle is not None

    def _can_be_judged(self, running: _Running) -> bool:
        """Not while it begins, and not for what another has not done."""
        now, needed = time.monotonic(), self._running.get(running.program.needs)
        if now - running.began < running.program.ready_s and not running.program.is_ready():
            return False
        if needed is None:
            return True
        is_well = (
            needed.faulty_since is None and needed.ending_since is None and needed.process.poll() is None
        )
        return is_well and now - needed.began > _RECOVERY_S

    def _mend(self, running: _Running, fault: str) -> None:
        """Start it again; where that did not help, what it needs."""
        culprit = running
        if running.mended and running.program.needs:
            culprit, running.mended = self._running[running.program.needs], 0
        else:
            running.mended += 1
        running.faulty_since = None
        name, blamed = running.program.name, culprit.program.name
        self.report(f"{name} does not do its work, and {blamed} is started again. {fault}")
        culprit.ending_since = time.monotonic()
        # One that stands still hears nothing else. Runs are processes of their own and go on.
        culprit.process.kill()

    def _renew(self, running: _Running) -> None:
        if running.renew_because == "":
            return
        at_work = running.program.at_work
        is_quiet = system_clock().second in _QUIET and not (at_work and at_work())
        if is_quiet or time.monotonic() - running.renew_since > _QUIET_WAIT_S:
            self.tell(f"{running.program.name} is started again: {running.renew_because}")
            running.ending_since = time.monotonic()
            running.process.terminate()


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
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(group: int, number: int) -> bool:
    """Signal all processes of a group; answers whether there was one."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _has_members(group: int) -> bool:
    return _signal_group(group, 0)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it wrote nothing"
