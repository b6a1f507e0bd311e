"""The way to PostgreSQL: engine, transactions, named queries, COPY.

    engine = create_engine(url, application_name="trading")
    with transaction(engine) as connection:
        rows = connection.execute(query("open_trades"), {"portfolio_id": 1}).mappings().all()

Our own engine speaks psycopg 3; Dagster's storage speaks psycopg2, hence `dagster_storage_url`.
"""

import json
import re
import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Protocol, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import JsonbDumper
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlalchemy.engine import URL

from trading_orchestration.errors import DatabaseError, DatabaseUnavailableError, SettingsError
from trading_orchestration.store.answer import Answer

Connection = sa.Connection
Engine = sa.Engine

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
# A worker that stopped in the middle of a transaction gives its locks back after this.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
# Unacknowledged data means a dead peer after this; Linux only, libpq ignores it elsewhere.
TCP_USER_TIMEOUT_MS = 10_000

_FORM = "postgresql://user:password@host:5432/name"
_SCHEMES = {"postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"}


def create_engine(url: str, *, application_name: str) -> sa.Engine:
    """An engine on psycopg 3 with explicit timeouts, UTC, a small pool, and JSON from `dict`.

    `url` is `postgres://`, `postgresql://` or `postgresql+psycopg://`; anything else raises SettingsError.
    Nothing is connected yet. Parameters never appear in an error's text.
    """
    parsed = _parse(url)
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "options": _session_options(parsed),
        },
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
        hide_parameters=True,
        pool_pre_ping=False,
        pool_size=2,
        max_overflow=6,
        pool_timeout=10,
        pool_use_lifo=True,
    )
    sa.event.listen(engine, "connect", _register_types)
    refuse_stale_connections(engine)
    return engine


def refuse_stale_connections(engine: sa.Engine) -> None:
    """Let a pool replace a connection that the server has closed meanwhile, without a round trip."""
    sa.event.listen(engine, "checkout", _refuse_stale_connection)


#: The option of an engine that holds a `JoinedTransaction`.
JOINED = "trading_joined"


@dataclass(slots=True)
class JoinedTransaction:
    """The connection whose transaction others take part in, while there is one; and whether one failed."""

    connection: sa.Connection | None = None
    is_spoilt: bool = False


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction: committed at the end, rolled back on an exception.

    Raises DatabaseUnavailableError when the server cannot be reached or the connection is lost; whether a
    commit that was lost on its way took effect is then unknown. On an engine of `store.joined` it takes part
    in the transaction that is held there, if one is.
    """
    joined: JoinedTransaction | None = engine.get_execution_options().get(JOINED)
    if joined is not None and joined.connection is not None:
        try:
            yield joined.connection
        except BaseException:
            joined.is_spoilt = True
            raise
        return
    try:
        with engine.begin() as connection:
            yield connection
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        reason = _lost_connection(error)
        if reason is None:
            raise
        raise DatabaseUnavailableError(_unavailable(engine.url, reason)) from error


def copy_rows(
    connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> int:
    """Append `rows` to `table` (`name` or `schema.name`) by COPY in the connection's transaction.

    Returns the number of rows. A row that PostgreSQL refuses raises the same SQLAlchemy error as an INSERT.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
                count += 1
    except psycopg.Error as error:
        raise _as_sqlalchemy_error(f"COPY {table}", error, connection.dialect) from error
    return count


def query(name: str) -> sa.TextClause:
    """The statement named `name` in `sql/queries/*.sql`; DatabaseError names the file of a mistake."""
    try:
        return _queries()[name]
    except KeyError:
        raise DatabaseError(f"sql/queries/ has no query named {name!r}.") from None


def run(connection: sa.Connection, name: str, /, **parameters: Any) -> Answer:
    """Execute the statement named `name` with its parameters; rows come as `.mappings()`.

    Straight from the driver, whose work SQLAlchemy's handling of a result would double. A statement that
    PostgreSQL refuses raises the same SQLAlchemy error as `connection.execute`.
    """
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    cursor, statement = driver.cursor(), _driver_text(name)
    for listener in connection.dispatch.before_cursor_execute:
        listener(connection, cursor, statement.decode(), parameters, None, False)  # noqa: FBT003 (their order)
    try:
        cursor.execute(statement, parameters)
    except psycopg.Error as error:
        raise _as_sqlalchemy_error(name, error, connection.dialect) from error
    return Answer(cursor)


@cache
def _driver_text(name: str) -> bytes:
    dialect = psycopg_dialect()  # type: ignore[no-untyped-call]
    return str(query(name).compile(dialect=dialect)).encode()


def ensure_database(url: str) -> None:
    """Create the database that `url` names when it is missing.

    Raises DatabaseUnavailableError when the server does not answer, DatabaseError when the role may not
    create databases.
    """
    target = _parse(url)
    try:
        _connect(target).close()
    except psycopg.OperationalError as error:
        if _database_exists(target) is not False:
            raise DatabaseUnavailableError(_unavailable(target, str(error))) from error
        _create_database(target)


def derive_dagster_url(trading_url: str) -> str:
    """Where Dagster's own storage goes: the same server, database `dagster` beside `trading`.

    Any other database `x` gets `x_dagster` beside it.
    """
    parsed = _parse(trading_url)
    name = "dagster" if parsed.database == "trading" else f"{parsed.database}_dagster"
    return _render(parsed.set(drivername="postgresql", database=name))


