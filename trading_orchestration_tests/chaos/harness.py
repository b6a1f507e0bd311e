"""A system that runs itself, and everything of it killed, in turn and at random; then its record is read."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path

import psycopg

from trading_orchestration.domain.job import JobType
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.job_admission import NEEDED_TO_TRADE
from trading_orchestration.settings import Settings
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.chaos.live_system import LiveSystem, NotAnsweredError, Role, again
from trading_orchestration_tests.chaos.price_vendor import PriceVendor, price_vendor
from trading_orchestration_tests.chaos.record_check import Record, read_record, wrong
from trading_orchestration_tests.chaos.world import EXCHANGE, Pace, environment, furnish

#: A hanging run without a row is failed two minutes after it was made; its row follows within seconds.
SETTLED_S = 300
#: What a job needs to complete a run at the end; that may take two probes.
ALIVE_S = 180
#: A schedule of every minute ticks within this, even where the last blow was a moment ago.
TICK_S = 180
#: So many unfinished runs are not joined by another by hand: the machine is to be busy, not choked.
AT_ONCE = 5
LAG_MEDIAN_S_MAX = 6.0
#: How long a run may take to become a process, and to ask for prices; and a row to be closed after its lease.
WORKER_S = 60
ASKED_S = 90
GIVEN_UP_S = 60
_WAITING = """
    SELECT run_id FROM job_executions WHERE execution_status = 'started' AND job_type = 'price_update'"""
_UNFINISHED = "SELECT pipeline_name FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
_STATUS = """
    SELECT e.execution_status, j.job_status FROM job_executions e JOIN scheduled_jobs j USING (job_type)
    WHERE e.run_id = %s AND e.execution_status <> 'started'"""
_TICKS = "SELECT id FROM job_ticks WHERE type = 'SCHEDULE' AND timestamp > %s::timestamp LIMIT 1"
_TRADED = "SELECT (SELECT count(*) FROM trades), (SELECT count(*) FROM fills)"
_DISCREPANCIES = "SELECT 'discrepancy in ' || coalesce(symbol, 'cash') FROM discrepancies"
_HALTS = "SELECT 'halted by ' || actor || ': ' || reason FROM halts"


class Blow(StrEnum):
    """What is done to the system."""

    WORKER = "run workers killed"
    DAEMON = "daemon killed"
    CODE_SERVER = "code server killed"
    WEB_SERVER = "web server killed"
    POSTGRES = "PostgreSQL killed"
    EVERYTHING = "everything killed at once"
    STOP = "run worker stopped past its lease"


@dataclass
class Outcome:
    """What happened, and what is wrong: a run is good when `wrong` is empty."""

    seed: int
    seconds: float = 0.0
    settled_s: float = 0.0
    blows: Counter[str] = field(default_factory=Counter)
    launched: int = 0
    refused: int = 0
    traded: Sequence[tuple[int, int]] = ()
    record: Record | None = None
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The figures as a person reads them."""
        yield f"seed {self.seed}: {self.seconds:.0f} s, all runs on record {self.settled_s:.0f} s later"
        yield f"blows: {_listed(self.blows)}"
        yield f"runs by hand: {self.launched}, and {self.refused} more while no UI answered"
        yield from (f"trades: {trades}, fills: {fills}" for trades, fills in self.traded)
        if self.record is not None:
            yield from _figures(self.record)
        yield from (f"WRONG: {sentence}" for sentence in self.wrong)


def run(home: Path, *, minutes: float, seed: int, tell: Callable[[str], None]) -> Outcome:
    """Let a system trade for so many minutes and strike it; then wait until it is at rest, and judge."""
    with harness(home, minutes=minutes, seed=seed, tell=tell) as chaos:
        for job_type in JobType:
            again(partial(chaos.system.switch_on, job_type), for_s=ALIVE_S)
        chaos.rage(seconds=minutes * 60)
        chaos.prove_ticking()
        for job_type in JobType:
            again(partial(chaos.system.switch_off, job_type), for_s=ALIVE_S)
        chaos.settle()
        chaos.prove_alive(*NEEDED_TO_TRADE, *(job for job in JobType if job not in NEEDED_TO_TRADE))
        chaos.judge()
        spared = [blow for blow in Blow if not chaos.outcome.blows[blow]]
        chaos.outcome.wrong += [f"never: {blow}; give it more minutes" for blow in spared]
        lags = chaos.outcome.record.lags() if chaos.outcome.record else []
        if lags and statistics.median(lags) > LAG_MEDIAN_S_MAX:
            chaos.outcome.wrong.append(f"the sensor's lag is {statistics.median(lags):.1f} s, the median")
        return chaos.outcome


