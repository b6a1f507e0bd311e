"""`portfolio_snapshot`: what every portfolio was worth at sessions' closes.

The value of the ledger as of the close, at the official closes of that session: the same however often and
whenever it is computed, for one session or for ten years of them. Caches take no part in it. The price source
is asked for a close that is missing; what may stand for one that nobody has is told in `session_closes.py`.

A range is followed in one pass over the ledger and written part by part, each a transaction in which nobody
books: trading waits for a part, never for a range.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.portfolio_fold import PortfolioFold
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.price import Bar
from trading_orchestration.errors import InvalidInputError, MarketDataUnavailableError
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.session_closes import (
    Closes,
    SessionClose,
    official_closes,
    with_substitutes,
)
from trading_orchestration.services.snapshot_returns import PortfolioFlows, chained
from trading_orchestration.services.tick import Report
from trading_orchestration.store import ledger, portfolios, prices, snapshots
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger_history import CashHistory, Version, cash_histories, ledger_version
from trading_orchestration.store.portfolios import Portfolio
from trading_orchestration.store.snapshots import Snapshot, SnapshotPosition

#: A part of a range ends after so many sessions, or holdings: what is in memory and locked stays small.
SESSIONS_AT_ONCE = 60
HOLDINGS_AT_ONCE = 25_000


@dataclass(slots=True)
class SnapshotReport(Report):
    """A report that knows the sessions in which some portfolio could not be valued."""

    unvalued: set[date] = field(default_factory=set)


def take_snapshots(
    sessions: Sequence[Session],
    *,
    begin: Begin,
    calendar: MarketCalendar,
    now: datetime,
    price_data: PriceDataService,
    carry_sessions: int = 0,
) -> SnapshotReport:
    """Value every portfolio that had money by each session's close; counts portfolios and snapshots.

    A portfolio that cannot be valued, because a symbol it holds has no close, does not stop the others; a
    close of at most `carry_sessions` sessions before may stand for it. Snapshots that are there of later
    sessions get their returns anew. Raises InvalidInputError for a session that has not closed, before
    anything is valued.
    """
    for session in sessions:
        if now < session.closes_at:
            raise InvalidInputError(
                f"{session.date} closes at {session.closes_at:%Y-%m-%d %H:%M} UTC; "
                "it cannot be valued before."
            )
    taking = _Taking(begin=begin, calendar=calendar, price_data=price_data, carry_sessions=carry_sessions)
    return taking.take(sorted(sessions))


@dataclass(frozen=True, slots=True)
class _Held:
    """What a portfolio had at a session's close."""

    portfolio: Portfolio
    session: Session
    cash: Decimal
    positions: Sequence[Position]


@dataclass(slots=True)
class _Ledger:
    """The ledger as it was read, followed to some session."""

    version: Version
    portfolios: Sequence[Portfolio]
    cash: defaultdict[int, CashHistory]
    folds: dict[int, PortfolioFold]
    followed_to: date = date.min
    at_sessions: list[tuple[Session, list[_Held]]] = field(default_factory=list)

    @classmethod
    def read(cls, connection: Connection, version: Version, *, until: datetime) -> "_Ledger":
        found = portfolios.read_portfolios(connection)
        cash = cash_histories(connection)
        entries: defaultdict[int, dict[str, Sequence[ledger.Entry]]] = defaultdict(dict)
        for (portfolio_id, symbol), of_symbol in ledger.position_entries(connection, until=until).items():
            entries[portfolio_id][symbol] = of_symbol
        folds = {one.id: PortfolioFold(entries[one.id], cash[one.id].amounts) for one in found}
        return cls(version, found, cash, folds)

    def part(self, sessions: Sequence[Session]) -> list[tuple[Session, list[_Held]]]:
        """What funded portfolios had at the first of these sessions, as many as are valued at once."""
        if self.at_sessions and self.at_sessions[0][0] == sessions[0]:
            return self.at_sessions  # asked for again, with more closes
        self.at_sessions, holdings = [], 0
        for session in sessions[:SESSIONS_AT_ONCE]:
            held = list(self._held(session))
            self.at_sessions.append((session, held))
            holdings += sum(len(one.positions) for one in held)
            if holdings >= HOLDINGS_AT_ONCE:
                break
        self.followed_to = self.at_sessions[-1][0].date
        return self.at_sessions

    def _held(self, session: Session) -> Iterator[_Held]:
        for portfolio in self.portfolios:
            fold, opened_at = self.folds[portfolio.id], self.cash[portfolio.id].opened_at
            fold.advance(session.closes_at)
            if opened_at is not None and opened_at <= session.closes_at:
                yield _Held(portfolio, session, fold.cash, fold.held)


