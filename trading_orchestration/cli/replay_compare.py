"""A session that was traded, replayed from the books as of its open, and what differs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.cli.installation import open_installation
from trading_orchestration.cli.interruption import Interruption
from trading_orchestration.cli.replay_run import How, ReplayJobs, on_replay_clock, run_sessions
from trading_orchestration.domain.day_comparison import (
    DayDecision,
    DayRecord,
    Difference,
    TradePair,
    compare_days,
    pair_trades,
)
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.price import Quote
from trading_orchestration.market_data.recorded import RecordedSource
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.replay import ReplayClock, sessions_to_replay
from trading_orchestration.store import migrations, replay_copy, replay_day
from trading_orchestration.store.database import transaction
from trading_orchestration.wiring import Trading, system_clock

_Seen = Mapping[str, Sequence[tuple[datetime, Quote | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What happened in a session and what a replay made of it; `problems` are the jobs that failed in it."""

    session: Session
    happened: DayRecord
    replayed: DayRecord
    problems: Sequence[str]
    database: str | None

    @property
    def trades(self) -> list[TradePair]:
        """The trades side by side."""
        return pair_trades(self.happened, self.replayed)

    @property
    def differences(self) -> list[Difference]:
        """Everything that is another."""
        return compare_days(self.happened, self.replayed)


def compare_session(day: date, interruption: Interruption, how: How) -> Compared:
    """Replay a session on the quotes its decisions saw, and set both side by side.

    Raises InvalidInputError, before anything is done, for a date that cannot be replayed or was not traded.
    """
    with open_installation() as books:
        now = system_clock()
        [session] = sessions_to_replay(books.calendar, day, day, begin=books.begin, now=now)
        with transaction(books.engine) as connection:
            happened = replay_day.day_record(connection, session.date)
        with replay_copy.scratch_database(books.engine, is_kept=how.is_kept) as scratch:
            migrations.upgrade(scratch)
            replay_day.copy_day(books.engine, scratch, session)
            clock = ReplayClock(session.opens_at)
            settings = books.settings.model_copy(update=dict(how.costs))
            trading = _on_recorded_quotes(
                on_replay_clock(settings, scratch, clock), _seen(happened.decisions), clock
            )
            jobs = ReplayJobs(trading, interruption)
            recorded = _prices_seen(happened.decisions)
            run_sessions(jobs, clock, [session], is_silent=True, recorded=recorded)
            with transaction(scratch) as connection:
                replayed = replay_day.day_record(connection, session.date)
            return Compared(
                session=session,
                happened=happened,
                replayed=replayed,
                problems=jobs.problems,
                database=scratch.url.database if how.is_kept else None,
            )


def _on_recorded_quotes(trading: Trading, seen: _Seen, clock: ReplayClock) -> Trading:
    sources = [RecordedSource(seen, source, clock) for source in trading.price_data.sources]
    return replace(trading, price_data=PriceDataService(sources, clock))


def _seen(decisions: Sequence[DayDecision]) -> _Seen:
    """The quotes of each symbol as its decisions saw them, oldest first."""
    found: dict[str, dict[datetime, Quote | None]] = defaultdict(dict)
    for decision in decisions:
        for signal in decision.signals:
            found[signal["symbol"]][decision.tick] = _quote(signal)
    return {symbol: sorted(quotes.items(), key=lambda entry: entry[0]) for symbol, quotes in found.items()}


def _prices_seen(decisions: Sequence[DayDecision]) -> dict[datetime, dict[str, Decimal]]:
    """What the paper market is given at each tick."""
    found: dict[datetime, dict[str, Decimal]] = defaultdict(dict)
    for decision in decisions:
        quotes = map(_quote, decision.signals)
        found[decision.tick] |= {quote.symbol: quote.price for quote in quotes if quote is not None}
    return found


def _quote(signal: Mapping[str, str]) -> Quote | None:
    if not signal.get("price"):
        return None
    return Quote(
        symbol=signal["symbol"],
        price=Decimal(signal["price"]),
        quoted_at=datetime.fromisoformat(signal["quoted_at"]),
        source=signal["source"],
    )
