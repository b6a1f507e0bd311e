"""Portfolio snapshots: one row a portfolio and session, with its positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.store.database import run

#: A row for people, by column name.
Row = RowMapping


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPosition:
    """One holding in a snapshot; `value` is quantity × close, rounded to 9 places."""

    symbol: str
    quantity: Decimal
    average_cost: Decimal
    close: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A portfolio at a session's close. Returns are fractions, time-weighted; None where undefined."""

    portfolio_id: int
    session: date
    cash: Decimal
    positions_value: Decimal
    total_value: Decimal
    net_deposits: Decimal
    daily_return: Decimal | None
    total_return: Decimal | None
    valued_at: datetime
    positions: Sequence[SnapshotPosition]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousSnapshot:
    """What the next snapshot's returns are measured from."""

    portfolio_id: int
    session: date
    valued_at: datetime
    total_value: Decimal
    total_return: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterSnapshot:
    """A snapshot whose returns hang on those before it."""

    portfolio_id: int
    session: date
    valued_at: datetime
    total_value: Decimal
    daily_return: Decimal | None
    total_return: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A snapshot's total, the returns since the start (its own and the best), and what moved after it."""

    total_value: Decimal
    total_return: Decimal | None
    best_return: Decimal | None
    flows: Decimal


def previous_snapshots(connection: Connection, session: date) -> dict[int, PreviousSnapshot]:
    """The last snapshot of each portfolio before a session."""
    rows = run(connection, "previous_snapshots", session=session).mappings()
    return {row["portfolio_id"]: PreviousSnapshot(**row) for row in rows}


def later_snapshots(connection: Connection, session: date) -> dict[int, list[LaterSnapshot]]:
    """Every snapshot after a session, by portfolio, oldest first."""
    found: dict[int, list[LaterSnapshot]] = {}
    for row in run(connection, "later_snapshots", session=session).mappings():
        found.setdefault(row["portfolio_id"], []).append(LaterSnapshot(**row))
    return found


def standing_before(connection: Connection, portfolio_id: int, session: date) -> Standing | None:
    """How a portfolio stood at its last snapshot before a session; None where there is none."""
    found = run(connection, "standing_before", portfolio_id=portfolio_id, session=session)
    row = found.mappings().one_or_none()
    return Standing(**row) if row else None


def set_returns(connection: Connection, changed: Sequence[LaterSnapshot]) -> None:
    """Correct the returns of snapshots that are there."""
    if changed:
        run(
            connection,
            "set_returns",
            portfolio_ids=[s.portfolio_id for s in changed],
            sessions=[s.session for s in changed],
            daily_returns=[s.daily_return for s in changed],
            total_returns=[s.total_return for s in changed],
        )


def save_snapshots(connection: Connection, snapshots: Sequence[Snapshot]) -> None:
    """Write the snapshots of one session over any that were there: three statements."""
    if not snapshots:
        return
    session = snapshots[0].session
    run(
        connection,
        "upsert_snapshots",
        session=session,
        valued_at=snapshots[0].valued_at,
        portfolio_ids=[s.portfolio_id for s in snapshots],
        cash=[s.cash for s in snapshots],
        positions_values=[s.positions_value for s in snapshots],
        position_counts=[len(s.positions) for s in snapshots],
        net_deposits=[s.net_deposits for s in snapshots],
        daily_returns=[s.daily_return for s in snapshots],
        total_returns=[s.total_return for s in snapshots],
    )
    run(
        connection,
        "clear_snapshot_positions",
        session=session,
        portfolio_ids=[s.portfolio_id for s in snapshots],
    )
    rows = [(s.portfolio_id, p) for s in snapshots for p in s.positions]
    if rows:
        run(
            connection,
            "insert_snapshot_positions",
            session=session,
            portfolio_ids=[portfolio_id for portfolio_id, _ in rows],
            symbols=[p.symbol for _, p in rows],
            quantities=[p.quantity for _, p in rows],
            average_costs=[p.average_cost for _, p in rows],
            closes=[p.close for _, p in rows],
            values=[p.value for _, p in rows],
        )


def list_snapshots(
    connection: Connection,
    *,
    portfolio: str | None = None,
    session: date | None = None,
    limit: int | None = None,
) -> list[RowMapping]:
    """The newest snapshots with their portfolio's name, by session and portfolio, oldest first."""
    rows = run(connection, "list_snapshots", portfolio=portfolio, session=session, limit=limit)
    return list(reversed(rows.mappings().all()))


def snapshot_positions(connection: Connection, session: date) -> list[RowMapping]:
    """The holdings in the snapshots of a session, by portfolio and symbol."""
    return list(run(connection, "snapshot_positions", session=session).mappings())