@dataclass(slots=True, kw_only=True)
class _Taking:
    """Snapshots of a range that are being taken, part by part."""

    begin: Begin
    calendar: MarketCalendar
    price_data: PriceDataService
    carry_sessions: int
    ledger: _Ledger | None = None
    valued: set[int] = field(default_factory=set)
    taken: int = 0
    #: Sessions without a close, by portfolio and symbol, and what to say of them.
    unvalued: dict[tuple[str, str], list[date]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[tuple[str, str], tuple[Closes, Sequence[str]]] = field(default_factory=dict)

    def take(self, sessions: Sequence[Session]) -> SnapshotReport:
        left = list(sessions)
        while left:
            done = self._take_part(left, why_missing=None)
            if isinstance(done, Closes):
                bars, why_missing = self._ask_source(done)
                if bars:
                    with self.begin() as connection:
                        prices.save_bars(connection, bars)
                done = self._take_part(left, why_missing=why_missing)
            assert isinstance(done, int)
            left = left[done:]
        return self._report()

    def _ask_source(self, closes: Closes) -> tuple[Sequence[Bar], Sequence[str]]:
        wanted = [(symbol, self.calendar.session(day)) for symbol, day in closes.missing]
        return self.price_data.get_session_bars(wanted)

    def _take_part(self, left: Sequence[Session], *, why_missing: Sequence[str] | None) -> int | Closes:
        """Take the first of these snapshots and answer of how many sessions; or the closes that are missing,
        where no source was asked yet (None)."""
        with self.begin() as connection:
            prices.keep_bars_as_they_are(connection)
            portfolios.hold_all_portfolios(connection)
            part = self._ledger(connection, left).part(left)
            held = [one for _, of_session in part for one in of_session]
            closes = official_closes(
                connection, {(p.symbol, one.session.date) for one in held for p in one.positions}
            )
            if closes.missing and why_missing is None:
                return closes
            closes = with_substitutes(connection, closes, self.calendar, carry_sessions=self.carry_sessions)
            self._save(connection, left, [session for session, _ in part], held, closes, why_missing or ())
            crashpoint("before_snapshot_commit")
        return len(part)

    def _ledger(self, connection: Connection, left: Sequence[Session]) -> _Ledger:
        """The ledger; read anew where something was booked since the last part."""
        version, read = ledger_version(connection), self.ledger
        is_again = read is not None and bool(read.at_sessions) and read.at_sessions[0][0] == left[0]
        if read is None or read.version != version or (read.followed_to >= left[0].date and not is_again):
            read = self.ledger = _Ledger.read(connection, version, until=left[-1].closes_at)
        return read

    def _save(
        self,
        connection: Connection,
        left: Sequence[Session],
        part: Sequence[Session],
        held: Sequence[_Held],
        closes: Closes,
        why_missing: Sequence[str],
    ) -> None:
        taken: list[Snapshot] = []
        unvalued: list[_Held] = []
        for one in held:
            if self._is_unvalued(one, closes, why_missing):
                unvalued.append(one)
            else:
                taken.append(_snapshot(one, closes))
        rest = left[len(part) :]
        if rest:
            # Their returns hang on those before them: until they are written they do not hold.
            snapshots.mark_range(
                connection,
                rest[0].date,
                rest[-1].date,
                reason=f"Taking the snapshots of {left[0].date} to {left[-1].date} did not reach this one.",
            )
        before = rest[0].date if rest else None
        saved, changed = self._with_returns(connection, taken, part[0].date, before)
        snapshots.save_snapshots(connection, saved)
        snapshots.set_returns(connection, changed)
        snapshots.mark_unvalued(
            connection,
            [one.portfolio.id for one in unvalued],
            [one.session.date for one in unvalued],
            reason="A symbol it holds has no close any more; it could not be taken again.",
        )
        self.taken += len(saved)
        self.valued.update(one.portfolio.id for one in held)

    def _is_unvalued(self, held: _Held, closes: Closes, why: Sequence[str]) -> bool:
        """Whether a close is missing; noted by portfolio and symbol."""
        day = held.session.date
        symbols = [p.symbol for p in held.positions if (p.symbol, day) not in closes.found]
        for symbol in symbols:
            self.unvalued[held.portfolio.name, symbol].append(day)
            self.reasons.setdefault((held.portfolio.name, symbol), (closes, why))
        return bool(symbols)

    def _with_returns(
        self, connection: Connection, taken: Sequence[Snapshot], first: date, before: date | None
    ) -> tuple[list[Snapshot], list[snapshots.Stored]]:
        """The snapshots with their returns, and those that were there whose returns are others now."""
        read = self.ledger
        assert read is not None
        previous = snapshots.previous_snapshots(connection, first)
        stored = snapshots.stored_between(connection, first, before)
        mine: defaultdict[int, list[Snapshot]] = defaultdict(list)
        for snapshot in taken:
            mine[snapshot.portfolio_id].append(snapshot)
        saved: list[Snapshot] = []
        changed: list[snapshots.Stored] = []
        for portfolio_id, of_portfolio in mine.items():
            history = read.cash[portfolio_id]
            assert history.opened_at is not None
            found = chained(
                of_portfolio,
                stored.get(portfolio_id, ()),
                PortfolioFlows(history.flows, history.opened_at),
                self.calendar,
                previous=previous.get(portfolio_id),
            )
            saved += found[0]
            changed += found[1]
        return saved, changed

    def _report(self) -> SnapshotReport:
        report = SnapshotReport()
        report.add({"portfolios": len(self.valued), "snapshots": self.taken})
        for (portfolio, symbol), days in self.unvalued.items():
            closes, why = self.reasons[portfolio, symbol]
            error = MarketDataUnavailableError(closes.sentence(symbol, days, why))
            report.fail(f"portfolio {portfolio}", error)
            report.unvalued.update(days)
        return report


def _snapshot(held: _Held, closes: Closes) -> Snapshot:
    """The value, without the returns, which hang on the other sessions."""
    day = held.session.date
    lines = [_line(position, closes.found[position.symbol, day]) for position in held.positions]
    positions_value = sum((line.value for line in lines), ZERO)
    return Snapshot(
        portfolio_id=held.portfolio.id,
        session=day,
        cash=held.cash,
        positions_value=positions_value,
        total_value=held.cash + positions_value,
        gross_value=sum((abs(line.value) for line in lines), ZERO),
        net_deposits=ZERO,
        daily_return=None,
        total_return=None,
        valued_at=held.session.closes_at,
        positions=lines,
    )


def _line(position: Position, close: SessionClose) -> SnapshotPosition:
    return SnapshotPosition(
        symbol=position.symbol,
        quantity=position.quantity,
        average_cost=position.average_cost,
        close=close.price,
        value=position.market_value(close.price),
        close_session=close.of,
        close_age=close.age,
    )
