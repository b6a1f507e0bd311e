"""The engine, its errors, named queries and COPY, against a real server."""

import os
import socket
import threading
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import DatabaseError, DatabaseUnavailableError, SettingsError
from trading_orchestration.store import database
from trading_orchestration.store.database import (
    copy_rows,
    create_engine,
    dagster_storage_url,
    derive_dagster_url,
    ensure_database,
    parse_queries,
    query,
    transaction,
)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scalar(engine: sa.Engine, statement: str) -> object:
    with transaction(engine) as connection:
        return connection.execute(sa.text(statement)).scalar_one()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_usual_scheme_opens_psycopg_3(database_url: str, scheme: str) -> None:
    engine = create_engine(database_url.replace("postgresql", scheme, 1), application_name="tests")
    with transaction(engine) as connection:
        assert isinstance(connection.connection.driver_connection, psycopg.Connection)
    engine.dispose()


def test_a_session_has_explicit_limits(engine: sa.Engine) -> None:
    limits = {
        "application_name": "tests",
        "TimeZone": "UTC",
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
        "transaction_isolation": "read committed",
    }
    shown = ", ".join(f"current_setting('{name}') AS \"{name}\"" for name in limits)
    with transaction(engine) as connection:
        assert dict(connection.execute(sa.text(f"SELECT {shown}")).mappings().one()) == limits


def test_options_in_the_url_come_on_top_of_ours(database_url: str) -> None:
    url = f"{database_url}?options=-c%20work_mem%3D5MB"
    engine = create_engine(url, application_name="tests")
    assert scalar(engine, "SELECT current_setting('work_mem')") == "5MB"
    assert scalar(engine, "SELECT current_setting('lock_timeout')") == "10s"
    engine.dispose()


def test_numbers_instants_and_words_go_in_and_out_unchanged(engine: sa.Engine) -> None:
    values = {
        "amount": Decimal("0.000000001"),
        "at": datetime(2024, 7, 3, 13, 30, tzinfo=UTC),
        "session": date(2024, 7, 3),
        "side": Side.BUY,
        "facts": {"price": Decimal("1.10"), "at": datetime(2024, 7, 3, tzinfo=UTC), "score": 0.5},
    }
    statement = sa.text(
        "SELECT CAST(:amount AS numeric(20,9)) AS amount, CAST(:at AS timestamptz) AS at, "
        "CAST(:session AS date) AS session, CAST(:side AS trade_side) AS side, "
        "CAST(:facts AS jsonb) AS facts"
    )
    with transaction(engine) as connection:
        row = connection.execute(statement, values).mappings().one()
    facts = {"price": "1.10", "at": "2024-07-03T00:00:00+00:00", "score": 0.5}
    assert dict(row) == {**values, "facts": facts}
    assert row["at"].utcoffset() == UTC.utcoffset(None)


@pytest.mark.parametrize("value", [{"price": float("nan")}, {"thing": object()}])
def test_json_that_postgresql_could_not_read_back_is_refused(
    engine: sa.Engine, value: dict[str, object]
) -> None:
    with pytest.raises((ValueError, TypeError)), transaction(engine) as connection:
        connection.execute(sa.text("SELECT CAST(:value AS jsonb)"), {"value": value})


def test_a_transaction_is_committed_at_its_end_and_rolled_back_on_an_error(engine: sa.Engine) -> None:
    insert = sa.text("INSERT INTO instruments (symbol) VALUES (:symbol)")

    def insert_and_divide(symbol: str, divisor: int) -> None:
        with transaction(engine) as connection:
            connection.execute(insert, {"symbol": symbol})
            divmod(1, divisor)

    insert_and_divide("KEPT", 1)
    with pytest.raises(ZeroDivisionError):
        insert_and_divide("LOST", 0)
    assert scalar(engine, "SELECT array_agg(symbol) FROM instruments") == ["KEPT"]


def test_an_error_shows_no_parameter(engine: sa.Engine) -> None:
    statement = sa.text("SELECT 1 / CAST(:divisor AS int), CAST(:secret AS text)")
    with pytest.raises(sa.exc.DataError) as caught, transaction(engine) as connection:
        connection.execute(statement, {"divisor": 0, "secret": "canary"})
    assert "canary" not in str(caught.value)


