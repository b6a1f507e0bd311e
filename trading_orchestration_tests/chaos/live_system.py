"""A system that is up, as its processes: found by the home they work for, killed, stopped, started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psutil
import psycopg

from trading_orchestration.domain.job import JobType
from trading_orchestration.store.postgres_folder import HOST, ServerFolder
from trading_orchestration.store.postgres_guardian import ROLE

TRADING = Path(sys.executable).parent / "trading"
LOCATION = "trading_orchestration"
START_S = 240
STOP_S = 60
ANSWER_S = 15


class Role(StrEnum):
    """What a process of a running system does."""

    UP = "trading up"
    CODE_SERVER = "code server"
    DAEMON = "daemon"
    WEB_SERVER = "web server"
    STREAM = "stream"
    NOTIFIER = "notifier"
    WORKER = "worker"
    GUARDIAN = "guardian"
    OTHER = "other"


#: The first part of a command line that is found tells the role.
_SIGNS = (
    ("multiprocessing.spawn", Role.WORKER),
    ("postgres_guardian", Role.GUARDIAN),
    ("orchestration.webserver", Role.WEB_SERVER),
    ("dagster-daemon", Role.DAEMON),
    ("dagster api grpc", Role.CODE_SERVER),
    ("trading stream", Role.STREAM),
    ("trading notify", Role.NOTIFIER),
    ("trading up", Role.UP),
)

_LAUNCH = """mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_START = """mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) {
  __typename ... on PythonError { message } } }"""
_STOP = """mutation ($id: String!) { stopRunningSchedule(id: $id) {
  __typename ... on PythonError { message } } }"""
_SCHEDULE = """query ($schedule: ScheduleSelector!) { scheduleOrError(scheduleSelector: $schedule) {
  __typename ... on Schedule { id scheduleState { id status } } } }"""


class NotAnsweredError(Exception):
    """The web server, or what stands behind it, is away just now."""


