"""A demo that has run, and a system that is up: each made once for all tests that look at it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import pytest

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.cli.processes import free_port
from trading_orchestration.settings import Settings
from trading_orchestration.store import embedded_postgres
from trading_orchestration.store.database import Engine, create_engine
from trading_orchestration.store.installed import open_databases

TRADING = Path(sys.executable).parent / "trading"
DEMO_S = 300
START_S = 120
STOP_S = 60


@dataclass(frozen=True)
class Demo:
    """A home in which the demo has traded, and what it said."""

    home: Path
    environment: dict[str, str]
    summary: dict[str, Any]


@dataclass(frozen=True)
class RunningSystem:
    """`trading up` on the demo's home."""

    url: str
    process: subprocess.Popen[str]
    log: Path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`trading demo --no-serve --json` in a fresh home, with its own embedded PostgreSQL."""
    home = tmp_path_factory.mktemp("demo") / "home"
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {
        "TRADING_HOME": str(home),
        "TRADING_UI_PORT": str(free_port()),
        "TRADING_STREAM_PORT": str(free_port()),
    }
    answer = subprocess.run(
        [TRADING, "demo", "--no-serve", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    yield Demo(home, environment, json.loads(answer.stdout))
    embedded_postgres.stop(home)


@pytest.fixture(scope="session")
def system(demo: Demo) -> Iterator[RunningSystem]:
    """A system that is up, ended with SIGTERM: its output is nothing but lines of JSON."""
    log = demo.home / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [TRADING, "up", "--json-logs"],
            env=demo.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    url = f"http://127.0.0.1:{demo.environment['TRADING_UI_PORT']}"
    try:
        _wait_for(url, process, log)
        yield RunningSystem(url, process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["process"] for line in lines} >= {"trading", "code-server", "daemon", "stream"}
    assert all(line["at"].endswith("Z") and line["message"] for line in lines)


@contextmanager
def opened_engine_and_instance(demo: Demo) -> Iterator[tuple[Engine, dg.DagsterInstance]]:
    """The databases of the demo's home, as its processes open them."""
    settings = Settings(trading_home=demo.home, database_url=None)
    with open_databases(settings) as urls, pytest.MonkeyPatch.context() as patch:
        for name, value in dagster_environment(settings, urls).items():
            patch.setenv(name, value)
        engine = create_engine(urls.trading, application_name="tests")
        with dg.DagsterInstance.get() as instance:
            yield engine, instance
        engine.dispose()


@contextmanager
def opened_instance(demo: Demo) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the demo's home."""
    with opened_engine_and_instance(demo) as (_, instance):
        yield instance


def _wait_for(url: str, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urlopen(f"{url}/server_info", timeout=2) as answer:
                assert answer.status == 200
                if "Logs: " in log.read_text():  # all processes are there
                    return
        except OSError:
            pass
        time.sleep(0.5)
    pytest.fail(f"No UI at {url}: {log.read_text()[-2000:]}")
