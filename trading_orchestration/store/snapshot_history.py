"""Snapshots over many sessions: what plots, checks and the search for missing ones read."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime

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


def holdings_between(connection: Connection, first: date, last: date) -> list[Row]:
    """What the snapshots between two dates (inclusive) hold, oldest first."""
    return list(run(connection, "holdings_between", first=first, last=last).mappings())


def snapshots_that_do_not_add_up(connection: Connection) -> list[Row]:
    """Snapshots whose total is not their cash and the values of their lines."""
    return list(run(connection, "snapshots_that_do_not_add_up").mappings())


def sessions_of_bars(connection: Connection, first: date, last: date) -> list[date]:
    """The sessions between two dates (inclusive) that have a daily bar, oldest first."""
    return list(run(connection, "sessions_of_bars", first=first, last=last).scalars())


def snapshot_coverage(connection: Connection, since: date) -> list[Coverage]:
    """Every active portfolio that was given money, with its snapshots from a date on."""
    rows = run(connection, "snapshot_coverage", since=since).mappings()
    return [Coverage(row["portfolio"], row["first_movement_at"], frozenset(row["sessions"])) for row in rows]