def test_a_server_that_does_not_answer_is_named_without_the_password(unused_port: int) -> None:
    engine = create_engine(f"postgresql://me:canary@127.0.0.1:{unused_port}/books", application_name="tests")
    with pytest.raises(DatabaseUnavailableError, match=f"127.0.0.1:{unused_port}.*books") as caught:
        scalar(engine, "SELECT 1")
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {engine!r}"


def test_a_wrong_password_and_a_missing_database_are_unavailable_too(database_url: str) -> None:
    url = sa.make_url(database_url)
    for wrong in (url.set(password="canary"), url.set(database="no_such_database")):
        if wrong.password == "canary" and not url.password:
            continue  # a given server may trust its socket
        engine = create_engine(wrong.render_as_string(hide_password=False), application_name="tests")
        with pytest.raises(DatabaseUnavailableError) as caught:
            scalar(engine, "SELECT 1")
        assert "canary" not in str(caught.value)


def terminate_others(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_connection_that_died_in_the_pool_is_replaced_unseen(engine: sa.Engine, database_url: str) -> None:
    before = scalar(engine, "SELECT pg_backend_pid()")
    assert scalar(engine, "SELECT pg_backend_pid()") == before, "the pool keeps a connection"
    terminate_others(database_url)
    assert scalar(engine, "SELECT pg_backend_pid()") != before


def test_a_connection_lost_within_a_transaction_is_unavailable_and_the_next_one_works(
    engine: sa.Engine, database_url: str
) -> None:
    def lose_it_and_select() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.text("SELECT 1"))
            terminate_others(database_url)
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(DatabaseUnavailableError):
        lose_it_and_select()
    assert scalar(engine, "SELECT 1") == 1


def test_a_connection_lost_while_copying_is_unavailable(engine: sa.Engine, database_url: str) -> None:
    def lose_it_and_copy() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.text("SELECT 1"))
            terminate_others(database_url)
            copy_rows(connection, "instruments", ["symbol"], [["LOST"]])

    with pytest.raises(DatabaseUnavailableError):
        lose_it_and_copy()
    assert scalar(engine, "SELECT count(*) FROM instruments") == 0


def test_a_transaction_that_idles_too_long_is_ended_by_the_server(engine: sa.Engine) -> None:
    """So a worker that was stopped gives its locks back."""

    def idle() -> None:
        with transaction(engine) as connection:
            connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 50"))
            time.sleep(0.2)
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(DatabaseUnavailableError):
        idle()


def test_a_lock_that_is_not_given_is_an_error_of_the_statement(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 50)
    hurried = create_engine(engine.url.render_as_string(hide_password=False), application_name="tests")
    with transaction(engine) as holder:
        holder.execute(sa.text("LOCK TABLE instruments"))
        with pytest.raises(sa.exc.OperationalError) as caught, transaction(hurried) as connection:
            connection.execute(sa.text("LOCK TABLE instruments"))
    assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)
    hurried.dispose()


def test_copy_keeps_numbers_instants_words_and_nothing(engine: sa.Engine) -> None:
    quoted_at = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
    columns = ["symbol", "price", "bid", "quoted_at", "received_at", "source"]
    rows = [
        ("BRK.B", Decimal("0.000000001"), None, quoted_at, quoted_at, 'a\ttab, a \\ and a "quote"\n'),
        ("X", Decimal("12345678901.123456789"), Decimal(1), quoted_at, quoted_at, ""),
    ]
    with transaction(engine) as connection:
        assert copy_rows(connection, "instruments", ["symbol"], [["BRK.B"], ["X"]]) == 2
        assert copy_rows(connection, "public.quotes", columns, rows) == 2
        found = connection.execute(sa.text(f"SELECT {', '.join(columns)} FROM quotes ORDER BY symbol"))
        assert [tuple(row) for row in found] == rows


