"""A portfolio's figures over a period, worked out from its snapshots and its ledger. Nothing is read here."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

from trading_orchestration.domain import performance as metrics
from trading_orchestration.domain.corporate_action import CorporateAction, session_return
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.performance import Drawdown
from trading_orchestration.domain.position import Adjustment
from trading_orchestration.domain.round_trip import (
    Owner,
    RoundTrip,
    Share,
    SymbolBook,
    average_trade,
    keep_book,
    profit_factor,
    win_rate,
)
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store.performance import Holding, OwnedEntry, SessionValue
from trading_orchestration.store.portfolios import Portfolio

#: A list of dates in a note is cut after so many.
_DATES_MAX = 5
#: No exchange has fewer sessions in a year.
_YEAR_MIN = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFigures:
    """Round trips that ended in the period, and P&L after fees in the portfolio's currency.

    `realised_pnl` is of every fill in the period, also of trips that are still open; `unrealised_pnl` is
    Σ quantity × (close − average cost) at its end, None where its snapshot is not what the ledger says.
    `turnover` is how often a year the portfolio was exchanged.
    """

    round_trips: int
    open_round_trips: int
    win_rate: float | None
    profit_factor: float | None
    average_trade: Decimal | None
    realised_pnl: Decimal
    unrealised_pnl: Decimal | None
    turnover: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Beside a benchmark: its own return over the period, alpha a year, beta, and how many sessions they rest
    on."""

    symbol: str
    total_return: float | None
    alpha: float | None
    beta: float | None
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A portfolio over a period. Returns and risks are fractions; None is not defined. `notes` say what is
    missing.

    `start_value` is of the snapshot before the period, 0 where there is none; `net_deposits` came in since.
    """

    portfolio: str
    currency: str
    first_session: date
    last_session: date
    sessions: int
    start_value: Decimal
    end_value: Decimal
    net_deposits: Decimal
    total_return: float | None
    annualised_return: float | None
    volatility: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    max_drawdown: Drawdown | None
    value_at_risk_95: float | None
    value_at_risk_99: float | None
    conditional_value_at_risk_95: float | None
    conditional_value_at_risk_99: float | None
    exposure: float | None
    trades: TradeFigures
    benchmark: Beside | None
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class StrategyAttribution:
    """What one strategy earned; `strategy` None is what no strategy owned (see `domain/round_trip.py`)."""

    strategy: Owner
    trades: TradeFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A portfolio's performance with what it was measured on, for tables, pictures and reports.

    `paid_in` is, for each of `values`, the value at the start and what was paid in since, less withdrawals.
    `gaps` are sessions without a snapshot, and those after them: they have no return of their own.
    """

    performance: Performance
    strategies: Sequence[StrategyAttribution]
    values: Sequence[SessionValue]
    paid_in: Sequence[Decimal]
    gaps: Sequence[date]
    trips: Sequence[RoundTrip]
    fills: Sequence[Fill]
    holdings: Sequence[Holding]

    @property
    def returns(self) -> tuple[list[date], list[float]]:
        """The sessions that have a return, and their returns."""
        known = [(v.session, float(v.daily_return)) for v in self.values if v.daily_return is not None]
        return [session for session, _ in known], [r for _, r in known]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A symbol to compare with: its official closes from the session before the period on, and its corporate
    actions by session.
    """

    symbol: str
    closes: Mapping[date, Decimal]
    actions: Mapping[date, Sequence[CorporateAction]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One portfolio's rows, and what is worked out from them."""

    portfolio: Portfolio
    calendar: MarketCalendar
    values: Sequence[SessionValue]
    entries: Mapping[str, Sequence[OwnedEntry]]
    holdings: Sequence[Holding]
    flows: Sequence[tuple[datetime, Decimal]]
    strategies: Sequence[str]
    benchmark: Benchmark | None
    notes: list[str] = field(default_factory=list)

    def review(self) -> Review:
        known = [(v.session, float(v.daily_return)) for v in self.values if v.daily_return is not None]
        sessions, returns = [session for session, _ in known], [r for _, r in known]
        missing = self._missing_sessions()
        self._note(returns, missing)
        figures = self._figures(self._whole, None, is_complete=not missing)
        return Review(
            performance=self._performance(sessions, returns, figures, is_complete=not missing),
            strategies=self._attribution(is_complete=not missing),
            values=self.values,
            paid_in=self._paid_in(),
            gaps=self._gaps(missing),
            trips=self._trips(self._whole),
            fills=self._fills(),
            holdings=self.holdings,
        )

    def _performance(
        self, sessions: list[date], returns: list[float], figures: TradeFigures, *, is_complete: bool
    ) -> Performance:
        # A return over two sessions is no session's return: what counts sessions is then not known.
        daily = returns if is_complete else []
        return Performance(
            portfolio=self.portfolio.name,
            currency=self.portfolio.currency,
            first_session=self.values[0].session,
            last_session=self.values[-1].session,
            sessions=len(self.values),
            start_value=self.values[0].previous_total or ZERO,
            end_value=self.values[-1].total_value,
            net_deposits=self._paid_in()[-1] - (self.values[0].previous_total or ZERO),
            total_return=self._total_return(returns),
            annualised_return=metrics.annualised_return(daily),
            volatility=metrics.volatility(daily),
            sharpe_ratio=metrics.sharpe_ratio(daily),
            sortino_ratio=metrics.sortino_ratio(daily),
            calmar_ratio=metrics.calmar_ratio(daily),
            max_drawdown=metrics.max_drawdown(sessions, returns) if is_complete else None,
            value_at_risk_95=metrics.value_at_risk(daily, level=95),
            value_at_risk_99=metrics.value_at_risk(daily, level=99),
            conditional_value_at_risk_95=metrics.conditional_value_at_risk(daily, level=95),
            conditional_value_at_risk_99=metrics.conditional_value_at_risk(daily, level=99),
            exposure=metrics.exposure([float(v.gross_value) for v in self.values], self._totals()),
            trades=figures,
            benchmark=self._beside(dict(zip(sessions, returns, strict=True)), is_complete=is_complete),
            notes=self.notes,
        )

    def _attribution(self, *, is_complete: bool) -> list[StrategyAttribution]:
        books = self._books
        owners: list[Owner] = [*self.strategies]
        if any(share.owner is None for book in books for share in book.shares):
            owners.append(None)
        return [
            StrategyAttribution(owner, self._figures(books, owner, is_complete=is_complete))
            for owner in owners
        ]

    @cached_property
    def _books(self) -> list[SymbolBook]:
        """The book of each symbol, by strategies."""
        return [keep_book(symbol, entries) for symbol, entries in self._until_the_end.items()]

    @cached_property
    def _whole(self) -> list[SymbolBook]:
        """The book of each symbol, all of it the portfolio's."""
        return [
            keep_book(symbol, [(entry, None) for entry, _ in entries])
            for symbol, entries in self._until_the_end.items()
        ]

    @cached_property
    def _until_the_end(self) -> dict[str, list[OwnedEntry]]:
        until = self.calendar.session(self.values[-1].session).closes_at
        return {
            symbol: [(entry, owner) for entry, owner in entries if _at(entry) <= until]
            for symbol, entries in self.entries.items()
        }

    def _figures(self, books: Sequence[SymbolBook], owner: Owner, *, is_complete: bool) -> TradeFigures:
        trips = [trip for trip in self._trips(books) if trip.owner == owner]
        shares = [share for book in books for share in self._shares(book) if share.owner == owner]
        pnls = [trip.pnl for trip in trips if trip.closed_at is not None]
        traded = float(sum((share.traded for share in shares), ZERO))
        return TradeFigures(
            round_trips=len(pnls),
            open_round_trips=len(trips) - len(pnls),
            win_rate=win_rate(pnls),
            profit_factor=profit_factor(pnls),
            average_trade=average_trade(pnls),
            realised_pnl=sum((share.pnl for share in shares), ZERO),
            unrealised_pnl=self._unrealised(books, owner),
            turnover=metrics.turnover(traded, self._totals()) if is_complete else None,
        )

    def _unrealised(self, books: Sequence[SymbolBook], owner: Owner) -> Decimal | None:
        if self._strays:
            return None
        closes = {holding.symbol: holding.close for holding in self.holdings}
        held = [book for book in books if not book.position.is_flat]
        return sum((book.unrealised(closes[book.position.symbol]).get(owner, ZERO) for book in held), ZERO)

    @cached_property
    def _strays(self) -> list[str]:
        """Symbols of which the last snapshot does not hold what the ledger says."""
        folded = {book.position.symbol: book.position.quantity for book in self._whole}
        snapshot = {holding.symbol: holding.quantity for holding in self.holdings}
        return [s for s in sorted({*folded, *snapshot}) if folded.get(s, ZERO) != snapshot.get(s, ZERO)]

    def _beside(self, returns: Mapping[date, float], *, is_complete: bool) -> Beside | None:
        if self.benchmark is None:
            return None
        theirs, gaps = self._benchmark_returns()
        pairs = [(returns[session], r) for session, r in theirs.items() if session in returns]
        compared = metrics.compare(pairs if is_complete else [])
        if gaps:
            self.notes.append(
                f"{self.benchmark.symbol} has no close in {_dates(gaps)}; alpha and beta rest on the "
                f"{compared.sessions} sessions that have one, as the session before them does."
            )
        return Beside(
            symbol=self.benchmark.symbol,
            total_return=None if gaps else metrics.total_return(list(theirs.values())),
            alpha=compared.alpha,
            beta=compared.beta,
            sessions=compared.sessions,
        )

    def _benchmark_returns(self) -> tuple[dict[date, float], list[date]]:
        """The benchmark's return of each session of the period, and the sessions without a close."""
        assert self.benchmark is not None
        closes = self.benchmark.closes
        first = self.calendar.previous(self.values[0].session).date
        days = [s.date for s in self.calendar.sessions_between(first, self.values[-1].session)]
        returns = {
            day: session_return(closes[day], closes[before], self.benchmark.actions.get(day, ()))
            for before, day in pairwise(days)
            if before in closes and day in closes
        }
        return returns, [day for day in days if day not in closes]

    def _total_return(self, returns: Sequence[float]) -> float | None:
        """From the returns since the start, which go on over a session that has no snapshot."""
        before, after = self.values[0].previous_return or ZERO, self.values[-1].total_return
        if after is None or before <= -1 or any(r < -1 for r in returns):
            return None
        return float((1 + after) / (1 + before) - 1)

    def _paid_in(self) -> list[Decimal]:
        found, amount, flows = [], self.values[0].previous_total or ZERO, deque(self.flows)
        for value in self.values:
            until = self.calendar.session(value.session).closes_at
            while flows and flows[0][0] <= until:
                at, flow = flows.popleft()
                amount += flow if at > self._start else ZERO
            found.append(amount)
        return found

    def _gaps(self, missing: Sequence[date]) -> list[date]:
        after = {next(v.session for v in self.values if v.session > day) for day in missing}
        return sorted({*missing, *after})

    def _missing_sessions(self) -> list[date]:
        days = {value.session for value in self.values}
        expected = self.calendar.sessions_between(self.values[0].session, self.values[-1].session)
        return [session.date for session in expected if session.date not in days]

    def _note(self, returns: Sequence[float], missing: Sequence[date]) -> None:
        if missing:
            self.notes.append(
                f"There is no snapshot of {_dates(missing)}; what needs every session's return is left out. "
                "Materialise portfolio_snapshots for them."
            )
        if len(returns) < _YEAR_MIN and not missing:
            self.notes.append(
                f"{len(returns)} sessions are less than a year; annualised figures say what a year of the "
                "same would be."
            )
        if self._strays:
            self.notes.append(
                f"The snapshot of {self.values[-1].session} does not hold what the ledger says of "
                f"{', '.join(self._strays)}; materialise portfolio_snapshots for it again."
            )
        self._note_sessions(
            [v.session for v in self.values if v.is_stale],
            "The snapshots of {} are stale: the ledger or a close changed since they were taken.",
        )
        self._note_sessions(
            [v.session for v in self.values if v.old_closes],
            "Some holdings are valued at closes of earlier sessions in {}.",
        )
        self._note_sessions(
            [v.session for v in self.values if v.cash < 0], "Cash was below 0 at the closes of {}."
        )
        if any(r < -1 for r in returns):
            self.notes.append(
                "More than everything was lost in a session; returns cannot be chained over it."
            )

    def _note_sessions(self, days: Sequence[date], sentence: str) -> None:
        if days:
            self.notes.append(sentence.format(_dates(days)))

    def _shares(self, book: SymbolBook) -> list[Share]:
        return [share for share in book.shares if share.at > self._start]

    def _trips(self, books: Sequence[SymbolBook]) -> list[RoundTrip]:
        """Trips that ended in the period or go on, by the instant they began."""
        start = self._start
        found = [t for book in books for t in book.trips if t.closed_at is None or t.closed_at > start]
        return sorted(found, key=lambda trip: (trip.opened_at, trip.symbol))

    def _fills(self) -> list[Fill]:
        entries = [entry for of_symbol in self._until_the_end.values() for entry, _ in of_symbol]
        fills = [entry for entry in entries if isinstance(entry, Fill) and entry.executed_at > self._start]
        return sorted(fills, key=lambda fill: (fill.executed_at, fill.symbol))

    @cached_property
    def _start(self) -> datetime:
        """When the snapshot before the period was taken: what happened after it counts."""
        before = self.values[0].previous_session
        return self.calendar.session(before).closes_at if before else datetime.min.replace(tzinfo=UTC)

    def _totals(self) -> list[float]:
        return [float(value.total_value) for value in self.values]


def _at(entry: Fill | Adjustment) -> datetime:
    return entry.executed_at if isinstance(entry, Fill) else entry.occurred_at


def _dates(days: Sequence[date]) -> str:
    named = ", ".join(day.isoformat() for day in days[:_DATES_MAX])
    return named if len(days) <= _DATES_MAX else f"{named} and {len(days) - _DATES_MAX} more sessions"