@dataclass
class LiveSystem:
    """`trading up` in a home. It may be killed and started again as often as wanted."""

    home: Path
    environment: dict[str, str]
    command: Path = TRADING
    process: subprocess.Popen[bytes] | None = None
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=ANSWER_S), repr=False)

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.environment['TRADING_UI_PORT']}"

    @property
    def log(self) -> Path:
        """What `trading up` says."""
        return self.home / "up.log"

    def start(self) -> None:
        """Start it and return when its UI answers and knows the jobs."""
        given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.command, "up"], env=given | self.environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.await_ui()

    def await_ui(self) -> None:
        """Return when a schedule can be asked for; fails when that takes too long."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with suppress(NotAnsweredError):
                self._schedule(JobType.PRICE_UPDATE)
                return
            assert self.process is not None
            assert self.process.poll() is None, f"trading up ended: {self.log.read_text()[-2000:]}"
            time.sleep(0.3)
        raise AssertionError(f"No UI at {self.url} after {START_S} s: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does; what is left of it afterwards is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        self.kill_everything()
        self._client.close()

    # Its processes ─────────────────────────────────────────────────────────────────────────────────────

    def processes(self, *roles: Role) -> list[psutil.Process]:
        """Those that work for this home; of these roles, or all but PostgreSQL's own."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if self._works_here(process) and (not roles or role_of(process) in roles):
                    found.append(process)
        return found

    def _works_here(self, process: psutil.Process) -> bool:
        """The guardian is whoever's first asked for the server, and has the folder in its arguments."""
        is_guardian = any(str(self.home) in argument for argument in process.cmdline())
        return is_guardian or process.environ().get("TRADING_HOME") == str(self.home)

    def postmaster(self) -> psutil.Process | None:
        """The server itself, where it runs."""
        running = ServerFolder(self.home / "postgres").postmaster()
        if running is None:
            return None
        with suppress(psutil.Error):
            return psutil.Process(running.pid)
        return None

    def kill(self, *roles: Role) -> int:
        """SIGKILL every process of these roles; answers how many there were."""
        return _kill(self.processes(*roles))

    def kill_postgres(self) -> int:
        """SIGKILL the server; its backends end by themselves."""
        postmaster = self.postmaster()
        return 0 if postmaster is None else _kill([postmaster])

    def kill_everything(self) -> int:
        """SIGKILL all of it, as a power cut does."""
        postmaster = self.postmaster()
        killed = _kill([*self.processes(), *([] if postmaster is None else [postmaster])])
        if self.process is not None:
            self.process.wait(STOP_S)
        return killed

    @contextmanager
    def stopped(self, *roles: Role) -> Iterator[list[psutil.Process]]:
        """Every process of these roles stands still inside the block."""
        found = self.processes(*roles)
        for process in found:
            with suppress(psutil.Error):
                process.suspend()
        try:
            yield found
        finally:
            for process in found:
                with suppress(psutil.Error):
                    process.resume()

    # Its databases ─────────────────────────────────────────────────────────────────────────────────────

    def database_url(self, database: str) -> str:
        """Where it is, without a share in the server: who only looks must not keep it alive."""
        folder = ServerFolder(self.home / "postgres")
        password = folder.password.read_text(encoding="ascii")
        return f"postgresql://{ROLE}:{password}@{HOST}:{folder.choose_port()}/{database}"

    def look(
        self, statement: LiteralString, *parameters: str, database: str = "trading"
    ) -> list[tuple[Any, ...]]:
        """What a query finds; nothing while the server does not answer."""
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self.database_url(database), autocommit=True) as connection,
        ):
            return connection.execute(statement, parameters).fetchall()
        return []

    # Its UI ────────────────────────────────────────────────────────────────────────────────────────────

    def launch(self, job_type: JobType, *, partition: str | None = None) -> str:
        """Launch a run by hand, as the UI does; answers its id. Raises NotAnsweredError."""
        parameters = {
            "selector": _of_location(jobName=job_type.value),
            "mode": "default",
            "runConfigData": {},
        }
        if partition is not None:
            tags = [{"key": "dagster/partition", "value": partition}]
            parameters["executionMetadata"] = {"tags": tags}
        launched = self._ask(_LAUNCH, parameters=parameters)["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise NotAnsweredError(str(launched))
        return str(launched["run"]["runId"])

    def switch_on(self, job_type: JobType) -> None:
        """Switch a schedule on. Raises NotAnsweredError."""
        schedule = _of_location(scheduleName=f"{job_type.value}_schedule")
        answer = self._ask(_START, schedule=schedule)["startSchedule"]
        if answer["__typename"] != "ScheduleStateResult":
            raise NotAnsweredError(str(answer))

    def switch_off(self, job_type: JobType) -> None:
        """Switch a schedule off. Raises NotAnsweredError."""
        answer = self._ask(_STOP, id=self._schedule(job_type)["scheduleState"]["id"])["stopRunningSchedule"]
        if answer["__typename"] != "ScheduleStateResult":
            raise NotAnsweredError(str(answer))

    def _schedule(self, job_type: JobType) -> dict[str, Any]:
        schedule = _of_location(scheduleName=f"{job_type.value}_schedule")
        found = self._ask(_SCHEDULE, schedule=schedule)["scheduleOrError"]
        if found["__typename"] != "Schedule":
            raise NotAnsweredError(str(found))
        return dict(found)

    def _ask(self, query: str, **variables: object) -> dict[str, Any]:
        try:
            answer = self._client.post(f"{self.url}/graphql", json={"query": query, "variables": variables})
            told = answer.json()
        except (httpx.TransportError, ValueError) as error:
            raise NotAnsweredError(str(error)) from error
        if "data" not in told or told["data"] is None or told.get("errors"):
            raise NotAnsweredError(str(told)[:500])
        return dict(told["data"])


def again(work: Callable[[], object], *, for_s: float) -> None:
    """Do what only an answering UI can do, until it did; the last refusal is raised."""
    deadline = time.monotonic() + for_s
    while True:
        try:
            work()
        except NotAnsweredError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def role_of(process: psutil.Process) -> Role:
    """What a process does, by its command line."""
    line = " ".join(process.cmdline())
    return next((role for sign, role in _SIGNS if sign in line), Role.OTHER)


def _kill(processes: list[psutil.Process]) -> int:
    killed = 0
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
            killed += 1
    return killed


def _of_location(**names: str) -> dict[str, str]:
    return {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, **names}
