"""The ledger (fills, cash movements, adjustments) and the caches that are folded from it.

Everything that books holds the portfolio's row first (`portfolios.hold_portfolio`), so that a portfolio's
books have one writer.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.portfolio import cash_effect
from trading_orchestration.domain.position import Adjustment, Position, apply_fill, fold
from trading_orchestration.domain.reconciliation import Discrepancy
from trading_orchestration.domain.trade import Fill, Side
from trading_orchestration.store.database import run

#: What changes a position.
Entry = Fill | Adjustment


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFill:
    """An execution to book, with the trade it belongs to."""

    trade_id: int
    portfolio_id: int
    execution_id: str
    fill: Fill
    cumulative_quantity: Decimal
    is_late: bool


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill as it stands in the ledger."""

    id: int
    trade_id: int
    portfolio_id: int
    fill: Fill


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPosition:
    """A cached position with its mark; values in the portfolio's currency."""

    portfolio_id: int
    portfolio: str
    position: Position
    market_price: Decimal | None
    market_value: Decimal | None
    unrealised_pnl: Decimal | None
    marked_at: datetime | None
    last_entry_at: datetime


def booked_executions(connection: Connection, account_id: int, execution_ids: Sequence[str]) -> set[str]:
    """Which of the broker's executions are in the ledger."""
    if not execution_ids:
        return set()
    rows = run(
        connection,
        "booked_executions",
        broker_account_id=account_id,
        execution_ids=list(execution_ids),
    )
    return set(rows.scalars())


def add_fills(connection: Connection, account_id: int, fills: Sequence[NewFill]) -> list[BookedFill]:
    """Book executions; those that are booked already are left out of the answer."""
    rows = run(
        connection,
        "insert_fills",
        broker_account_id=account_id,
        trade_ids=[new.trade_id for new in fills],
        portfolio_ids=[new.portfolio_id for new in fills],
        execution_ids=[new.execution_id for new in fills],
        symbols=[new.fill.symbol for new in fills],
        sides=[new.fill.side.value for new in fills],
        quantities=[new.fill.quantity for new in fills],
        prices=[new.fill.price for new in fills],
        fees=[new.fill.fee for new in fills],
        cumulative_quantities=[new.cumulative_quantity for new in fills],
        executed_ats=[new.fill.executed_at for new in fills],
        are_late=[new.is_late for new in fills],
    ).mappings()
    booked = [
        BookedFill(row["id"], row["trade_id"], row["portfolio_id"], _fill(row, row["executed_at"]))
        for row in rows
    ]
    return sorted(booked, key=lambda b: (b.fill.executed_at, b.id))


def apply_booked_fills(connection: Connection, portfolio_id: int, booked: Sequence[BookedFill]) -> None:
    """Bring the cached positions and cash of a portfolio up to fills that were just booked.

    A fill that is not newer than what a position holds already makes that position be folded anew, because
    average cost depends on the order.
    """
    by_symbol: dict[str, list[BookedFill]] = defaultdict(list)
    for entry in booked:
        by_symbol[entry.fill.symbol].append(entry)
    held = _hold_positions(connection, portfolio_id, sorted(by_symbol))
    late = [s for s, entries in by_symbol.items() if s in held and _is_not_newer(entries[0], held[s])]
    updates = [_applied(held.get(s), entries) for s, entries in by_symbol.items() if s not in late]
    if late:
        updates += _refolded(connection, portfolio_id, late)
    _write_positions(connection, portfolio_id, updates)
    cash = sum((cash_effect(entry.fill) for entry in booked), Decimal(0))
    run(connection, "add_cash", portfolio_id=portfolio_id, amount=cash)


def add_cash_movement(
    connection: Connection,
    *,
    portfolio_id: int,
    kind: str,
    amount: Decimal,
    reference: str,
    occurred_at: datetime,
    note: str | None = None,
) -> bool:
    """Book money in (positive) or out (negative) and move the cached cash; False when booked before."""
    booked = run(
        connection,
        "insert_cash_movement",
        portfolio_id=portfolio_id,
        kind=kind,
        amount=amount,
        reference=reference,
        note=note,
        occurred_at=occurred_at,
    )
    if booked.scalar() is None:
        return False
    run(connection, "add_cash", portfolio_id=portfolio_id, amount=amount)
    return True


