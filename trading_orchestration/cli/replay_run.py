"""A replay from the books to its result: copied, run, added up."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from trading_orchestration.brokers.paper import paper_settings
from trading_orchestration.cli.installation import open_installation
from trading_orchestration.cli.interruption import Interruption
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Session
from trading_orchestration.errors import DatabaseError, LeaseLostError, TradingError
from trading_orchestration.services.replay import (
    NOTHING_RECORDED,
    Recorded,
    ReplayClock,
    RunJob,
    instants_of,
    replay,
    sessions_to_replay,
)
from trading_orchestration.services.replay_result import PortfolioResult, portfolio_results, trade_list
from trading_orchestration.services.tick import Tick
from trading_orchestration.settings import PriceSourceName, Settings
from trading_orchestration.store import migrations, portfolios, replay_copy
from trading_orchestration.store.database import Engine
from trading_orchestration.store.installed import DatabaseUrls
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.joined import Joined
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration.wiring import Trading, build_trading, system_clock

#: Portfolios have their money by then.
_BEFORE_THE_OPEN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay came to. `problems` are the jobs that failed, `database` the one that was kept."""

    sessions: Sequence[Session]
    seconds: float
    results: Sequence[PortfolioResult]
    trades: Sequence[tuple[str, ...]]
    left_out: Sequence[str]
    problems: Sequence[str]
    database: str | None
    is_dagster: bool

    @property
    def sessions_per_second(self) -> float:
        """How fast the sessions themselves went."""
        return len(self.sessions) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a replay is run.

    `is_dagster` makes every job a Dagster run; `closes_out` closes all positions with the last decision;
    `costs` are settings of the paper broker that replace those of the environment.
    """

    is_kept: bool = False
    is_dagster: bool = False
    is_silent: bool = False
    closes_out: bool = False
    costs: Mapping[str, Decimal] = field(default_factory=dict)


def replay_sessions(first: date, last: date, interruption: Interruption, how: How) -> Replayed:
    """Replay the sessions from `first` to `last`.

    Raises InvalidInputError, before anything is done, for dates that cannot be replayed, and DatabaseError.
    """
    with open_installation() as books:
        sessions = sessions_to_replay(books.calendar, first, last, begin=books.begin, now=system_clock())
        with replay_copy.scratch_database(
            books.engine, is_kept=how.is_kept, with_dagster=how.is_dagster
        ) as scratch:
            migrations.upgrade(scratch)
            starts_at = sessions[0].opens_at - _BEFORE_THE_OPEN
            copied = replay_copy.copy_books(
                books.engine, scratch, last=sessions[-1].date, starts_at=starts_at
            )
            clock = ReplayClock(starts_at)
            settings = books.settings.model_copy(update=dict(how.costs))
            paper_settings(settings)  # refuses what is out of range before anything is done
            joined = None if how.is_dagster else Joined(scratch)
            jobs = ReplayJobs(
                on_replay_clock(settings, joined.engine if joined else scratch, clock),
                interruption,
                joined=joined,
                closes_out_at=_last_decision(sessions, books.begin) if how.closes_out else None,
            )
            with _dagster_runs(settings, scratch, how) as jobs.run_job:
                began = time.monotonic()
                run_sessions(jobs, clock, sessions, is_silent=how.is_silent)
                seconds = time.monotonic() - began
            return Replayed(
                sessions=sessions,
                seconds=seconds,
                results=portfolio_results(jobs.trading.begin, copied.cash),
                trades=trade_list(jobs.trading.begin),
                left_out=copied.left_out,
                problems=jobs.problems,
                database=scratch.url.database if how.is_kept else None,
                is_dagster=how.is_dagster,
            )


@contextmanager
def _dagster_runs(settings: Settings, scratch: Engine, how: How) -> Iterator[RunJob | None]:
    if not how.is_dagster:
        yield None
        return
    from trading_orchestration.cli.replay_dagster import dagster_runs

    urls = DatabaseUrls(*replay_copy.replay_urls(scratch, scratch.url.database or ""))
    with dagster_runs(settings, scratch, urls, how.costs) as run_job:
        yield run_job


def on_replay_clock(settings: Settings, engine: Engine, clock: ReplayClock) -> Trading:
    """An installation on stored bars alone: no vendor is asked, no key needed."""
    stored = settings.model_copy(update={"trading_price_source": PriceSourceName.STORED})
    return build_trading(stored, engine, system_clock).at(clock)


@dataclass(slots=True)
class ReplayJobs:
    """Runs jobs one by one; one that fails is noted, and the replay goes on as a trading day would.

    `run_job` runs them; None runs the services straight. What happens at one instant is one transaction where
    `joined` says so.
    """

    trading: Trading
    interruption: Interruption
    closes_out_at: datetime | None = None
    problems: list[str] = field(default_factory=list)
    run_job: RunJob | None = None
    joined: Joined | None = None

    def run(self, job_type: JobType, at: datetime, session: Session) -> None:
        self.interruption.check()
        if job_type is JobType.STRATEGY_EXECUTION and at == self.closes_out_at:
            self._flatten(at)
        run_job = self.run_job or self._run_straight
        try:
            run_job(job_type, at, session)
        except (DatabaseError, LeaseLostError):
            raise
        except TradingError as error:
            self.problems.append(f"{job_type} at {at:%Y-%m-%d %H:%M} UTC: {error}")

    def run_step(self, step: Callable[[], None]) -> None:
        """Run what happens at one instant; what it noted counts once, also where it is run again."""
        noted = len(self.problems)

        def undone() -> None:
            del self.problems[noted:]
            if self.trading.action_watch is not None:
                self.trading.action_watch.forget()

        if self.joined is None:
            step()
        else:
            self.joined.run(step, undone=undone)

    def _run_straight(self, job_type: JobType, at: datetime, session: Session) -> None:
        tick = Tick(at, session, f"replay-{at.isoformat()}")
        self.trading.run_job(job_type, tick, self.trading.begin).raise_if_failed()

    def _flatten(self, at: datetime) -> None:
        with self.trading.begin() as connection:
            portfolios.add_halt(
                connection,
                portfolio_id=None,
                level=HaltLevel.FLATTEN,
                reason="The replay ends.",
                actor="replay",
                at=at,
            )


def _last_decision(sessions: Sequence[Session], begin: Begin) -> datetime:
    """The last instant at which strategies decide."""
    last = sessions[-1]
    decided = (i.at for i in instants_of(last, begin) if JobType.STRATEGY_EXECUTION in i.jobs)
    return max(decided)


def run_sessions(
    jobs: ReplayJobs,
    clock: ReplayClock,
    sessions: Sequence[Session],
    *,
    is_silent: bool,
    recorded: Recorded = NOTHING_RECORDED,
) -> None:
    """Replay the sessions with a progress bar; a signal ends it between two jobs."""
    trading = jobs.trading
    done = replay(
        sessions,
        begin=trading.begin,
        clock=clock,
        give_prices=trading.give_prices,
        run_job=jobs.run,
        recorded=recorded,
        run_step=jobs.run_step,
    )
    jobs.interruption.is_deferred = True
    for _ in _with_progress(done, len(sessions), is_silent=is_silent):
        pass
    jobs.interruption.is_deferred = False
    jobs.interruption.check()


def _with_progress(done: Iterable[Session], count: int, *, is_silent: bool) -> Iterator[Session]:
    from tqdm import tqdm

    is_hidden = is_silent or not sys.stderr.isatty()
    with tqdm(done, total=count, unit="session", file=sys.stderr, disable=is_hidden) as bar:
        for session in bar:
            bar.set_postfix_str(session.date.isoformat(), refresh=False)
            yield session
