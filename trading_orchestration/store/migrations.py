"""Bring the database to the version of this code: `sql/migrations/NNNN_name.sql`, forward only.

Each file runs once, in one transaction, under one advisory lock, and is recorded with a checksum in
`schema_migrations`.

    python -m trading_orchestration.store.migrations dump

rewrites `sql/schema.sql`, the readable whole, from the migrations.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import psycopg
import sqlalchemy as sa

from trading_orchestration.errors import SchemaError
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.embedded_postgres import binaries, stop, use

# Any constant will do, as long as nothing else in the database locks it: "trading" on a phone's keys.
ADVISORY_LOCK = 8723464

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations/`; `checksum` is the SHA-256 of its text with \\n line ends."""

    version: int
    name: str
    sql: str

    @property
    def file(self) -> str:
        return f"{self.version:04}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


@dataclass(frozen=True)
class _Applied:
    version: int
    name: str
    checksum: str


def upgrade(engine: sa.Engine, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing and return the names of those files, in order.

    Raises SchemaError, with nothing of that file applied, when a file fails, was edited after it was
    applied, or is missing, and when the database is newer than this code.
    """
    known = read_migrations() if migrations is None else migrations
    done: list[str] = []
    while True:
        with transaction(engine) as connection:
            _lock(connection)
            pending = _pending(known, _applied(connection), engine.url.database)
            if not pending:
                return done
            _apply(connection, pending[0])
        done.append(pending[0].file)


def check(engine: sa.Engine) -> None:
    """Raise SchemaError unless the database is exactly at the version of this code."""
    with transaction(engine) as connection:
        applied = _applied(connection)
    pending = _pending(read_migrations(), applied, engine.url.database)
    if pending:
        raise SchemaError(
            f"Database {engine.url.database} lacks {len(pending)} migration(s), first {pending[0].file}; "
            "run `trading db upgrade`."
        )


def read_migrations(folder: Traversable | None = None) -> list[Migration]:
    """The migration files in order; raises SchemaError when one is misnamed or a number is missing."""
    folder = folder or resources.files("trading_orchestration.sql") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name)
    migrations = [_read(file) for file in files]
    for number, migration in enumerate(migrations, start=1):
        if migration.version != number:
            raise SchemaError(f"sql/migrations/ has {migration.file} where number {number:04} was expected.")
    return migrations


def dump_schema(url: str) -> str:
    """The schema of a database as plain DDL: what pg_dump says, without its settings and headings."""
    parsed = sa.make_url(url)
    connection = {
        "PGHOST": parsed.host or "",
        "PGPORT": str(parsed.port or 5432),
        "PGUSER": parsed.username or "",
        "PGPASSWORD": parsed.password or "",
        "PGDATABASE": parsed.database or "",
    }
    dumped = subprocess.run(
        [binaries() / "pg_dump", "--schema-only", "--no-owner", "--no-privileges"],
        env=connection,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if dumped.returncode != 0:
        raise SchemaError(f"pg_dump could not read database {parsed.database}: {dumped.stderr.strip()}")
    return _SCHEMA_HEADING + _readable(dumped.stdout)


def _readable(dump: str) -> str:
    for pattern, plain in _PLAIN_WORDS:
        dump = re.sub(pattern, plain, dump, flags=re.MULTILINE)
    return dump.strip() + "\n"


def _read(file: Traversable) -> Migration:
    match = _FILE_NAME.fullmatch(file.name)
    if match is None:
        raise SchemaError(f"sql/migrations/{file.name} is not named NNNN_name.sql; rename it.")
    return Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))


def _lock(connection: sa.Connection) -> None:
    # A migration may rewrite a large table, and another upgrade may be doing so: wait for it.
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def _applied(connection: sa.Connection) -> list[_Applied]:
    exists = connection.execute(sa.text("SELECT to_regclass('schema_migrations')")).scalar_one()
    if exists is None:
        return []
    rows = connection.execute(
        sa.text("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
    )
    return [_Applied(row.version, row.name, row.checksum) for row in rows]


def _pending(known: Sequence[Migration], applied: list[_Applied], database: str | None) -> list[Migration]:
    by_version = {migration.version: migration for migration in known}
    for number, row in enumerate(applied, start=1):
        migration = by_version.get(row.version)
        if migration is None:
            raise SchemaError(
                f"Database {database} has migration {row.version:04}_{row.name}, but this code ends at "
                f"{len(known):04}; install the newer version of the code."
            )
        if row.version != number:
            raise SchemaError(f"Database {database} has {migration.file} but not number {number:04}.")
        if (row.name, row.checksum) != (migration.name, migration.checksum):
            raise SchemaError(
                f"sql/migrations/{migration.file} was edited after it was applied to database {database}; "
                "restore it and put the change into a new file."
            )
    return list(known[len(applied) :])


def _apply(connection: sa.Connection, migration: Migration) -> None:
    connection.execute(sa.text(_CREATE_RECORD))
    try:
        # Without parameters the driver sends the file as it is: many statements, no % to double.
        connection.exec_driver_sql(migration.sql, execution_options={"no_parameters": True})
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.Error) and error.orig.sqlstate is not None:
            reason = error.orig.diag.message_primary
            raise SchemaError(
                f"sql/migrations/{migration.file} failed and changed nothing: {reason}."
            ) from error
        raise
    connection.execute(
        sa.text(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (:version, :name, :checksum)"
        ),
        {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
    )


# Of what pg_dump says only the sound changes, not the meaning: a test loads the result again.
_PLAIN_WORDS = [
    (r"^(--.*|SET .*;|SELECT pg_catalog\.set_config.*;|\\(un)?restrict .*)\n", ""),
    (r"\bpublic\.", ""),
    (r"( AS IDENTITY) \([^)]*\);", r"\1;"),
    (r"timestamp with time zone", "timestamptz"),
    (r"\(0\)::numeric", "0"),
    (r"\n{3,}", "\n\n"),
]

_SCHEMA_HEADING = """\
-- What the migrations make, in one piece: read it, do not edit it.
-- `python -m trading_orchestration.store.migrations dump` rewrites it; the reasons stand in migrations/.

"""

_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def main(arguments: list[str]) -> int:
    """Migrate a server of its own and write `sql/schema.sql`."""
    if arguments != ["dump"]:
        sys.stderr.write("usage: python -m trading_orchestration.store.migrations dump\n")
        return 2
    with tempfile.TemporaryDirectory() as home:
        server = use(Path(home))
        engine = create_engine(server.trading_url, application_name="migrations dump")
        upgrade(engine)
        engine.dispose()
        schema = dump_schema(server.trading_url)
        stop(Path(home))
    with resources.as_file(resources.files("trading_orchestration.sql") / "schema.sql") as path:
        path.write_text(schema, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