def read_positions(
    connection: Connection, portfolio_ids: Collection[int] | None = None
) -> list[HeldPosition]:
    """Cached positions that are not flat, by portfolio and symbol."""
    ids = None if portfolio_ids is None else list(portfolio_ids)
    rows = run(connection, "positions", portfolio_ids=ids).mappings()
    return [
        HeldPosition(
            portfolio_id=row["portfolio_id"],
            portfolio=row["portfolio"],
            position=_position(row),
            market_price=row["market_price"],
            market_value=row["market_value"],
            unrealised_pnl=row["unrealised_pnl"],
            marked_at=row["marked_at"],
            last_entry_at=row["last_entry_at"],
        )
        for row in rows
    ]


def position_entries(
    connection: Connection, *, portfolio_ids: Collection[int] | None = None, until: datetime | None = None
) -> dict[tuple[int, str], list[Entry]]:
    """What the ledger says of each portfolio and symbol, in the order in which it counts."""
    ids = None if portfolio_ids is None else list(portfolio_ids)
    rows = run(connection, "position_entries", portfolio_ids=ids, symbols=None, until=until).mappings()
    return {
        key: [ledger_entry(row) for row in entries]
        for key, entries in groupby(rows, key=lambda r: (r["portfolio_id"], r["symbol"]))
    }


