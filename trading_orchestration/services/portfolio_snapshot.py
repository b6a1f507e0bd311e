"""`portfolio_snapshot`: what every portfolio was worth at a session's close.

The value of the ledger as of the close, at the official closes of that session: the same however often and
whenever it is computed. Caches take no part in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.portfolio import chained_return, daily_return, value
from trading_orchestration.domain.position import Position
from trading_orchestration.errors import InvalidInputError, MarketDataUnavailableError
from trading_orchestration.services.tick import Report
from trading_orchestration.store import ledger, portfolios, prices, snapshots
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger import CashFold
from trading_orchestration.store.portfolios import Portfolio
from trading_orchestration.store.snapshots import PreviousSnapshot, Snapshot, SnapshotPosition


def take_snapshots(session: Session, *, begin: Begin, calendar: MarketCalendar, now: datetime) -> Report:
    """Value every portfolio that had money by the session's close; counts portfolios and snapshots.

    A portfolio that cannot be valued (no close of a held symbol) does not stop the others. Raises
    InvalidInputError for a session that has not closed.
    """
    if now < session.closes_at:
        raise InvalidInputError(
            f"{session.date} closes at {session.closes_at:%Y-%m-%d %H:%M} UTC; it cannot be valued before."
        )
    report = Report()
    with begin() as connection:
        folded = _Folded.read(connection, session, calendar)
        taken = []
        for portfolio in folded.funded():
            try:
                taken.append(folded.snapshot(portfolio))
            except MarketDataUnavailableError as error:
                report.fail(f"portfolio {portfolio.name}", error)
        snapshots.save_snapshots(connection, taken)
    report.add({"portfolios": len(folded.funded()), "snapshots": len(taken)})
    return report


@dataclass(frozen=True, slots=True)
class _Folded:
    """The ledger as of a close, and what it is valued with; six statements for all portfolios."""

    session: Session
    previous_close: datetime
    portfolios: Sequence[Portfolio]
    cash: Mapping[int, CashFold]
    positions: Mapping[int, Sequence[Position]]
    closes: Mapping[str, tuple[Decimal, date]]
    previous: Mapping[int, PreviousSnapshot]

    @classmethod
    def read(cls, connection: Connection, session: Session, calendar: MarketCalendar) -> "_Folded":
        positions = ledger.fold_positions(connection, until=session.closes_at)
        symbols = {position.symbol for held in positions.values() for position in held}
        since = calendar.previous(session.date).closes_at
        return cls(
            session=session,
            previous_close=since,
            portfolios=portfolios.read_portfolios(connection),
            cash=ledger.fold_cash(connection, until=session.closes_at, since=since),
            positions=positions,
            closes=prices.session_closes(connection, symbols, session.date),
            previous=snapshots.previous_snapshots(connection, session.date),
        )

    def funded(self) -> list[Portfolio]:
        """Portfolios that had any money by the close."""
        found = []
        for portfolio in self.portfolios:
            first = self.cash[portfolio.id].first_movement_at
            if first is not None and first <= self.session.closes_at:
                found.append(portfolio)
        return found

    def snapshot(self, portfolio: Portfolio) -> Snapshot:
        held = self.positions.get(portfolio.id, ())
        closes = {position.symbol: self._close(position.symbol) for position in held}
        cash = self.cash[portfolio.id]
        valuation = value(cash.cash, held, closes)
        previous = self.previous.get(portfolio.id)
        daily = daily_return(valuation.total, self._earlier_total(portfolio.id), cash.net_deposits)
        return Snapshot(
            portfolio_id=portfolio.id,
            session=self.session.date,
            cash=cash.cash,
            positions_value=valuation.positions_value,
            total_value=valuation.total,
            net_deposits=cash.net_deposits,
            daily_return=daily,
            total_return=chained_return(previous.total_return if previous else None, daily),
            valued_at=self.session.closes_at,
            positions=[_line(position, closes[position.symbol]) for position in held],
        )

    def _earlier_total(self, portfolio_id: int) -> Decimal | None:
        """What the session's return is measured from: 0 for a portfolio that was opened in it."""
        previous = self.previous.get(portfolio_id)
        if previous is not None:
            return previous.total_value
        first = self.cash[portfolio_id].first_movement_at
        return Decimal(0) if first is not None and first > self.previous_close else None

    def _close(self, symbol: str) -> Decimal:
        close, of = self.closes.get(symbol, (None, None))
        if close is None:
            raise MarketDataUnavailableError(f"{symbol} has no close in {self.session.date} or before.")
        if of != self.session.date:
            raise MarketDataUnavailableError(
                f"{symbol} has no close in {self.session.date}; its last one is of {of}."
            )
        return close


def _line(position: Position, close: Decimal) -> SnapshotPosition:
    return SnapshotPosition(
        symbol=position.symbol,
        quantity=position.quantity,
        average_cost=position.average_cost,
        close=close,
        value=position.market_value(close),
    )
