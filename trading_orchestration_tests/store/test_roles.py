"""The engine may do its work and change no ledger; the reader may look; both are tried on a real day."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from trading_orchestration.errors import DatabaseError
from trading_orchestration.store import prices, roles
from trading_orchestration.store.database import create_engine, run, transaction
from trading_orchestration.store.price_notifications import watch_prices
from trading_orchestration.stream.price_stream import WebSocketService
from trading_orchestration_tests.services.trading_world import AAPL, MSFT, TradingWorld

PASSWORD = "a-password-of-a-role"


@dataclass(frozen=True)
class Roles:
    """Two roles that were granted what they need, with their URLs."""

    engine: str
    reader: str
    engine_url: str
    reader_url: str


@pytest.fixture
def granted(engine: sa.Engine, database_url: str) -> Iterator[Roles]:
    names = [f"{kind}_{uuid4().hex}" for kind in ("engine", "reader")]
    urls = [
        sa.make_url(database_url).set(username=name, password=PASSWORD).render_as_string(hide_password=False)
        for name in names
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name in names:
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            connection.execute(create.format(sql.Identifier(name), sql.Literal(PASSWORD)))
        roles.grant(engine, engine=names[0], reader=names[1])
        yield Roles(*names, *urls)
        for name in names:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def append_only(engine: sa.Engine) -> dict[str, list[str]]:
    with transaction(engine) as connection:
        rows = run(connection, "append_only_tables").mappings()
        return {row["name"]: row["refused"] for row in rows}


def test_the_engine_can_neither_change_nor_delete_what_is_append_only(engine: sa.Engine, granted: Roles):
    tables = append_only(engine)
    assert {"fills", "cash_movements", "adjustments", "discrepancies", "decisions"} <= tables.keys()
    assert {"breaker_events", "job_setting_changes"} <= tables.keys()
    refused = [
        *(f"{verb} {table}" for table in tables for verb in ("DELETE FROM", "TRUNCATE")),
        "UPDATE fills SET price = 1",
        "UPDATE decisions SET cash = 0",
        "DROP TABLE fills",
        "ALTER TABLE fills DISABLE TRIGGER ALL",
        "CREATE TABLE another ()",
        "INSERT INTO schema_migrations VALUES (999, 'x', 'y')",
    ]
    with psycopg.connect(granted.engine_url, autocommit=True) as connection:
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        for table, verbs in tables.items():
            for verb in verbs:
                (may,) = (
                    connection.execute("SELECT has_table_privilege(%s, %s)", [table, verb]).fetchone() or ()
                )
                assert not may, f"{verb} of {table}"


def test_the_reader_sees_prices_and_the_books_and_writes_nothing(granted: Roles):
    with psycopg.connect(granted.reader_url, autocommit=True) as connection:
        for table in ("quotes", "fills", "notifications"):
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM paper.orders")

    async def first() -> bool:
        async for reading in watch_prices(granted.reader_url):
            return reading.is_complete
        return False

    assert asyncio.run(first())


def test_a_day_is_traded_and_compared_as_the_engine(granted: Roles):
    """Decisions, orders, fills, prices, a comparison that finds a difference."""
    engine = create_engine(granted.engine_url, application_name="tests")
    world = TradingWorld(engine)
    for symbol in (AAPL, MSFT):
        world.trend(symbol, 100, 110)
        world.set_price(symbol, "200")
    world.add_strategy(universe=[AAPL, MSFT])
    assert world.execute().counts["trades"] == 2
    assert world.check().counts["filled"] == 2
    with world.begin() as connection:
        quotes = list(prices.read_quotes(connection).values())
        WebSocketService().broadcast_price_update(connection, quotes)
    world.advance(timedelta(seconds=10))
    world.broker.positions = list(world.paper.get_positions())[:1]
    assert world.sync().problems == []
    assert world.rows("SELECT FROM discrepancies") != []
    world.assert_books_are_right()
    engine.dispose()


def test_what_is_granted_stays_and_new_tables_are_granted_too(engine: sa.Engine, granted: Roles):
    with transaction(engine) as connection:
        connection.execute(sa.text("CREATE TABLE later (id int)"))
    roles.grant(engine, engine=granted.engine, reader=granted.reader)
    with psycopg.connect(granted.engine_url, autocommit=True) as connection:
        connection.execute("INSERT INTO later VALUES (1)")
    with psycopg.connect(granted.reader_url, autocommit=True) as connection:
        assert connection.execute("SELECT id FROM later").fetchall() == [(1,)]


def test_rights_that_somebody_gave_on_the_ledger_are_taken_back(engine: sa.Engine, granted: Roles):
    with transaction(engine) as connection:
        connection.execute(sa.text(f"GRANT DELETE ON fills TO {granted.engine}"))
    roles.grant(engine, engine=granted.engine, reader=granted.reader)
    opened = create_engine(granted.engine_url, application_name="tests")
    with transaction(opened) as connection:
        assert roles.may_change_ledger(connection) == []
    opened.dispose()
    with transaction(engine) as connection:
        assert "fills" in roles.may_change_ledger(connection), "its owner could, but for the triggers"


def test_a_role_that_does_not_exist_is_named(engine: sa.Engine):
    with pytest.raises(DatabaseError, match="no role nobody_here"):
        roles.grant(engine, engine="nobody_here", reader=None)
