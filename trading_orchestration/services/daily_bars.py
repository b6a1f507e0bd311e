"""The daily bars of sessions, fetched from the price source for every symbol that matters then.

Ranges, not sessions, are asked for: one request per ≤ 100 symbols and some years. What the source says
replaces what was known, and what was known is kept (`bar_revisions`); doing it again changes nothing. Where
bars come from files (the source `stored`) nothing is fetched, and what is there is counted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Clock, MarketCalendar, Session
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.settings import PriceSourceName
from trading_orchestration.store import bar_checks, jobs, prices
from trading_orchestration.store.jobs import Begin

#: An answer stays small enough to be read within its timeout.
BATCH_SIZE_MAX = 100
#: About four years of sessions a request: what FMP gives at once, and what fits into memory.
SESSIONS_PER_REQUEST = 1_000
#: When the bars of a session are asked for after its close. Vendors correct closes for some hours: the last
#: time is for that; those between are for bars that did not come at first.
ATTEMPTS = (timedelta(minutes=3), timedelta(minutes=20), timedelta(hours=1), timedelta(hours=5))
#: The last attempt goes back over so many sessions.
LOOK_BACK = 3


@dataclass(slots=True)
class FetchedBars:
    """What was asked for and what came: bars that were new, that corrected others; symbols without a bar."""

    symbols: Sequence[str]
    added: int = 0
    corrected: int = 0
    bars: dict[date, int] = field(default_factory=dict)
    missing: dict[date, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WantedBars:
    """Sessions whose bars are due, and which attempt it is."""

    first: Session
    last: Session
    attempt: int


@dataclass(frozen=True, slots=True)
class DailyBars:
    """The daily bars of an installation: fetched by a person, or by themselves after each close."""

    begin: Begin
    calendar: MarketCalendar
    clock: Clock
    price_data: PriceDataService
    benchmark: str | None

    def fetch(self, days: Sequence[date], also: Collection[str] = ()) -> FetchedBars:
        """The bars of sessions, of those in between too; see `fetch_daily_bars`.

        Raises InvalidInputError for a date that is no session, or one that has not closed.
        """
        first, last = self.calendar.session(min(days)), self.calendar.session(max(days))
        return fetch_daily_bars(
            self.calendar.sessions_between(first.date, last.date),
            begin=self.begin,
            price_data=self.price_data,
            now=self.clock(),
            benchmark=self.benchmark,
            also=also,
        )

    def why_none_come(self) -> str | None:
        """Why no bars are fetched by themselves, as a sentence; None where they are."""
        if all(source.name == PriceSourceName.STORED for source in self.price_data.sources):
            return "Bars come from files here (TRADING_PRICE_SOURCE is stored)."
        with self.begin() as connection:
            is_on = jobs.read_job(connection, JobType.PORTFOLIO_SNAPSHOT).is_scheduled
        return None if is_on else "portfolio_snapshot is switched off; nobody waits for bars."

    def wanted(self) -> WantedBars | None:
        """The sessions whose bars are due now."""
        return wanted_bars(self.begin, self.calendar, self.clock(), benchmark=self.benchmark)


def fetch_daily_bars(
    sessions: Sequence[Session],
    *,
    begin: Begin,
    price_data: PriceDataService,
    now: datetime,
    benchmark: str | None = None,
    also: Collection[str] = (),
) -> FetchedBars:
    """Take over the daily bars of sessions (oldest first, none left out) of all symbols that matter in them.

    Those are held, traded, alerted, in a strategy's universe, or the benchmark, and what they were called
    before; and `also` some others. A symbol that the source has no bar of is `missing`; a source that fails
    is a problem, and the rest goes on. Raises InvalidInputError for a session that has not closed.
    """
    first, last = sessions[0], sessions[-1]
    if last.closes_at > now:
        raise InvalidInputError(
            f"{last.date} closes at {last.closes_at:%Y-%m-%d %H:%M} UTC; it has no bars before."
        )
    with begin() as connection:
        wanted = prices.symbols_between(connection, first.date, last.date, benchmark=benchmark)
    symbols = sorted({*wanted, *also})
    fetched = FetchedBars(symbols)
    if any(source.name != PriceSourceName.STORED for source in price_data.sources):
        for start in range(0, len(sessions), SESSIONS_PER_REQUEST):
            for number in range(0, len(symbols), BATCH_SIZE_MAX):
                _fetch(
                    symbols[number : number + BATCH_SIZE_MAX],
                    sessions[start : start + SESSIONS_PER_REQUEST],
                    begin=begin,
                    price_data=price_data,
                    into=fetched,
                )
    with begin() as connection:
        fetched.bars, fetched.missing = bar_checks.bars_of_sessions(
            connection, symbols, [session.date for session in sessions]
        )
    return fetched


def _fetch(
    symbols: Sequence[str],
    sessions: Sequence[Session],
    *,
    begin: Begin,
    price_data: PriceDataService,
    into: FetchedBars,
) -> None:
    bars, problems = price_data.get_session_bars([(s, session) for s in symbols for session in sessions])
    if len(problems) == len(price_data.sources):  # none has answered
        into.problems += [problem for problem in problems if problem not in into.problems]
    if bars:
        with begin() as connection:
            saved = prices.save_bars(connection, bars)
        into.added += saved.added
        into.corrected += saved.corrected


def wanted_bars(
    begin: Begin, calendar: MarketCalendar, now: datetime, *, benchmark: str | None = None
) -> WantedBars | None:
    """The bars that are due at an instant (UTC); None where none are.

    After a session's close its bars are asked for at the first of `ATTEMPTS`, again while some are missing,
    and once more at the last, with the sessions before.
    """
    try:
        session = calendar.last_closed(now)
    except InvalidInputError:
        return None
    passed = sum(now >= session.closes_at + after for after in ATTEMPTS)
    if passed == 0:
        return None
    if passed == len(ATTEMPTS):
        return WantedBars(_sessions_before(calendar, session), session, passed)
    with begin() as connection:
        symbols = prices.symbols_between(connection, session.date, session.date, benchmark=benchmark)
        _, missing = bar_checks.bars_of_sessions(connection, symbols, [session.date])
    return WantedBars(session, session, passed) if passed == 1 or missing else None


def _sessions_before(calendar: MarketCalendar, session: Session) -> Session:
    index = calendar.sessions.index(session)
    return calendar.sessions[max(0, index - LOOK_BACK)]