@contextmanager
def harness(
    home: Path,
    *,
    minutes: float,
    seed: int,
    pace: Pace | None = None,
    tell: Callable[[str], None] | None = None,
) -> "Iterator[Harness]":
    """A furnished system that is up; nothing of it is left at the end."""
    chance, pace = random.Random(seed), pace or Pace()
    settings = Settings(trading_home=home, trading_exchange=EXCHANGE, database_url=None)
    furnish(settings, minutes=minutes, chance=chance, pace=pace)
    with price_vendor(seed) as prices:
        system = LiveSystem(home, environment(home, prices.url))
        try:
            system.start()
            yield Harness(system, prices, pace, chance, Outcome(seed), tell or (lambda _: None))
        finally:
            system.stop()


@dataclass
class Harness:
    """One live system and what is done to it."""

    system: LiveSystem
    prices: PriceVendor
    pace: Pace
    chance: random.Random
    outcome: Outcome
    tell: Callable[[str], None]

    def launch(self, job_type: JobType) -> str | None:
        """Launch a run by hand where a UI answers; a snapshot is of the last session."""
        yesterday = (system_clock() - timedelta(days=1)).date().isoformat()
        partition = yesterday if job_type is JobType.PORTFOLIO_SNAPSHOT else None
        try:
            run_id = self.system.launch(job_type, partition=partition)
        except NotAnsweredError:
            self.outcome.refused += 1
            return None
        self.outcome.launched += 1
        return run_id

    def rage(self, *, seconds: float) -> None:
        """Launch runs by hand beside the scheduled ones; strike every few seconds, each blow in its turn."""
        started, bag = time.monotonic(), list[Blow]()
        strike_at = started + self.chance.uniform(5, 12)
        while time.monotonic() - started < seconds:
            if len(self.system.look(_UNFINISHED, database="dagster")) < AT_ONCE:
                self.launch(self.chance.choice(list(JobType)))
            if time.monotonic() > strike_at:
                bag = bag or self.chance.sample(list(Blow), len(Blow))
                self.strike(bag.pop())
                strike_at = time.monotonic() + self.chance.uniform(5, 20)
            time.sleep(self.chance.uniform(0.5, 3))
        self.outcome.seconds = time.monotonic() - started

    # Blows ─────────────────────────────────────────────────────────────────────────────────────────────

    def strike(self, blow: Blow) -> bool:
        """Do it; answers whether it hit something, which then is counted."""
        blows: dict[Blow, Callable[[], int]] = {
            Blow.WORKER: self._kill_workers,
            Blow.DAEMON: partial(self.system.kill, Role.DAEMON),
            Blow.CODE_SERVER: partial(self.system.kill, Role.CODE_SERVER),
            Blow.WEB_SERVER: partial(self.system.kill, Role.WEB_SERVER),
            Blow.POSTGRES: self.system.kill_postgres,
            Blow.EVERYTHING: self._kill_everything,
            Blow.STOP: self._stop_worker,
        }
        hits = blows[blow]()
        self.outcome.blows[blow] += hits > 0
        self.tell(f"{blow}: {hits}")
        return hits > 0

    def _kill_workers(self) -> int:
        """At a random moment of the youngest one's life, or at its very beginning where that was too late."""
        for delay_s in (self.chance.uniform(0, 3), self.chance.uniform(0, 1), 0.0):
            self.launch(self.chance.choice(list(JobType)))
            _await(lambda: bool(self.system.processes(Role.WORKER)), for_s=WORKER_S)
            time.sleep(delay_s)
            if killed := self.system.kill(Role.WORKER):
                return killed
        return 0

    def _kill_everything(self) -> int:
        killed = self.system.kill_everything()
        time.sleep(self.chance.uniform(0, 3))
        self.system.start()
        return killed

    def _stop_worker(self) -> int:
        """Stop every worker while one waits for prices, until that was given up; answers how many it hit."""
        with self.prices.held() as is_asked:
            self.launch(JobType.PRICE_UPDATE)
            if not is_asked.wait(ASKED_S):
                return 0
            with self.system.stopped(Role.WORKER):
                held = self._waiting()
                is_over = _await(lambda: not held & self._waiting(), for_s=self.pace.lease_s + GIVEN_UP_S)
                return len(held) if is_over else 0

    def _waiting(self) -> frozenset[str]:
        return frozenset(row[0] for row in self.system.look(_WAITING))

    # The end ───────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Wait until every run has ended and every row is closed; `judge` finds what does not."""
        started = time.monotonic()
        _await(self._is_settled, for_s=SETTLED_S, every_s=1)
        self.outcome.settled_s = time.monotonic() - started

    def prove_ticking(self) -> None:
        """The daemon looks at schedules again, which it does every minute."""
        since = system_clock().replace(tzinfo=None).isoformat()
        if not _await(
            lambda: bool(self.system.look(_TICKS, since, database="dagster")), for_s=TICK_S, every_s=1
        ):
            self.outcome.wrong.append(f"no schedule ticked within {TICK_S} s")

    def prove_alive(self, *job_types: JobType) -> None:
        """Each job completes a run by hand, and an open breaker closes over it; nobody mends anything."""
        for job_type in job_types:
            if not self._works_again(job_type):
                self.outcome.wrong.append(f"{job_type} does not work any more")

    def judge(self) -> None:
        """Compare the record with Dagster's, and the books with the broker's."""
        self.settle()
        self.outcome.record = self._record()
        if self.outcome.record is None:
            self.outcome.wrong.append("PostgreSQL does not answer")
            return
        self.outcome.wrong += wrong(self.outcome.record)
        self.outcome.traded = self.system.look(_TRADED)
        self.outcome.wrong += [row[0] for row in self.system.look(_DISCREPANCIES)]
        self.outcome.wrong += [row[0] for row in self.system.look(_HALTS)]
        engine = create_engine(self.system.database_url("trading"), application_name="chaos")
        self.outcome.wrong += check_books(partial(transaction, engine))
        engine.dispose()

    def _works_again(self, job_type: JobType) -> bool:
        deadline = time.monotonic() + ALIVE_S
        while time.monotonic() < deadline:
            run_id = self.launch(job_type)
            if run_id is None:
                time.sleep(1)
                continue
            _await(partial(self._has_ended, run_id), for_s=ALIVE_S)
            if self._status(run_id) == [("completed", "enabled")]:
                return True
        return False

    def _has_ended(self, run_id: str) -> bool:
        return bool(self._status(run_id))

    def _status(self, run_id: str) -> Sequence[tuple[str, str]]:
        return self.system.look(_STATUS, run_id)

    def _is_settled(self) -> bool:
        record = self._record()
        return record is not None and record.is_settled()

    def _record(self) -> Record | None:
        try:
            return read_record(self.system.database_url("trading"), self.system.database_url("dagster"))
        except psycopg.OperationalError:
            return None


def _await(is_true: Callable[[], bool], *, for_s: float, every_s: float = 0.02) -> bool:
    deadline = time.monotonic() + for_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def _figures(record: Record) -> Iterator[str]:
    statuses = Counter(f"{row.trigger} {row.status}" for row in record.rows)
    yield f"runs in Dagster: {len(record.runs)}; rows: {len(record.rows)} ({_listed(statuses)})"
    moves = Counter(move.status.value for move in record.moves)
    yield f"breakers: {_listed(moves)}; probes: {sum(row.is_probe for row in record.rows)}"
    lags = record.lags()
    if lags:
        yield (
            f"sensor's lag, {len(lags)} rows: median {statistics.median(lags):.1f} s "
            f"(≤ {LAG_MEDIAN_S_MAX:.0f}), max {lags[-1]:.1f} s"
        )
    for job_type, late in record.lateness().items():
        middle, most = statistics.median(late), max(late)
        yield f"tick to admission, {job_type}: {len(late)}, median {middle:.1f} s, max {most:.1f} s"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