def role_of(url: str) -> str | None:
    """The role that a URL logs in as; None where it names none."""
    return _parse(url).username


def dagster_storage_url(url: str) -> str:
    """`url` as `postgresql+psycopg2://…`, the only form that dagster-postgres understands."""
    return _render(_parse(url).set(drivername="postgresql+psycopg2"))


def _parse(url: str) -> URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise SettingsError(f"The database URL is not of the form {_FORM}; correct it.") from None
    if parsed.drivername not in _SCHEMES:
        raise SettingsError(
            f"The database URL starts with {parsed.drivername}://, but it must be postgresql://."
        )
    if not parsed.database:
        raise SettingsError("The database URL names no database; end it with /trading.")
    try:
        conninfo_to_dict(_conninfo(parsed))
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"The database URL has an {error}; the form is {_FORM}.") from None
    return parsed


def _render(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _conninfo(url: URL) -> str:
    return _render(url.set(drivername="postgresql"))


def _session_options(url: URL) -> str:
    given = url.query.get("options", "")
    settings = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
        "timezone": "UTC",
    }
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip()


def _register_types(dbapi_connection: psycopg.Connection[Any], _record: object) -> None:
    dbapi_connection.adapters.register_dumper(dict, _DictDumper)


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


def _refuse_stale_connection(dbapi_connection: _HasFileno, _record: object, _proxy: object) -> None:
    # An idle connection has nothing to read unless the server said goodbye: no round trip is needed to know.
    poll = select.poll()
    poll.register(dbapi_connection.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
    if poll.poll(0):
        raise sa.exc.DisconnectionError("the server closed this connection")


class _DictDumper(JsonbDumper):
    def dump(self, obj: Any) -> bytes:
        return json.dumps(obj, default=_json_default, allow_nan=False).encode()


def _json_default(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def _lost_connection(error: sa.exc.DBAPIError | psycopg.Error) -> str | None:
    """What the driver said when `error` is about the connection; None when it is about a statement.

    A server that answers gives an SQLSTATE; class 57P is a server that shuts down or starts.
    """
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    is_invalidated = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    if not isinstance(original, psycopg.Error):
        return None
    without_answer = isinstance(original, psycopg.OperationalError) and original.sqlstate is None
    if is_invalidated or without_answer or (original.sqlstate or "").startswith("57P"):
        return str(original)
    return None


def _unavailable(url: URL, reason: str) -> str:
    host = url.host or url.query.get("host") or "localhost"
    first_line = reason.strip().partition("\n")[0] or "it closed the connection"
    what = re.sub(r"^.*failed: |FATAL: *", "", first_line)
    return (
        f"PostgreSQL at {host}:{url.port or 5432} cannot serve database {url.database}: {what}; "
        "start it or correct DATABASE_URL."
    )


def _as_sqlalchemy_error(statement: str, error: psycopg.Error, dialect: sa.Dialect) -> BaseException:
    return sa.exc.DBAPIError.instance(
        statement, None, error, psycopg.Error, hide_parameters=True, dialect=dialect
    )


def _connect(url: URL) -> psycopg.Connection[Any]:
    return psycopg.connect(_conninfo(url), connect_timeout=CONNECT_TIMEOUT_S, autocommit=True)


def _database_exists(target: URL) -> bool | None:
    """None when the server does not even let us into the database `postgres`."""
    found = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)"
    try:
        with _connect(target.set(database="postgres")) as connection:
            return bool(connection.execute(found, [target.database]).fetchall()[0][0])
    except psycopg.OperationalError:
        return None


def _create_database(target: URL) -> None:
    statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
    try:
        with _connect(target.set(database="postgres")) as connection:
            connection.execute(statement.format(sql.Identifier(target.database or "")))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # someone else was faster
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"Database {target.database} does not exist and role {target.username} may not create it; "
            f"run CREATE DATABASE {target.database} OWNER {target.username} as an administrator."
        ) from error


_NAME = re.compile(r"-- name: (\S+)\s*$")


@cache
def _queries() -> dict[str, sa.TextClause]:
    folder = resources.files("trading_orchestration.sql") / "queries"
    found: dict[str, sa.TextClause] = {}
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for name, body in parse_queries(file.name, file.read_text(encoding="utf-8")):
            if name in found:
                raise DatabaseError(f"sql/queries/{file.name} names {name!r}, which is taken already.")
            found[name] = sa.text(body)
    return found


def parse_queries(file: str, content: str) -> Iterator[tuple[str, str]]:
    """The (name, statement) pairs of a query file: `-- name: x`, one or more comment lines, SQL."""
    name, description, body = "", list[str](), list[str]()
    for line in [*content.splitlines(), "-- name: end"]:
        match = _NAME.match(line)
        if match is None:
            is_comment = line.startswith("--") and not body
            (description if is_comment else body).append(line)
            continue
        if name or "".join(body).strip():
            yield _checked_query(file, name, description, body)
        name, description, body = match[1], [], []


def _checked_query(file: str, name: str, description: list[str], body: list[str]) -> tuple[str, str]:
    statement = "\n".join(body).strip()
    if not name:
        raise DatabaseError(f"sql/queries/{file} has SQL before its first `-- name:` line.")
    if not any(line.strip("- ") for line in description):
        raise DatabaseError(f"sql/queries/{file}: query {name!r} has no description line.")
    if not statement:
        raise DatabaseError(f"sql/queries/{file}: query {name!r} has no SQL.")
    return name, statement
