"""What the tables hold over many sessions: read by plots, checks and the search for missing snapshots."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.store.database import run

#: A row for people, by column name.
Row = RowMapping


@dataclass(frozen=True, slots=True)
class Coverage:
    """Since when a portfolio had money, and the sessions it has a snapshot of."""

    portfolio: str
    first_movement_at: datetime
    sessions: AbstractSet[date]


def snapshots_between(connection: Connection, first: date, last: date) -> list[Row]:
    """Snapshots of the sessions between two dates, inclusive, oldest first."""
    return list(run(connection, "snapshots_between", first=first, last=last).mappings())


def highest_returns_before(connection: Connection, session: date) -> dict[str, Decimal]:
    """The best return since its start that each portfolio had before a session; fractions."""
    rows = run(connection, "highest_returns_before", session=session).mappings()
    return {row["portfolio"]: row["total_return"] for row in rows if row["total_return"] is not None}


def holdings_between(connection: Connection, first: date, last: date) -> list[Row]:
    """What the snapshots between two dates (inclusive) hold, oldest first."""
    return list(run(connection, "holdings_between", first=first, last=last).mappings())


def snapshots_that_do_not_add_up(connection: Connection) -> list[Row]:
    """Snapshots whose total is not their cash and the values of their lines."""
    return list(run(connection, "snapshots_that_do_not_add_up").mappings())


def snapshots_that_do_not_chain(connection: Connection) -> list[Row]:
    """Snapshots whose returns are not what their totals say, or not chained; with what they should be."""
    return list(run(connection, "snapshots_that_do_not_chain").mappings())


def last_session_of_bars(connection: Connection) -> date | None:
    """The newest session that has a bar; None where there are no bars."""
    last: date | None = run(connection, "last_session_of_bars").scalar()
    return last


def sessions_with_bars(connection: Connection, sessions: Sequence[date]) -> set[date]:
    """Those of some sessions that have a bar, of whatever symbol."""
    return set(run(connection, "which_sessions_have_bars", sessions=list(sessions)).scalars())


def snapshot_coverage(connection: Connection) -> list[Coverage]:
    """Every active portfolio that was given money, with the sessions it has a snapshot of."""
    rows = run(connection, "snapshot_coverage").mappings()
    return [Coverage(row["portfolio"], row["first_movement_at"], frozenset(row["sessions"])) for row in rows]


def quotes_received_at(connection: Connection) -> dict[str, datetime]:
    """When each symbol's quote was taken in (UTC)."""
    return {row["symbol"]: row["received_at"] for row in run(connection, "quotes_received_at").mappings()}