def external_flows(connection: Connection, *, until: datetime) -> dict[int, list[tuple[datetime, Decimal]]]:
    """What was put into each portfolio or taken out of it (negative), and when, up to an instant."""
    flows: dict[int, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for row in run(connection, "external_flows", until=until):
        flows[row.portfolio_id].append((row.occurred_at, row.amount))
    return dict(flows)


def fills_not_among(
    connection: Connection, account_id: int, execution_ids: Collection[str], *, after: datetime
) -> dict[str, Fill]:
    """Fills of an account since an instant (exclusive) whose executions are none of these, by execution."""
    rows = run(
        connection,
        "fills_not_among",
        broker_account_id=account_id,
        execution_ids=sorted(execution_ids),
        after=after,
    ).mappings()
    return {
        row["execution_id"]: Fill(
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            price=row["price"],
            fee=row["fee"],
            executed_at=row["executed_at"],
        )
        for row in rows
    }


def account_holdings(connection: Connection, account_id: int) -> list[RowMapping]:
    """Cached positions of every portfolio of an account, flat ones too."""
    return list(run(connection, "account_holdings", broker_account_id=account_id).mappings())


def account_cash(connection: Connection, account_id: int) -> dict[int, Decimal]:
    """Cached cash by portfolio of an account."""
    rows = run(connection, "account_cash", broker_account_id=account_id).mappings()
    return {row["portfolio_id"]: row["amount"] for row in rows}


def symbols_in_flight(connection: Connection, account_id: int) -> set[str]:
    """Symbols of an account with a trade that is not final."""
    return set(run(connection, "symbols_in_flight", broker_account_id=account_id).scalars())


@dataclass(frozen=True, slots=True)
class Repair:
    """What one portfolio's books change by: units of the discrepancy's symbol at a unit cost, or cash.

    With `keeps_cost` (a split) what was paid for all of the units stays.
    """

    portfolio_id: int
    amount: Decimal
    unit_cost: Decimal | None = None
    keeps_cost: bool = False


def add_adjustments(
    connection: Connection,
    discrepancy_id: int,
    discrepancy: Discrepancy,
    repairs: Sequence[Repair],
    *,
    note: str,
    actor: str,
    at: datetime,
) -> None:
    """Repair the books of some portfolios and bring the caches up to it."""
    symbol, zero = discrepancy.symbol, Decimal(0)
    run(
        connection,
        "insert_adjustments",
        discrepancy_id=discrepancy_id,
        symbol=symbol,
        cause=discrepancy.cause.value,
        note=note,
        actor=actor,
        occurred_at=at,
        portfolio_ids=[repair.portfolio_id for repair in repairs],
        quantities=[zero if symbol is None else repair.amount for repair in repairs],
        cash_amounts=[repair.amount if symbol is None else zero for repair in repairs],
        unit_costs=[repair.unit_cost for repair in repairs],
        keep_costs=[repair.keeps_cost for repair in repairs],
    )
    for portfolio_id in sorted({repair.portfolio_id for repair in repairs}):
        if symbol is None:
            amount = sum((r.amount for r in repairs if r.portfolio_id == portfolio_id), zero)
            move_cash(connection, portfolio_id, amount)
        else:
            refold_positions(connection, portfolio_id, [symbol])


def refold_positions(connection: Connection, portfolio_id: int, symbols: Sequence[str] | None = None) -> None:
    """Bring the cached positions of a portfolio up to what the ledger says of some symbols (None: of all)."""
    _write_positions(connection, portfolio_id, _refolded(connection, portfolio_id, symbols))


def move_cash(connection: Connection, portfolio_id: int, amount: Decimal) -> None:
    """Move the cached cash of a portfolio by an amount that was just booked."""
    run(connection, "add_cash", portfolio_id=portfolio_id, amount=amount)


@dataclass(frozen=True, slots=True)
class _Cached:
    position: Position
    last_fill_id: int | None
    last_entry_at: datetime


def _hold_positions(connection: Connection, portfolio_id: int, symbols: Sequence[str]) -> dict[str, _Cached]:
    rows = run(connection, "hold_positions", portfolio_id=portfolio_id, symbols=list(symbols)).mappings()
    return {row["symbol"]: _Cached(_position(row), row["last_fill_id"], row["last_entry_at"]) for row in rows}


def _is_not_newer(entry: BookedFill, cached: _Cached) -> bool:
    return entry.fill.executed_at <= cached.last_entry_at


def _applied(cached: _Cached | None, entries: Sequence[BookedFill]) -> _Cached:
    position = cached.position if cached else Position(entries[0].fill.symbol)
    for entry in entries:
        position = apply_fill(position, entry.fill)
    return _Cached(position, entries[-1].id, entries[-1].fill.executed_at)


def _refolded(connection: Connection, portfolio_id: int, symbols: Sequence[str] | None) -> list[_Cached]:
    rows = run(
        connection,
        "position_entries",
        portfolio_ids=[portfolio_id],
        symbols=None if symbols is None else list(symbols),
        until=None,
    ).mappings()
    folded = []
    for symbol, group in groupby(rows, key=lambda row: row["symbol"]):
        entries = list(group)
        fill_ids = [row["fill_id"] for row in entries if row["fill_id"] is not None]
        folded.append(
            _Cached(
                fold(symbol, [ledger_entry(row) for row in entries]),
                fill_ids[-1] if fill_ids else None,
                entries[-1]["at"],
            )
        )
    return folded


def _write_positions(connection: Connection, portfolio_id: int, cached: Iterable[_Cached]) -> None:
    rows = list(cached)
    run(
        connection,
        "upsert_positions",
        portfolio_id=portfolio_id,
        symbols=[row.position.symbol for row in rows],
        quantities=[row.position.quantity for row in rows],
        average_costs=[row.position.average_cost for row in rows],
        realised_pnls=[row.position.realised_pnl for row in rows],
        last_fill_ids=[row.last_fill_id for row in rows],
        last_entry_ats=[row.last_entry_at for row in rows],
    )


def ledger_entry(row: Any) -> Fill | Adjustment:
    """A row of the query `position_entries` as what it books."""
    if row["kind"] == "adjustment":
        return Adjustment(
            symbol=row["symbol"],
            quantity=row["quantity"],
            unit_cost=row["price"],
            occurred_at=row["at"],
            keeps_cost=row["keeps_cost"],
        )
    return _fill(row, row["at"])


def _fill(row: Any, executed_at: datetime) -> Fill:
    return Fill(
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        price=row["price"],
        fee=row["fee"],
        executed_at=executed_at,
    )


def _position(row: RowMapping) -> Position:
    return Position(row["symbol"], row["quantity"], row["average_cost"], row["realised_pnl"])
