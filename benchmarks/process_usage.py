"""What the processes of a running system use: CPU time between two looks, and the most memory meanwhile."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trading_orchestration_tests.chaos.live_system import LiveSystem, Role, role_of

POSTGRES = "PostgreSQL"
_EVERY_S = 2.0
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass
class Usage:
    """By what a process does: seconds of CPU, and the most memory one of them ever held (MB, resident).

    The memory of PostgreSQL is that of all its processes, what they share counted once.
    """

    cpu_s: Mapping[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@contextmanager
def measured(system: LiveSystem) -> Iterator[Usage]:
    """Filled in when the block ends. The processes must live through it, workers and backends aside."""
    usage, is_over = Usage(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(system, usage, is_over), daemon=True)
    before = _cpu(system)
    watcher.start()
    try:
        yield usage
    finally:
        is_over.set()
        watcher.join()
        after = _cpu(system)
        usage.cpu_s = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}


def _watch(system: LiveSystem, usage: Usage, is_over: threading.Event) -> None:
    while not is_over.wait(_EVERY_S):
        for process in system.processes():
            with suppress(psutil.Error, OSError):
                name = role_of(process).value
                usage.peak_mb[name] = max(usage.peak_mb[name], _peak_mb(process))
        usage.peak_mb[POSTGRES] = max(usage.peak_mb[POSTGRES], _shared_mb(system))


def _cpu(system: LiveSystem) -> dict[str, float]:
    """Workers are children of the code server, backends of PostgreSQL: a parent counts its dead."""
    found: dict[str, float] = defaultdict(float)
    for process in system.processes():
        with suppress(psutil.Error):
            times, role = process.cpu_times(), role_of(process)
            found[role.value] += times.user + times.system
            if role is Role.CODE_SERVER:
                found[Role.WORKER.value] += times.children_user + times.children_system
    found[POSTGRES] = sum(map(_with_dead_children, _postgres(system)))
    return dict(found)


def _with_dead_children(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _postgres(system: LiveSystem) -> list[psutil.Process]:
    postmaster = system.postmaster()
    if postmaster is None:
        return []
    with suppress(psutil.Error):
        return [postmaster, *postmaster.children(recursive=True)]
    return []


def _shared_mb(system: LiveSystem) -> float:
    total = 0
    for process in _postgres(system):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 1e6


def _peak_mb(process: psutil.Process) -> float:
    found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0
