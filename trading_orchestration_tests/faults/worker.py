"""A worker that runs the jobs over and over and never ends in peace: every one of its lives is killed.

Run as a module with a JSON `Way`, a number and a seed. A life ends by SIGKILL at a named crash point, or at
a random instant; in some of them PostgreSQL is killed, too, right after an order was sent. Each death is a
line on `worker-N.log` in the home folder. It goes on until its standard input ends.
"""

import json
import os
import random
import re
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np  # noqa: F401 (loaded once, before the forks)

from trading_orchestration import crashpoint
from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.services.position_sync import sync_positions
from trading_orchestration.services.tick import Report
from trading_orchestration.store import embedded_postgres
from trading_orchestration.store.database import create_engine
from trading_orchestration.store.postgres_folder import ServerFolder
from trading_orchestration_tests.faults.world import Jobs, Way
from trading_orchestration_tests.services import killed_sender

#: A life lasts at most this long; what it was to die of may not come by. A worker that fell behind reads many
#: pages of fills before it books one: in much shorter lives it would never catch up.
LIFE_S = 3.0
FREE_LIFE_S = 6.0
POSTGRES = "postgres"
#: One of these stands in every sentence about what the broker answered, or did not.
BROKERS_WORDS = ("Alpaca", "What became of", "The broker lists")
SYNCING, VALUING = "before_sync_commit", "before_snapshot_commit"


def crash_points() -> list[str]:
    """Every name in the code, but for those of the sender of messages, who is killed in a test of his own."""
    package = Path(crashpoint.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    return sorted(set(re.findall(r'crashpoint\("(\w+)"\)', code)) - set(killed_sender.POINTS))


@dataclass(frozen=True)
class Death:
    """What a life is to end by: a crash point at one of its passes, or an instant."""

    point: str | None
    passes: int
    after_s: float


def notes(home: str) -> str:
    """What both workers have noted so far."""
    return "".join(path.read_text() for path in sorted(Path(home).glob("worker-*.log")))


def spared(home: str) -> list[str]:
    """Where nothing was killed yet."""
    noted = notes(home)
    return [point for point in [*crash_points(), POSTGRES] if f"killed {point}\n" not in noted]


def deaths(home: str, chance: random.Random) -> Iterator[Death]:
    """While nothing is traded yet, the point that needs books at rest. Then where nobody died yet, then every
    point at a pass of chance; and random instants in between.
    """
    while SYNCING in spared(home):
        yield Death(SYNCING, 1, LIFE_S)
    while True:
        points = spared(home)
        if points:
            yield Death(chance.choice(points), 1, LIFE_S)
        else:
            yield Death(chance.choice([*crash_points(), POSTGRES]), chance.randint(1, 4), LIFE_S)
        yield Death(None, 0, chance.uniform(0.1, FREE_LIFE_S))


@dataclass
class Worker:
    """Lives of one worker, one after the other, each in a process of its own."""

    way: Way
    number: int

    def note(self, line: str) -> None:
        """One line that is there whatever happens next."""
        log = os.open(
            Path(self.way.home) / f"worker-{self.number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        os.write(log, f"{line}\n".encode())
        os.close(log)

    def live_and_die(self, death: Death) -> bool:
        """One life; False when there is to be no other."""
        child = os.fork()
        if not child:
            crashpoint.install(self.hook(death))
            self.live(death)
            os._exit(0)
        until = time.monotonic() + death.after_s
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                if not os.WIFSIGNALED(status):
                    self.note(f"failed {status}")
                return True
            is_over = bool(select.select([sys.stdin], [], [], 0.01)[0])
            if is_over or time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                self.note("killed random")
                return not is_over

    def hook(self, death: Death) -> Callable[[str], None]:
        """What happens at the crash points of a life."""
        passes: Counter[str] = Counter()
        target = "after_post" if death.point == POSTGRES else death.point

        def at(name: str) -> None:
            passes[name] += 1
            if name != target or passes[name] != death.passes:
                return
            self.note(f"killed {death.point}")
            if death.point != POSTGRES:
                os.kill(os.getpid(), signal.SIGKILL)
            postmaster = ServerFolder(Path(self.way.home) / "postgres").postmaster()
            if postmaster is not None:
                os.kill(postmaster.pid, signal.SIGKILL)

        return at

    def live(self, death: Death) -> None:
        """Run the jobs until somebody kills this process."""
        with embedded_postgres.use(Path(self.way.home)) as server:
            while True:
                engine = create_engine(server.trading_url, application_name=f"worker-{self.number}")
                try:
                    self.work(Jobs.of(engine, self.way, self.way.clock), death)
                except DatabaseUnavailableError:
                    self.note("problem DatabaseUnavailableError")
                    server.ensure_running()
                finally:
                    engine.dispose()

    def work(self, jobs: Jobs, death: Death) -> None:
        """Run all jobs in turn, or over and over the one that comes by where this life is to end."""
        decided = None
        while True:
            account, tick = jobs.account, jobs.tick()
            if death.point not in (SYNCING, VALUING):
                if tick.at != decided:
                    self.tell(jobs.execution(account).run(tick))
                    decided = tick.at
                self.tell(check_orders([(jobs.submission(account), jobs.trading(account))]))
            if death.point != VALUING:
                self.tell(sync_positions(tick, [jobs.trading(account)]))
            if death.point != SYNCING:
                self.tell(jobs.value_yesterday())

    def tell(self, report: Report) -> None:
        """Keep what went wrong: that it was the broker, or all of it."""
        for problem in report.problems:
            is_brokers = any(words in problem for words in BROKERS_WORDS)
            self.note("problem broker" if is_brokers else f"problem {problem}".replace("\n", " "))


def main(way: str, number: str, seed: str) -> None:
    worker = Worker(Way(**json.loads(way)), int(number))
    for death in deaths(worker.way.home, random.Random(f"{seed}-{number}")):
        if not worker.live_and_die(death):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
