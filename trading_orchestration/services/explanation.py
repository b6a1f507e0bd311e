"""`trading explain`: from a portfolio's total at a close down to what made it.

Total → cash and positions → ledger entries → trades → decisions → the signals, quotes and bars they saw. The
ledger is folded anew on the way; where it no longer gives what the snapshot says, that is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import ZERO, plain
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, apply_fill
from trading_orchestration.domain.trade import Fill
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import lineage, portfolios
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.lineage import EntryRow, HoldingRow, MovementRow, SnapshotRow, TradeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A ledger entry and the position after it; `trade` is what the fill belongs to."""

    kind: str
    id: int
    at: datetime
    quantity: Decimal
    price: Decimal | None
    fee: Decimal
    cash_amount: Decimal
    cause: str | None
    note: str | None
    holds: Decimal
    average_cost: Decimal
    trade: TradeRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedPosition:
    """A holding with the entries since it was last flat, which make its quantity and average cost."""

    holding: HoldingRow
    unrealised_pnl: Decimal
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class CashOfSymbol:
    """What all fills and adjustments of a symbol did to cash, fees included; None is cash alone."""

    symbol: str | None
    entries: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A snapshot and whence it comes; `differences` say where the ledger or a bar says something else now.

    Cash is Σ movements + Σ `cash_of_symbols`. `trades_of_session` are those decided or filled in it.
    """

    portfolio: str
    currency: str
    snapshot: SnapshotRow
    positions: Sequence[ExplainedPosition]
    movements: Sequence[MovementRow]
    cash_of_symbols: Sequence[CashOfSymbol]
    trades_of_session: Sequence[TradeRow]
    differences: Sequence[str]


def explain(name: str, day: date, *, begin: Begin, calendar: MarketCalendar) -> Explanation:
    """Explain a portfolio's snapshot: six statements, however long its history is.

    Raises InvalidInputError for an unknown portfolio, a date that is no session, and one without a snapshot.
    """
    session = calendar.session(day)
    with begin() as connection:
        portfolio = portfolios.find_portfolio(connection, name)
        snapshot = lineage.read_snapshot(connection, portfolio.id, day)
        if snapshot is None:
            raise InvalidInputError(
                f"{name} has no snapshot of {day}; materialise portfolio_snapshots for that session."
            )
        since = calendar.previous(day).closes_at
        holdings = lineage.read_holdings(connection, portfolio.id, day)
        entries = lineage.read_entries(connection, portfolio.id, session.closes_at)
        movements = lineage.read_movements(connection, portfolio.id, session.closes_at)
        of_symbols = _by_symbol(entries)
        current = {h.symbol: _since_flat(h.symbol, of_symbols.get(h.symbol, [])) for h in holdings}
        of_session = {e.trade_id for e in entries if e.trade_id is not None and e.at > since}
        wanted = of_session | {e.trade_id for steps in current.values() for e, _ in steps if e.trade_id}
        trades = lineage.read_trades(connection, wanted, portfolio_id=portfolio.id, session=day)
    by_id = {trade.id: trade for trade in trades}
    return Explanation(
        portfolio=name,
        currency=portfolio.currency,
        snapshot=snapshot,
        positions=[_position(holding, current[holding.symbol], by_id) for holding in holdings],
        movements=movements,
        cash_of_symbols=[
            CashOfSymbol(symbol, len(of), sum((e.cash_amount for e in of), ZERO))
            for symbol, of in of_symbols.items()
        ],
        trades_of_session=[t for t in trades if t.id in of_session or t.session == day],
        differences=_differences(snapshot, holdings, of_symbols, movements),
    )


def _by_symbol(entries: Iterable[EntryRow]) -> dict[str | None, list[EntryRow]]:
    found: dict[str | None, list[EntryRow]] = defaultdict(list)
    for entry in entries:
        found[entry.symbol].append(entry)
    return dict(found)


def _folded(symbol: str, entries: Iterable[EntryRow]) -> list[tuple[EntryRow, Position]]:
    """Each entry that moves the position, with the position after it."""
    position, steps = Position(symbol), []
    for row in entries:
        if isinstance(row.entry, Fill):
            position = apply_fill(position, row.entry)
        elif isinstance(row.entry, Adjustment):
            position = apply_adjustment(position, row.entry)
        else:
            continue
        steps.append((row, position))
    return steps


def _since_flat(symbol: str, entries: Iterable[EntryRow]) -> list[tuple[EntryRow, Position]]:
    steps = _folded(symbol, entries)
    flat = [number for number, (_, position) in enumerate(steps) if position.is_flat]
    return steps[flat[-1] + 1 :] if flat else steps


def _position(
    holding: HoldingRow, steps: Iterable[tuple[EntryRow, Position]], trades: Mapping[int, TradeRow]
) -> ExplainedPosition:
    held = Position(holding.symbol, holding.quantity, holding.average_cost)
    return ExplainedPosition(
        holding=holding,
        unrealised_pnl=held.unrealised_pnl(holding.close),
        steps=[_step(row, position, trades) for row, position in steps],
    )


def _step(row: EntryRow, position: Position, trades: Mapping[int, TradeRow]) -> Step:
    entry = row.entry
    is_fill = isinstance(entry, Fill)
    return Step(
        kind=row.kind,
        id=row.id,
        at=row.at,
        quantity=_signed(entry),
        price=entry.price if isinstance(entry, Fill) else entry.unit_cost if entry else None,
        fee=entry.fee if isinstance(entry, Fill) else ZERO,
        cash_amount=row.cash_amount,
        cause=row.cause,
        note=row.note,
        holds=position.quantity,
        average_cost=position.average_cost,
        trade=trades[row.trade_id] if is_fill and row.trade_id else None,
    )


def _signed(entry: Fill | Adjustment | None) -> Decimal:
    if isinstance(entry, Fill):
        return entry.side.sign * entry.quantity
    return entry.quantity if entry else ZERO


def _differences(
    snapshot: SnapshotRow,
    holdings: Sequence[HoldingRow],
    of_symbols: Mapping[str | None, Sequence[EntryRow]],
    movements: Sequence[MovementRow],
) -> list[str]:
    """Where the ledger and the bars, as they are now, would make another snapshot."""
    found = [] if snapshot.stale_reason is None else [f"It is stale. {snapshot.stale_reason}"]
    entries = [entry for of in of_symbols.values() for entry in of]
    cash = sum((m.amount for m in movements), ZERO) + sum((e.cash_amount for e in entries), ZERO)
    if cash != snapshot.cash:
        found.append(f"The snapshot has {plain(snapshot.cash)} in cash, the ledger {plain(cash)}.")
    held = {holding.symbol: holding.quantity for holding in holdings}
    for symbol in sorted({*held, *(s for s in of_symbols if s is not None)}):
        steps = _folded(symbol, of_symbols.get(symbol, []))
        quantity = steps[-1][1].quantity if steps else ZERO
        if quantity != held.get(symbol, ZERO):
            found.append(
                f"The snapshot holds {plain(held.get(symbol, ZERO))} {symbol}, the ledger {plain(quantity)}."
            )
    for holding in holdings:
        if holding.bar_close is None:
            found.append(f"{holding.symbol} has no bar of {holding.close_session}.")
        elif holding.bar_close != holding.close:
            found.append(
                f"The snapshot values {holding.symbol} at {plain(holding.close)}, its bar now closes at "
                f"{plain(holding.bar_close)}."
            )
    return found
