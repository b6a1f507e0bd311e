"""A database of its own for a replay, with a copy of what it needs, so that the books are never touched.

    with scratch_database(books, is_kept=False) as scratch:
        migrations.upgrade(scratch)
        copied = copy_books(books, scratch, last=date(2012, 12, 31), starts_at=...)

Its name carries a lock for as long as the replay lives; a database whose replay was killed is dropped by the
next one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg import sql

from trading_orchestration.errors import DatabaseError, InvalidInputError
from trading_orchestration.store.database import create_engine, query, run, transaction

#: PostgreSQL cuts names off at 63 bytes; what is added takes 26 of them.
_BASE_LENGTH_MAX = 36
# A replay that is lost is run again.
_SESSION_OPTIONS = "-c synchronous_commit=off -c plan_cache_mode=force_generic_plan -c jit=off"

_LIMITS = (
    "max_position_pct max_positions stop_loss_pct take_profit_pct max_daily_loss_pct min_cash_pct "
    "max_drawdown_pct"
)
_ACTION_TERMS = "new_units old_units fraction_price cash_per_unit is_special"
#: Table, its columns in the order of the query `replay_…`, that query; in the order of the foreign keys.
COPIES: tuple[tuple[str, str, str], ...] = (
    ("instruments", "symbol name is_tradable is_fractionable", "instruments"),
    ("bars", "symbol timeframe starts_at ends_at session open high low close volume source", "bars"),
    (
        "corporate_actions",
        f"kind symbol session effective_at paid_at {_ACTION_TERMS} new_symbol source actor",
        "corporate_actions",
    ),
    ("broker_accounts", "id broker account_number environment", "broker_accounts"),
    (
        "portfolios",
        f"id broker_account_id name currency {_LIMITS}",
        "portfolio_rows",
    ),
    ("strategies", "id portfolio_id name definition is_enabled", "strategies"),
    ("price_alerts", "id symbol condition threshold reference_price status note", "price_alerts"),
    ("cash_movements", "portfolio_id kind amount reference occurred_at", "cash_movements"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedBooks:
    """What a replay starts with: cash by portfolio, and the portfolios that had no money to start with."""

    cash: dict[str, Decimal]
    left_out: Sequence[str]


@contextmanager
def scratch_database(books: sa.Engine, *, is_kept: bool, with_dagster: bool = False) -> Iterator[sa.Engine]:
    """A new, empty database on the server of `books`; dropped at the end unless it is kept.

    Beside it one for Dagster where that is wanted; see `replay_urls`.

    Raises DatabaseError where the role may not create databases.
    """
    prefix = _prefix(books.url.database or "")
    name = f"{prefix}{'kept_' if is_kept else ''}{uuid4().hex[:12]}"
    with transaction(books.execution_options(isolation_level="AUTOCOMMIT")) as connection:
        _drop_abandoned(connection, prefix)
        with _held(connection, name):
            _create(connection, name)
            if with_dagster:
                _create(connection, _dagster_database(name))
            engine = _engine(books, name)
            try:
                yield engine
            finally:
                engine.dispose()
                if not is_kept:
                    _drop(connection, name)


def copy_books(books: sa.Engine, scratch: sa.Engine, *, last: date, starts_at: datetime) -> CopiedBooks:
    """Copy instruments, bars up to `last`, accounts, active portfolios, strategies and alerts; ids stay.

    Every account becomes one at the paper broker that holds its portfolios' net deposits; those are booked at
    `starts_at` (UTC). Raises InvalidInputError where nothing is left to replay.
    """
    with both_sides(books, scratch) as (source, target):
        found = run(source, "replay_portfolios").mappings().all()
        funded = [row for row in found if row["cash"] > 0]
        run(
            source,
            "replay_settings",
            portfolio_ids=[row["id"] for row in funded],
            last=last,
            starts_at=starts_at,
        )
        copy_tables(source, target, COPIES)
        if not run(target, "replay_enabled_strategies").scalar():
            raise InvalidInputError(
                "No active portfolio with money has an enabled strategy; `trading strategy add` gives it one."
            )
        for name in ("fill_cash_balances", "fill_paper_accounts", "move_sequences"):
            run(target, f"replay_{name}")
        run(target, "replay_analyze")
    return CopiedBooks(
        cash={row["name"]: row["cash"] for row in funded},
        left_out=[row["name"] for row in found if row["cash"] <= 0],
    )


@contextmanager
def both_sides(books: sa.Engine, scratch: sa.Engine) -> Iterator[tuple[sa.Connection, sa.Connection]]:
    """A transaction on each, without timeouts; that on the books sees them as of one instant."""
    one_view = books.execution_options(isolation_level="REPEATABLE READ")
    with transaction(one_view) as source, transaction(scratch) as target:
        for connection in (source, target):
            run(connection, "replay_without_timeouts")
        yield source, target


def sessions_without_bars(connection: sa.Connection, sessions: Sequence[date]) -> list[date]:
    """Which of these sessions have no bar of any symbol."""
    return list(run(connection, "replay_sessions_without_bars", sessions=list(sessions)).scalars())


def abandoned_databases(connection: sa.Connection, database: str) -> list[str]:
    """Databases that killed replays of the books in `database` left behind."""
    found = []
    for name in run(connection, "replay_databases", prefix=_prefix(database)).scalars().all():
        with _held(connection, name) as is_held:
            found += [name] if is_held else []
    return found


def _prefix(database: str) -> str:
    return f"{database[:_BASE_LENGTH_MAX]}_replay_"


@contextmanager
def _held(connection: sa.Connection, name: str) -> Iterator[bool]:
    """Hold the lock of a name; False where a replay at work holds it."""
    is_held = bool(run(connection, "replay_lock", name=name).scalar())
    try:
        yield is_held
    finally:
        if is_held:
            run(connection, "replay_unlock", name=name)


def _drop_abandoned(connection: sa.Connection, prefix: str) -> None:
    for name in run(connection, "replay_databases", prefix=prefix).scalars().all():
        with _held(connection, name) as is_held:
            if is_held:
                _drop(connection, name)


def _create(connection: sa.Connection, name: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
    try:
        _driver(connection).execute(statement.format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        role = connection.engine.url.username
        raise DatabaseError(
            f"A replay works in a database of its own, which role {role} may not create; "
            f"run ALTER ROLE {role} CREATEDB as an administrator."
        ) from error


def replay_urls(books: sa.Engine, name: str) -> tuple[str, str]:
    """Where the replay `name` keeps its books, and where its Dagster runs, on the server of `books`."""
    trading = books.url.set(drivername="postgresql", database=name)
    dagster = trading.set(database=_dagster_database(name)).difference_update_query(["options"])
    return trading.render_as_string(hide_password=False), dagster.render_as_string(hide_password=False)


def _dagster_database(name: str) -> str:
    return f"{name}_d"


def _drop(connection: sa.Connection, name: str) -> None:
    for database in (_dagster_database(name), name):
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        _driver(connection).execute(statement)


def _engine(books: sa.Engine, name: str) -> sa.Engine:
    given = books.url.query.get("options", "")
    options = f"{given if isinstance(given, str) else ' '.join(given)} {_SESSION_OPTIONS}".strip()
    url = books.url.set(database=name).update_query_dict({"options": options})
    return create_engine(url.render_as_string(hide_password=False), application_name="trading replay")


def copy_tables(source: sa.Connection, target: sa.Connection, copies: Sequence[tuple[str, str, str]]) -> None:
    """Fill tables of the target, each given as (table, its columns, the query `replay_…` on the source)."""
    for table, columns, name in copies:
        _copy(source, target, table, columns.split(), name)


def _copy(
    source: sa.Connection, target: sa.Connection, table: str, columns: Sequence[str], name: str
) -> None:
    """Move what a query finds into a table, in the binary form in which both sides keep it."""
    found = sql.SQL(query(f"replay_{name}").text.rstrip("; \n"))
    reads = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(found)
    writes = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with (
        _driver(source).cursor() as reader,
        _driver(target).cursor() as writer,
        reader.copy(reads) as blocks,
        writer.copy(writes) as into,
    ):
        for block in blocks:
            into.write(block)


def _driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
