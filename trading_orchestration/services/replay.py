"""Past sessions through the same services, on a clock of their own.

With minute bars a session has every tick of every job; with daily bars it has three instants: the open, the
close, and the snapshot's after it. At each instant the paper market is given its prices first, then the jobs
run in a fixed order, so that the same bars always lead to the same trades.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import prices, replay_copy
from trading_orchestration.store.jobs import Begin

#: Fills are booked before prices mark them, books are compared before anything is traded on them.
JOB_ORDER = (
    JobType.ORDER_STATUS_CHECK,
    JobType.PRICE_UPDATE,
    JobType.POSITION_SYNC,
    JobType.STRATEGY_EXECUTION,
    JobType.ALERT_PRICE_CHECK,
    JobType.PORTFOLIO_SNAPSHOT,
)

#: The jobs without which nothing can be decided.
_TO_DECIDE = (
    JobType.ORDER_STATUS_CHECK,
    JobType.PRICE_UPDATE,
    JobType.POSITION_SYNC,
    JobType.STRATEGY_EXECUTION,
)

#: Ticks (UTC) at which strategies decided, with the prices that were seen then.
Recorded = Mapping[datetime, Mapping[str, Decimal]]
NOTHING_RECORDED: Recorded = {}
GivePrices = Callable[[Sequence[PriceTick], datetime], None]
RunJob = Callable[[JobType, datetime, Session], None]
RunStep = Callable[[Callable[[], None]], None]


def _run(step: Callable[[], None]) -> None:
    step()


@dataclass(slots=True)
class ReplayClock:
    """A clock that stands at the instant being replayed (UTC)."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True)
class Instant:
    """One step of a replay: the prices that come in, then the jobs that run."""

    at: datetime
    prices: Sequence[PriceTick]
    jobs: Sequence[JobType]


def replay(
    sessions: Sequence[Session],
    *,
    begin: Begin,
    clock: ReplayClock,
    give_prices: GivePrices,
    run_job: RunJob,
    recorded: Recorded = NOTHING_RECORDED,
    run_step: RunStep = _run,
) -> Iterator[Session]:
    """Replay sessions one after the other; yields each once it is done.

    `run_step` runs what happens at one instant; it may run it again where it has undone it.
    """
    for session in sessions:
        for instant in instants_of(session, begin, recorded):

            def step(instant: Instant = instant, session: Session = session) -> None:
                clock.now = instant.at
                give_prices(instant.prices, instant.at)
                for job_type in instant.jobs:
                    run_job(job_type, instant.at, session)

            run_step(step)
        yield session


def instants_of(session: Session, begin: Begin, recorded: Recorded = NOTHING_RECORDED) -> Iterator[Instant]:
    """The instants of one session with the bars that are stored of it."""
    return instants(session, _bars(begin, session), recorded)


def instants(
    session: Session, bars: Sequence[Bar], recorded: Recorded = NOTHING_RECORDED
) -> Iterator[Instant]:
    """The instants of one session, in order, with their prices and jobs.

    At the ticks of `recorded` strategies are executed whatever the schedule says, on the prices seen then.
    """
    jobs: dict[datetime, list[JobType]] = defaultdict(list)
    for job_type in JOB_ORDER:
        for tick in ticks(job_type, session):
            jobs[tick].append(job_type)
    is_daily = all(bar.timeframe is Timeframe.DAY for bar in bars)
    if is_daily:
        snapshot_ticks = ticks(JobType.PORTFOLIO_SNAPSHOT, session)
        kept = {session.opens_at, session.closes_at, *snapshot_ticks, *recorded}
        jobs = defaultdict(list, {tick: of_tick for tick, of_tick in jobs.items() if tick in kept})
    ends, starts = _by_instant(bars)
    for tick in recorded:
        jobs[tick] = [job_type for job_type in JOB_ORDER if job_type in {*jobs[tick], *_TO_DECIDE}]
    for at in sorted({*jobs, *ends, *starts}):
        prices_now = _prices(ends.get(at, {}), starts.get(at, {}), recorded.get(at, {}))
        yield Instant(at, prices_now, jobs.get(at, []))


def _bars(begin: Begin, session: Session) -> Sequence[Bar]:
    """The minute bars of a session, and the daily ones of symbols that have no minutes in it."""
    with begin() as connection:
        bars = prices.session_bars(connection, session.date)
    with_minutes = {bar.symbol for bar in bars if bar.timeframe is Timeframe.MINUTE}
    return [bar for bar in bars if bar.timeframe is Timeframe.MINUTE or bar.symbol not in with_minutes]


def sessions_to_replay(
    calendar: MarketCalendar, first: date, last: date, *, begin: Begin, now: datetime
) -> Sequence[Session]:
    """The sessions from `first` to `last`, all closed and all with bars; raises InvalidInputError."""
    if first > last:
        raise InvalidInputError(f"The replay ends on {last}, before it starts on {first}; swap the dates.")
    sessions = calendar.sessions_between(first, last)
    if not sessions:
        raise InvalidInputError(f"{calendar.name} has no session from {first} to {last}; give other dates.")
    if sessions[-1].closes_at > now or last > calendar.local(now).date():
        closed = calendar.last_closed(now).date
        raise InvalidInputError(f"The replay ends on {last}, but the last session that closed is {closed}.")
    with begin() as connection:
        missing = replay_copy.sessions_without_bars(connection, [session.date for session in sessions])
    if missing:
        raise InvalidInputError(
            f"{len(missing)} of these {len(sessions)} sessions have no bars, first {missing[0]}; "
            "`trading bars import FILE` brings them in, or give other dates."
        )
    return sessions


def _by_instant(
    bars: Iterable[Bar],
) -> tuple[dict[datetime, dict[str, Bar]], dict[datetime, dict[str, Bar]]]:
    ends: dict[datetime, dict[str, Bar]] = defaultdict(dict)
    starts: dict[datetime, dict[str, Bar]] = defaultdict(dict)
    for bar in bars:
        ends[bar.ends_at][bar.symbol] = bar
        starts[bar.starts_at][bar.symbol] = bar
    return ends, starts


def _prices(
    ended: Mapping[str, Bar], begun: Mapping[str, Bar], seen: Mapping[str, Decimal]
) -> list[PriceTick]:
    """Each bar that ends, and the price then: what was seen, the open of a bar that begins, or the close."""
    now = {symbol: bar.close for symbol, bar in ended.items()}
    now |= {symbol: bar.open for symbol, bar in begun.items()}
    now |= seen
    return [PriceTick(symbol, now[symbol], ended.get(symbol)) for symbol in sorted(now)]
