"""Medians of several runs, and the machine they ran on."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, what it is of, and what it should be."""

    name: str
    value: float
    unit: str
    aim: str = ""

    def line(self) -> str:
        """The figure as a person reads it."""
        aim = f"   (aim: {self.aim})" if self.aim else ""
        return f"{self.name:<64} {self.value:>10,.3f} {self.unit}{aim}"


def median_s(work: Callable[[], object], *, rounds: int) -> float:
    """The median wall time of some rounds, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> str:
    """The machine's name and what matters about it."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.node()}: {cpu}, {os.cpu_count()} cores, Python {platform.python_version()}{load}"
