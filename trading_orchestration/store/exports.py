"""Whole tables for other programs: what their columns are, and their rows, a part at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from trading_orchestration.store.database import query

#: Rows that are in memory at once.
_PART = 5_000


class Kind(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    INSTANT = "instant"  # UTC
    JSON = "json"  # as text


@dataclass(frozen=True, slots=True)
class Field:
    """A column; `places` are a decimal's digits after the point."""

    name: str
    kind: Kind = Kind.TEXT
    places: int = 9


def _fields(**kinds: Kind | int) -> tuple[Field, ...]:
    """Columns in order; a number is a decimal with so many places."""
    return tuple(
        Field(name, kind) if isinstance(kind, Kind) else Field(name, Kind.DECIMAL, kind)
        for name, kind in kinds.items()
    )


#: The tables that can be exported, with their columns in order; new ones come at the end, none goes away.
TABLES: Mapping[str, Sequence[Field]] = {
    "trades": _fields(
        id=Kind.INTEGER,
        portfolio=Kind.TEXT,
        strategy=Kind.TEXT,
        session=Kind.DATE,
        tick=Kind.INSTANT,
        symbol=Kind.TEXT,
        side=Kind.TEXT,
        order_type=Kind.TEXT,
        time_in_force=Kind.TEXT,
        quantity=9,
        limit_price=9,
        stop_price=9,
        status=Kind.TEXT,
        status_reason=Kind.TEXT,
        filled_quantity=9,
        reason=Kind.TEXT,
        client_order_id=Kind.TEXT,
        broker_order_id=Kind.TEXT,
        decided_at=Kind.INSTANT,
        submitted_at=Kind.INSTANT,
        finalized_at=Kind.INSTANT,
    ),
    "fills": _fields(
        id=Kind.INTEGER,
        trade_id=Kind.INTEGER,
        portfolio=Kind.TEXT,
        symbol=Kind.TEXT,
        side=Kind.TEXT,
        quantity=9,
        price=9,
        fee=9,
        executed_at=Kind.INSTANT,
        broker_execution_id=Kind.TEXT,
        is_late=Kind.BOOLEAN,
        booked_at=Kind.INSTANT,
    ),
    "snapshots": _fields(
        portfolio=Kind.TEXT,
        session=Kind.DATE,
        cash=9,
        positions_value=9,
        total_value=9,
        position_count=Kind.INTEGER,
        net_deposits=9,
        daily_return=12,
        total_return=12,
        valued_at=Kind.INSTANT,
        gross_value=9,
        exposure=12,
        stale_since=Kind.INSTANT,
        stale_reason=Kind.TEXT,
    ),
    "executions": _fields(
        id=Kind.INTEGER,
        job_type=Kind.TEXT,
        run_id=Kind.TEXT,
        triggered_by=Kind.TEXT,
        tick=Kind.INSTANT,
        session=Kind.DATE,
        execution_status=Kind.TEXT,
        is_probe=Kind.BOOLEAN,
        started_at=Kind.INSTANT,
        finished_at=Kind.INSTANT,
        duration_ms=3,
        counts=Kind.JSON,
        skip_reason=Kind.TEXT,
        error_class=Kind.TEXT,
        error_message=Kind.TEXT,
    ),
}
_QUERIES = {
    "trades": "export_trades",
    "fills": "export_fills",
    "snapshots": "export_snapshots",
    "executions": "export_executions",
}


def read_one_state(connection: Connection) -> None:
    """Let all that this transaction reads be of one instant, and change nothing; its first statement."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def table_parts(
    connection: Connection,
    table: str,
    *,
    portfolio: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a table in (since, until], some thousands at a time, in an order that stays.

    Executions belong to no portfolio: all of them come.
    """
    parameters: dict[str, Any] = {"since": since, "until": until}
    if table != "executions":
        parameters["portfolio"] = portfolio
    options = {"stream_results": True, "max_row_buffer": _PART}
    found = connection.execute(query(_QUERIES[table]), parameters, execution_options=options)
    yield from found.partitions(_PART)
