"""Portfolio snapshots: one row a portfolio and session, with its positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.store.database import copy_rows, run

#: A row for people, by column name.
Row = RowMapping

_POSITION_COLUMNS = (
    "portfolio_id",
    "session",
    "symbol",
    "quantity",
    "average_cost",
    "close",
    "value",
    "close_session",
    "close_age",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPosition:
    """One holding in a snapshot; `value` is quantity × close, rounded to 9 places.

    `close_session` is the session that the close is of, `close_age` how many sessions before the snapshot's.
    """

    symbol: str
    quantity: Decimal
    average_cost: Decimal
    close: Decimal
    value: Decimal
    close_session: date
    close_age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A portfolio at a session's close. Returns are fractions, time-weighted; None where undefined.

    `gross_value` is Σ |position value|.
    """

    portfolio_id: int
    session: date
    cash: Decimal
    positions_value: Decimal
    total_value: Decimal
    gross_value: Decimal
    net_deposits: Decimal
    daily_return: Decimal | None
    total_return: Decimal | None
    valued_at: datetime
    positions: Sequence[SnapshotPosition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A snapshot that is there: what the returns of those after it hang on, and its own."""

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


def previous_snapshots(connection: Connection, session: date) -> dict[int, Stored]:
    """The last snapshot of each portfolio before a session."""
    rows = run(connection, "previous_snapshots", session=session).mappings()
    return {row["portfolio_id"]: Stored(**row) for row in rows}


def stored_between(connection: Connection, first: date, before: date | None) -> dict[int, list[Stored]]:
    """Every snapshot from a session on and before another (None: all), by portfolio, oldest first."""
    found: dict[int, list[Stored]] = {}
    for row in run(connection, "snapshots_from", first=first, before=before).mappings():
        found.setdefault(row["portfolio_id"], []).append(Stored(**row))
    return found


def standing_before(connection: Connection, portfolio_id: int, session: date) -> Standing | None:
    """How a portfolio stood at its last snapshot before a session; None where there is none."""
    found = run(connection, "standing_before", portfolio_id=portfolio_id, session=session)
    row = found.mappings().one_or_none()
    return Standing(**row) if row else None


def set_returns(connection: Connection, changed: Sequence[Stored]) -> None:
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


def mark_range(connection: Connection, first: date, last: date, *, reason: str) -> None:
    """The snapshots of the sessions between two dates (inclusive) do not hold until they are taken again."""
    run(connection, "mark_range_stale", first=first, last=last, reason=reason)


def mark_unvalued(
    connection: Connection, portfolio_ids: Sequence[int], sessions: Sequence[date], *, reason: str
) -> None:
    """Snapshots that are there, and could not be taken again, do not hold."""
    if portfolio_ids:
        run(
            connection,
            "mark_unvalued",
            portfolio_ids=list(portfolio_ids),
            sessions=list(sessions),
            reason=reason,
        )


def stale_sessions(connection: Connection) -> dict[date, datetime]:
    """The sessions of snapshots that no longer hold, and since when (UTC), oldest first."""
    return {row.session: row.stale_since for row in run(connection, "stale_sessions")}


def list_stale(connection: Connection) -> list[RowMapping]:
    """Snapshots that no longer hold, with the reason, oldest first."""
    return list(run(connection, "list_stale").mappings())


def carried_closes(connection: Connection) -> list[RowMapping]:
    """Holdings that are valued at the close of an earlier session, oldest first."""
    return list(run(connection, "carried_closes").mappings())


def account_totals(
    connection: Connection, account_id: int, *, until: datetime, limit: int
) -> dict[date, Decimal]:
    """What the portfolios of an account were worth together at the newest closes up to an instant."""
    rows = run(connection, "account_totals", broker_account_id=account_id, until=until, limit=limit)
    return {row.session: row.total for row in rows}


def save_snapshots(connection: Connection, snapshots: Sequence[Snapshot]) -> None:
    """Write snapshots over any that were there, which then hold again: three statements."""
    if not snapshots:
        return
    keys = {
        "portfolio_ids": [s.portfolio_id for s in snapshots],
        "sessions": [s.session for s in snapshots],
    }
    run(
        connection,
        "upsert_snapshots",
        **keys,
        valued_ats=[s.valued_at for s in snapshots],
        cash=[s.cash for s in snapshots],
        positions_values=[s.positions_value for s in snapshots],
        gross_values=[s.gross_value for s in snapshots],
        position_counts=[len(s.positions) for s in snapshots],
        net_deposits=[s.net_deposits for s in snapshots],
        daily_returns=[s.daily_return for s in snapshots],
        total_returns=[s.total_return for s in snapshots],
    )
    run(connection, "clear_snapshot_positions", **keys)
    copy_rows(
        connection,
        "portfolio_snapshot_positions",
        _POSITION_COLUMNS,
        (
            (
                s.portfolio_id,
                s.session,
                p.symbol,
                p.quantity,
                p.average_cost,
                p.close,
                p.value,
                p.close_session,
                p.close_age,
            )
            for s in snapshots
            for p in s.positions
        ),
    )


def list_snapshots(
    connection: Connection,
    *,
    portfolio: str | None = None,
    session: date | None = None,
    is_stale: bool = False,
    limit: int | None = None,
) -> list[RowMapping]:
    """The newest snapshots with their portfolio's name, by session and portfolio, oldest first."""
    rows = run(
        connection, "list_snapshots", portfolio=portfolio, session=session, is_stale=is_stale, limit=limit
    )
    return list(reversed(rows.mappings().all()))


def snapshot_positions(connection: Connection, session: date) -> list[RowMapping]:
    """The holdings in the snapshots of a session, by portfolio and symbol."""
    return list(run(connection, "snapshot_positions", session=session).mappings())
