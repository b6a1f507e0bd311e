"""How long a process that runs a job takes to import our definitions, against `import dagster` alone.

Fresh processes, byte-code and calendar made, one after the other in turn so that both meet the same machine.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.measure import Figure, machine

ROUNDS = 9
DAGSTER, OURS = "dagster", "trading_orchestration.definitions"


def run() -> list[Figure]:
    """The medians of some rounds, and their ratio."""
    with tempfile.TemporaryDirectory() as home:
        for module in (DAGSTER, OURS):
            _import_s(module, home)
        rounds = [{module: _import_s(module, home) for module in (DAGSTER, OURS)} for _ in range(ROUNDS)]
    dagster, ours = (statistics.median(times[module] for times in rounds) for module in (DAGSTER, OURS))
    return [
        Figure("import dagster", dagster, "s"),
        Figure("import trading_orchestration.definitions", ours, "s"),
        Figure("  in times of the former", ours / dagster, "×", "≤ 1.3"),
    ]


def _import_s(module: str, home: str) -> float:
    """The wall time of a process that imports a module and ends, in seconds."""
    environment = {**os.environ, "TRADING_HOME": home}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(machine())
    for figure in run():
        print(figure.line())
