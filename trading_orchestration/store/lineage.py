"""Whence the numbers of a snapshot come: ledger entries, trades, decisions, signals, bars."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from trading_orchestration.domain.position import Adjustment
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store.database import run
from trading_orchestration.store.ledger import ledger_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """A snapshot; `previous_total` is of the one before it, None for the first."""

    session: date
    cash: Decimal
    positions_value: Decimal
    total_value: Decimal
    net_deposits: Decimal
    daily_return: Decimal | None
    total_return: Decimal | None
    valued_at: datetime
    written_at: datetime
    exposure: Decimal | None
    position_count: int
    stale_since: datetime | None
    stale_reason: str | None
    previous_total: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingRow:
    """A holding of a snapshot; `bar_…` is the bar its close is from, as it is now, or None.

    `close_session` is that bar's session, `close_age` how many sessions before the snapshot's.
    """

    symbol: str
    quantity: Decimal
    average_cost: Decimal
    close: Decimal
    value: Decimal
    close_session: date
    close_age: int
    bar_timeframe: str | None
    bar_close: Decimal | None
    bar_source: str | None
    bar_imported_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """A fill or an adjustment; `cash_amount` is what it does to cash, `entry` what it does to a position.

    `entry` is None for an adjustment of cash alone; `trade_id` is None for any adjustment.
    """

    kind: str
    id: int
    trade_id: int | None
    symbol: str | None
    at: datetime
    cash_amount: Decimal
    cause: str | None
    note: str | None
    actor: str | None
    entry: Fill | Adjustment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovementRow:
    """Money in (positive) or out."""

    id: int
    kind: str
    amount: Decimal
    reference: str
    note: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """A trade with its decision, the kept signal of its symbol, and the newest bar that was complete then."""

    id: int
    symbol: str
    side: str
    order_type: str
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    status: str
    status_reason: str | None
    filled_quantity: Decimal
    reason: str
    client_order_id: str
    broker_order_id: str | None
    decided_at: datetime
    submitted_at: datetime | None
    finalized_at: datetime | None
    decision_id: int
    tick: datetime
    session: date
    equity: Decimal
    cash: Decimal
    strategy: str | None
    signal: Mapping[str, Any] | None
    bar_timeframe: str | None
    bar_ends_at: datetime | None
    bar_close: Decimal | None
    bar_close_now: Decimal | None


def read_snapshot(connection: Connection, portfolio_id: int, session: date) -> SnapshotRow | None:
    """The snapshot of a session; None where there is none."""
    row = (
        run(connection, "snapshot_to_explain", portfolio_id=portfolio_id, session=session).mappings().first()
    )
    return None if row is None else SnapshotRow(**row)


def read_holdings(connection: Connection, portfolio_id: int, session: date) -> list[HoldingRow]:
    """What the snapshot of a session holds, by symbol."""
    rows = run(connection, "holdings_to_explain", portfolio_id=portfolio_id, session=session).mappings()
    return [HoldingRow(**row) for row in rows]


def read_entries(connection: Connection, portfolio_id: int, until: datetime) -> list[EntryRow]:
    """Fills and adjustments up to an instant (inclusive), by symbol in the order in which they count."""
    rows = run(connection, "entries_to_explain", portfolio_id=portfolio_id, until=until).mappings()
    return [_entry(dict(row)) for row in rows]


def read_movements(connection: Connection, portfolio_id: int, until: datetime) -> list[MovementRow]:
    """Cash movements up to an instant (inclusive), in order."""
    rows = run(connection, "movements_to_explain", portfolio_id=portfolio_id, until=until).mappings()
    return [MovementRow(**row) for row in rows]


def read_trades(
    connection: Connection, trade_ids: Collection[int], *, portfolio_id: int, session: date
) -> list[TradeRow]:
    """Some trades, and those that a portfolio decided in a session, by id."""
    rows = run(
        connection,
        "trades_to_explain",
        trade_ids=list(trade_ids),
        portfolio_id=portfolio_id,
        session=session,
    ).mappings()
    return [TradeRow(**row) for row in rows]


def _entry(row: dict[str, Any]) -> EntryRow:
    moves_a_position = row["symbol"] is not None and row["quantity"] != 0
    return EntryRow(
        kind=row["kind"],
        id=row["id"],
        trade_id=row["trade_id"],
        symbol=row["symbol"],
        at=row["at"],
        cash_amount=row["cash_amount"],
        cause=row["cause"],
        note=row["note"],
        actor=row["actor"],
        entry=ledger_entry(row) if moves_a_position else None,
    )