def test_copied_rows_belong_to_the_transaction(engine: sa.Engine) -> None:
    def copy_and_fail() -> None:
        with transaction(engine) as connection:
            copy_rows(connection, "instruments", ["symbol"], [["LOST"]])
            divmod(1, 0)

    with pytest.raises(ZeroDivisionError):
        copy_and_fail()
    assert scalar(engine, "SELECT count(*) FROM instruments") == 0


def test_a_row_that_copy_refuses_raises_what_an_insert_raises(engine: sa.Engine) -> None:
    with (
        pytest.raises(sa.exc.IntegrityError, match="symbol_is_upper_case"),
        transaction(engine) as connection,
    ):
        copy_rows(connection, "instruments", ["symbol"], [["lower case"]])


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://me:canary@host/books", "mysql"),
        ("not a url canary", "postgresql://user"),
        ("postgresql://me:canary@host:port/books", "postgresql://user"),
        ("postgresql://me:canary@host", "no database"),
        ("postgresql://me:canary@host/books?colour=red", "colour"),
    ],
)
def test_a_url_that_cannot_work_is_refused_before_connecting(url: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        create_engine(url, application_name="tests")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("trading", "dagster"),
    [
        ("postgresql://me:p%40ss@host:5433/trading", "postgresql://me:p%40ss@host:5433/dagster"),
        ("postgres://me@host/books?sslmode=require", "postgresql://me@host/books_dagster?sslmode=require"),
        ("postgresql+psycopg:///trading?host=/run/pg", "postgresql:///dagster?host=/run/pg"),
    ],
)
def test_dagster_gets_a_database_beside_ours(trading: str, dagster: str) -> None:
    derived = derive_dagster_url(trading)
    assert sa.make_url(derived) == sa.make_url(dagster)
    assert derived.startswith("postgresql://")
    assert dagster_storage_url(derived) == derived.replace("postgresql://", "postgresql+psycopg2://", 1)


def test_ensure_database_creates_a_missing_one_once(server_url: str) -> None:
    name = f"ensured_{os.getpid()}"
    url = sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    errors = list[BaseException]()

    def ensure() -> None:
        try:
            ensure_database(url)
        except DatabaseError as error:
            errors.append(error)

    try:
        racers = [threading.Thread(target=ensure) for _ in range(3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert errors == []
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")


def test_ensure_database_says_when_the_role_may_not_create(server_url: str) -> None:
    role = f"poor_{os.getpid()}"
    url = sa.make_url(server_url).set(username=role, password="canary", database="not_there")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'canary'")
        try:
            with pytest.raises(DatabaseError, match="CREATE DATABASE not_there") as caught:
                ensure_database(url.render_as_string(hide_password=False))
        finally:
            connection.execute(f"DROP ROLE {role}")
    assert "canary" not in str(caught.value)


def test_ensure_database_without_a_server_is_unavailable(unused_port: int) -> None:
    with pytest.raises(DatabaseUnavailableError, match=str(unused_port)):
        ensure_database(f"postgresql://me:canary@127.0.0.1:{unused_port}/books")


def test_an_unknown_query_is_named() -> None:
    with pytest.raises(DatabaseError, match="no_such_query"):
        query("no_such_query")


def test_a_query_file_gives_each_statement_by_its_name() -> None:
    one = "-- name: one\n-- The first.\nSELECT 1\n\n"
    two = "-- name: two\n-- The second,\n-- in two lines.\nSELECT\n-- why\n2;\n"
    found = dict(parse_queries("x.sql", one + two))
    assert found == {"one": "SELECT 1", "two": "SELECT\n-- why\n2;"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("SELECT 1\n", "before its first"),
        ("-- name: one\nSELECT 1\n", "'one' has no description"),
        ("-- name: one\n--\nSELECT 1\n", "'one' has no description"),
        ("-- name: one\n-- The first.\n", "'one' has no SQL"),
        ("-- name: one\n-- The first.\n-- name: two\n-- The second.\nSELECT 2\n", "'one' has no SQL"),
    ],
)
def test_a_mistake_in_a_query_file_is_named_with_the_file(content: str, complaint: str) -> None:
    with pytest.raises(DatabaseError, match=rf"x\.sql.*{complaint}"):
        list(parse_queries("x.sql", content))
