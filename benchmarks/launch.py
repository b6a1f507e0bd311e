"""From the request for a run to its first op: the default launcher's, and that of warm Celery workers.

The second is measured where `deploy/celery/setup.sh` has made its environment and there is a `redis-server`.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.measure import Figure
from trading_orchestration.cli.processes import accepts_connections, free_port
from trading_orchestration.domain.job import JobType
from trading_orchestration.settings import Settings
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.chaos.live_system import TRADING, LiveSystem
from trading_orchestration_tests.chaos.price_vendor import price_vendor
from trading_orchestration_tests.chaos.world import EXCHANGE, environment, furnish

ROUNDS = 15
WARM_UP = 6
ENDED_S = 60
AIM_S = 0.5
CELERY = Path(__file__).parents[1] / "deploy" / "celery"
_FIRST_OP = """
    SELECT extract(epoch FROM min(timestamp) AT TIME ZONE 'UTC')::float FROM event_logs
    WHERE run_id = %s AND dagster_event_type = 'STEP_START' HAVING min(timestamp) IS NOT NULL"""
_END = "SELECT end_time FROM runs WHERE run_id = %s AND end_time IS NOT NULL"


def run() -> Iterator[Figure]:
    """Both, where both are there."""
    with _system(TRADING) as system:
        yield from _figures("default launcher", system, "")
    celery, redis = CELERY / ".venv" / "bin" / "trading", shutil.which("redis-server")
    if not celery.exists() or redis is None:
        sys.stderr.write(f"Celery is not measured: {CELERY / 'README.md'} tells what it needs.\n")
        return
    with ExitStack() as stack:
        url = stack.enter_context(_redis(redis))
        system = stack.enter_context(_system(celery, TRADING_CELERY_URL=url))
        stack.enter_context(_workers(system))
        yield from _figures("warm Celery workers", system, f"≤ {AIM_S}")


def _figures(name: str, system: LiveSystem, aim: str) -> Iterator[Figure]:
    for _ in range(WARM_UP):
        _launch(system)
    measured = [_launch(system) for _ in range(ROUNDS)]
    first_op, end = (sorted(seconds) for seconds in zip(*measured, strict=True))
    yield Figure(f"launch: {name}, request to first op, median of {ROUNDS}", median(first_op), "s", aim)
    yield Figure(f"launch: {name}, request to first op, max", first_op[-1], "s")
    yield Figure(f"launch: {name}, request to the run's end, median", median(end), "s")


def _launch(system: LiveSystem) -> tuple[float, float]:
    """Seconds from the request to the first op and to the end of one run."""
    requested_at = system_clock().timestamp()
    run_id = system.launch(JobType.ORDER_STATUS_CHECK)
    deadline = time.monotonic() + ENDED_S
    while not (ended := system.look(_END, run_id, database="dagster")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Run {run_id} did not end within {ENDED_S} s; see {system.home / 'logs'}.")
        time.sleep(0.1)
    ((first_op_at,),) = system.look(_FIRST_OP, run_id, database="dagster")
    return first_op_at - requested_at, ended[0][0] - requested_at


@contextmanager
def _system(command: Path, **more: str) -> Iterator[LiveSystem]:
    with tempfile.TemporaryDirectory(prefix="trading-launch-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        settings = Settings(trading_home=home, trading_exchange=EXCHANGE, database_url=None)
        furnish(settings, minutes=10, chance=random.Random(1))
        if more:
            (home / "dagster").mkdir(exist_ok=True)
            shutil.copy(CELERY / "dagster.yaml", home / "dagster" / "dagster.yaml")
        with price_vendor(1) as prices:
            system = LiveSystem(home, environment(home, prices.url) | more, command)
            try:
                system.start()
                yield system
            finally:
                system.stop()


@contextmanager
def _redis(command: str) -> Iterator[str]:
    port = free_port()
    given = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with subprocess.Popen([command, *given], stdout=subprocess.DEVNULL) as server:
        try:
            while not accepts_connections(port):
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


@contextmanager
def _workers(system: LiveSystem) -> Iterator[None]:
    log = system.home / "workers.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [CELERY / "worker.sh"],
            env=system.environment | {"PATH": "/usr/bin:/bin", "WORKERS": "2"},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as workers,
    ):
        try:
            yield
        finally:
            workers.terminate()
