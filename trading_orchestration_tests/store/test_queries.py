"""Every named query is one PostgreSQL can plan against the schema, and binds what it names."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.dialects import postgresql

from trading_orchestration.store import database

NUMBERED = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
NAMES = sorted(database._queries())
#: They are executed instead.
NOT_PREPARED = ("keep_bars_as_they_are", "replay_analyze")


@pytest.fixture(scope="module")
def planner(
    new_database: Callable[[str], AbstractContextManager[str]], template: str
) -> Iterator[psycopg.Connection]:
    """A connection on a migrated database with the temporary tables that batches are copied into."""
    with new_database(template) as url, psycopg.connect(url) as connection:
        for name in NAMES:
            if name.startswith("create_incoming_"):
                connection.execute(database.query(name).text.encode())
        yield connection


@pytest.mark.parametrize("name", NAMES)
def test_postgresql_can_prepare(planner: psycopg.Connection, name: str) -> None:
    numbered = str(database.query(name).compile(dialect=NUMBERED))
    with planner.transaction(force_rollback=True):
        if name in NOT_PREPARED:
            planner.execute(numbered.encode())
        elif not name.startswith("create_incoming_"):
            planner.execute(f"PREPARE under_test AS {numbered}".encode())
            planner.execute("DEALLOCATE under_test")


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_cast_in_the_way_that_binds_nothing(name: str) -> None:
    """SQLAlchemy reads `:x::int` as text, not as the parameter x."""
    assert not re.search(r":\w+::", database.query(name).text)


def test_every_query_is_used() -> None:
    """By its name, or by the beginning of its name where a table completes it."""
    package = Path(database.__file__).parents[1]
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    beginnings = tuple(re.findall(r'(?:query|run)\([^"]*f"(\w+)\{', code))
    unused = [name for name in NAMES if f'"{name}"' not in code and not name.startswith(beginnings or "\n")]
    assert unused == []
