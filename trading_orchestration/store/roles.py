"""Who may do what in our database: its owner, the engine that trades, and the reader of prices.

The owner migrates. The engine reads and writes, but may change or delete nothing in the tables that are
append-only: what their triggers refuse, it may not even try. The reader may look at everything of ours and at
nothing of the paper broker's. Granted anew with every upgrade, so that new tables are as the old ones.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from psycopg import sql

from trading_orchestration.errors import DatabaseError
from trading_orchestration.store.database import run, transaction

#: The schemas of the engine, and those of the reader.
ENGINE_SCHEMAS = ("public", "paper")
READER_SCHEMAS = ("public",)
_RECORD = "schema_migrations"


def grant(owner: sa.Engine, *, engine: str | None, reader: str | None) -> None:
    """Let the roles `engine` and `reader` do what they are there for; None, or the owner itself, is left out.

    `owner` is connected as the owner of the tables. Raises DatabaseError for a role that does not exist.
    """
    with transaction(owner) as connection:
        # Grants of two processes at once would trip over each other's.
        run(connection, "hold_roles")
        own = str(run(connection, "current_role").scalar_one())
        roles = {role for role in (engine, reader) if role not in (None, own)}
        for role in sorted(str(role) for role in roles):
            if not run(connection, "role_exists", role=role).scalar_one():
                raise DatabaseError(f"There is no role {role}; create it, or correct the URL that names it.")
        if engine in roles and _lacks(connection, str(engine), ENGINE_SCHEMAS, writes=True):
            _execute(connection, _engine_statements(connection, sql.Identifier(str(engine))))
        if reader in roles - {engine} and _lacks(connection, str(reader), READER_SCHEMAS, writes=False):
            _execute(connection, _reader_statements(sql.Identifier(str(reader))))


def may_change_ledger(connection: sa.Connection) -> list[str]:
    """The append-only tables that the connected role may change or delete from all the same."""
    return list(run(connection, "changeable_append_only_tables").scalars())


def _lacks(connection: sa.Connection, role: str, schemas: Sequence[str], *, writes: bool) -> bool:
    """Whether a role has less than it needs, or more than it may have, somewhere."""
    found = run(connection, "role_is_not_granted", role=role, schemas=list(schemas), writes=writes)
    return bool(found.scalar_one())


def _engine_statements(connection: sa.Connection, role: sql.Identifier) -> Iterator[sql.Composed]:
    schemas = sql.SQL(", ").join(map(sql.Identifier, ENGINE_SCHEMAS))
    yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schemas, role)
    yield sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {}").format(
        schemas, role
    )
    yield sql.SQL("GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {} TO {}").format(schemas, role)
    yield sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}").format(sql.Identifier(_RECORD), role)
    for row in run(connection, "append_only_tables").mappings():
        table = sql.Identifier(row["schema"], row["name"])
        for verb in row["refused"]:
            yield sql.SQL("REVOKE {} ON {} FROM {}").format(sql.SQL(verb), table, role)


def _reader_statements(role: sql.Identifier) -> Iterator[sql.Composed]:
    schemas = sql.SQL(", ").join(map(sql.Identifier, READER_SCHEMAS))
    yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schemas, role)
    yield sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schemas, role)
    yield sql.SQL("GRANT SELECT ON ALL SEQUENCES IN SCHEMA {} TO {}").format(schemas, role)


def _execute(connection: sa.Connection, statements: Iterator[sql.Composed]) -> None:
    for statement in list(statements):
        connection.exec_driver_sql(statement.as_string(), execution_options={"no_parameters": True})
