"""`portfolio_snapshot`: what every portfolio was worth at a session's close.

The value of the ledger as of the close, at the official closes of that session: the same however often and
whenever it is computed. Caches take no part in it. The price source is asked for a close that is missing;
where it has none, the last minute bar of the session stands for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import chain

from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.portfolio import value
from trading_orchestration.domain.position import Position
from trading_orchestration.errors import InvalidInputError, MarketDataUnavailableError
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.snapshot_returns import PortfolioFlows, Value, returns
from trading_orchestration.services.tick import Report
from trading_orchestration.store import ledger, portfolios, prices, snapshots
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger import CashFold
from trading_orchestration.store.portfolios import Portfolio
from trading_orchestration.store.snapshots import LaterSnapshot, PreviousSnapshot, Snapshot, SnapshotPosition


def take_snapshots(
    session: Session, *, begin: Begin, calendar: MarketCalendar, now: datetime, price_data: PriceDataService
) -> Report:
    """Value every portfolio that had money by the session's close; counts portfolios and snapshots.

    A portfolio that cannot be valued, because a symbol it holds has no close, does not stop the others.
    Snapshots that are there of later sessions get their returns anew. Raises InvalidInputError for a session
    that has not closed.
    """
    if now < session.closes_at:
        raise InvalidInputError(
            f"{session.date} closes at {session.closes_at:%Y-%m-%d %H:%M} UTC; it cannot be valued before."
        )
    taken = _take(session, begin=begin, calendar=calendar, why_missing=None)
    if isinstance(taken, Report):
        return taken
    bars, why_missing = price_data.get_session_bars(taken, session)
    if bars:
        with begin() as connection:
            prices.save_bars(connection, bars)
    report = _take(session, begin=begin, calendar=calendar, why_missing=why_missing)
    assert isinstance(report, Report)
    return report


def _take(
    session: Session, *, begin: Begin, calendar: MarketCalendar, why_missing: Sequence[str] | None
) -> Report | list[str]:
    """Take the snapshots; or the symbols without a close, where no source was asked yet (None)."""
    report = Report()
    with begin() as connection:
        portfolios.hold_all_portfolios(connection)
        folded = _Folded.read(connection, session, calendar)
        missing = folded.symbols_without_close()
        if missing and why_missing is None:
            return missing
        folded = folded.with_minutes(connection, missing) if missing else folded
        taken = []
        for portfolio in folded.funded():
            with report.part(f"portfolio {portfolio.name}"):
                taken.append(folded.snapshot(portfolio, why_missing or ()))
        saved, changed = _with_returns(connection, folded, taken)
        snapshots.save_snapshots(connection, saved)
        snapshots.set_returns(connection, changed)
        crashpoint("before_snapshot_commit")
    report.add({"portfolios": len(folded.funded()), "snapshots": len(taken)})
    return report


def _with_returns(
    connection: Connection, folded: "_Folded", taken: Sequence[Snapshot]
) -> tuple[list[Snapshot], list[LaterSnapshot]]:
    """The snapshots with their returns, and the later ones whose returns are others now."""
    previous = snapshots.previous_snapshots(connection, folded.session.date)
    later = snapshots.later_snapshots(connection, folded.session.date)
    until = max((s.valued_at for group in later.values() for s in group), default=folded.session.closes_at)
    flows = ledger.external_flows(connection, until=until)
    saved: list[Snapshot] = []
    changed: list[LaterSnapshot] = []
    for snapshot in taken:
        found = _Chain(snapshot, later.get(snapshot.portfolio_id, ())).returns(
            folded, flows.get(snapshot.portfolio_id, ()), previous.get(snapshot.portfolio_id)
        )
        saved.append(found[0])
        changed += found[1]
    return saved, changed


@dataclass(frozen=True, slots=True)
class _Chain:
    """A snapshot and those after it."""

    snapshot: Snapshot
    later: Sequence[LaterSnapshot]

    def returns(
        self,
        folded: "_Folded",
        flows: Sequence[tuple[datetime, Decimal]],
        previous: PreviousSnapshot | None,
    ) -> tuple[Snapshot, list[LaterSnapshot]]:
        opened_at = folded.cash[self.snapshot.portfolio_id].first_movement_at or self.snapshot.valued_at
        rows: list[Snapshot | LaterSnapshot] = [self.snapshot, *self.later]
        first, *others = returns(
            [Value(row.session, row.valued_at, row.total_value) for row in rows],
            PortfolioFlows(flows, opened_at),
            folded.calendar,
            previous=Value(previous.session, previous.valued_at, previous.total_value) if previous else None,
            previous_return=previous.total_return if previous else None,
        )
        snapshot = replace(
            self.snapshot,
            net_deposits=first.net_deposits,
            daily_return=first.daily,
            total_return=first.total,
        )
        corrected = [
            replace(later, daily_return=found.daily, total_return=found.total)
            for later, found in zip(self.later, others, strict=True)
        ]
        return snapshot, [new for new, old in zip(corrected, self.later, strict=True) if new != old]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folded:
    """The ledger as of a close, and what it is valued with; a constant number of statements."""

    session: Session
    calendar: MarketCalendar
    portfolios: Sequence[Portfolio]
    cash: Mapping[int, CashFold]
    positions: Mapping[int, Sequence[Position]]
    closes: Mapping[str, tuple[Decimal, date]]

    @classmethod
    def read(cls, connection: Connection, session: Session, calendar: MarketCalendar) -> "_Folded":
        positions = ledger.fold_positions(connection, until=session.closes_at)
        symbols = {position.symbol for position in chain.from_iterable(positions.values())}
        return cls(
            session=session,
            calendar=calendar,
            portfolios=portfolios.read_portfolios(connection),
            cash=ledger.fold_cash(connection, until=session.closes_at),
            positions=positions,
            closes=prices.session_closes(connection, symbols, session.date) if symbols else {},
        )

    def symbols_without_close(self) -> list[str]:
        held = {position.symbol for position in chain.from_iterable(self.positions.values())}
        return sorted(s for s in held if self.closes.get(s, (None, None))[1] != self.session.date)

    def with_minutes(self, connection: Connection, missing: Sequence[str]) -> "_Folded":
        """The same with the closes of minute bars where there is no daily one."""
        minutes = prices.last_minute_closes(connection, missing, self.session.date)
        found = {symbol: (close, self.session.date) for symbol, close in minutes.items()}
        return replace(self, closes={**self.closes, **found})

    def funded(self) -> list[Portfolio]:
        """Portfolios that had any money by the close."""
        found = []
        for portfolio in self.portfolios:
            first = self.cash[portfolio.id].first_movement_at
            if first is not None and first <= self.session.closes_at:
                found.append(portfolio)
        return found

    def snapshot(self, portfolio: Portfolio, why_missing: Sequence[str]) -> Snapshot:
        """The value, without the returns, which hang on the other sessions."""
        held = self.positions.get(portfolio.id, ())
        closes = {position.symbol: self._close(position.symbol, why_missing) for position in held}
        cash = self.cash[portfolio.id].cash
        valuation = value(cash, held, closes)
        return Snapshot(
            portfolio_id=portfolio.id,
            session=self.session.date,
            cash=cash,
            positions_value=valuation.positions_value,
            total_value=valuation.total,
            net_deposits=ZERO,
            daily_return=None,
            total_return=None,
            valued_at=self.session.closes_at,
            positions=[_line(position, closes[position.symbol]) for position in held],
        )

    def _close(self, symbol: str, why_missing: Sequence[str]) -> Decimal:
        close, of = self.closes.get(symbol, (None, None))
        if close is not None and of == self.session.date:
            return close
        last = f"; its last one is of {of}" if of else ""
        why = f" ({'; '.join(why_missing)})" if why_missing else ""
        raise MarketDataUnavailableError(f"{symbol} has no close in {self.session.date}{last}{why}.")


def _line(position: Position, close: Decimal) -> SnapshotPosition:
    return SnapshotPosition(
        symbol=position.symbol,
        quantity=position.quantity,
        average_cost=position.average_cost,
        close=close,
        value=position.market_value(close),
    )
