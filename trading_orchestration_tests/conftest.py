"""What every test may ask for: a PostgreSQL server, a fresh migrated database on it, an engine.

One server serves the whole run, all xdist workers included: the one of `DATABASE_URL` when that is set, else
an embedded one in a temporary folder. A database is made from a template that was migrated once.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import settings
from psycopg import sql

from trading_orchestration.store import embedded_postgres, migrations
from trading_orchestration.store.database import create_engine
from trading_orchestration.store.postgres_folder import open_lock

NewDatabase = Callable[[str], AbstractContextManager[str]]

# Set by the process that starts the run and inherited by its workers.
RUN_HOME = "TRADING_TESTS_HOME"
MEMORY_BYTES_MIN = 2 * 1024**3

settings.register_profile("trading", deadline=None, database=None, derandomize="CI" in os.environ)
settings.load_profile("trading")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[RUN_HOME] = tempfile.mkdtemp(prefix="trading-tests-", dir=_memory())


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    home = Path(os.environ.pop(RUN_HOME))
    if (home / "given-server").exists():
        _drop_database((home / "given-server").read_text(), _template_name(home))
    embedded_postgres.stop(home)
    shutil.rmtree(home)


def _memory() -> str | None:
    # A database is made of hundreds of files: on a disk each test would wait for them.
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MEMORY_BYTES_MIN
    return str(memory) if has_room else None


@pytest.fixture
def trading_home() -> Iterator[Path]:
    """A `TRADING_HOME` that does not exist yet; a server that a test starts in it is stopped at the end."""
    home = Path(os.environ[RUN_HOME]) / f"home-{uuid4().hex}"
    yield home
    embedded_postgres.stop(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A database of the test run's server in which nothing is ever changed, for `CREATE DATABASE`."""
    home = Path(os.environ[RUN_HOME])
    if given := os.environ.get("DATABASE_URL"):
        (home / "given-server").write_text(given)
        yield given
        return
    with embedded_postgres.use(home) as server:
        # Nothing in it outlives the run.
        _execute(server.trading_url, sql.SQL("ALTER SYSTEM SET fsync = off").format())
        _execute(server.trading_url, sql.SQL("SELECT pg_reload_conf()").format())
        yield server.trading_url


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """The name of a migrated database, made by the first worker that needs it; copy it, never open it."""
    home = Path(os.environ[RUN_HOME])
    name, done = _template_name(home), home / "template-is-migrated"
    with _locked(home / "template.lock"):
        if not done.exists():
            _execute(
                server_url, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            )
            engine = create_engine(_with_database(server_url, name), application_name="tests")
            migrations.upgrade(engine)
            engine.dispose()
            done.touch()
    return name


@pytest.fixture(scope="session")
def new_database(server_url: str) -> NewDatabase:
    """`with new_database(template) as url`: a copy of a database, dropped at the end; for wider scopes."""
    return partial(_new_database, server_url)


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database without any table, dropped after the test."""
    with _new_database(server_url, "template0") as url:
        yield url


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A migrated database of the test's own, dropped after it."""
    with _new_database(server_url, template) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on `database_url`."""
    engine = create_engine(database_url, application_name="tests")
    yield engine
    engine.dispose()


@contextmanager
def _new_database(server_url: str, template: str) -> Iterator[str]:
    name = f"trading_test_{uuid4().hex}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    _execute(server_url, statement.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield _with_database(server_url, name)
    finally:
        _drop_database(server_url, name)


def _drop_database(server_url: str, name: str) -> None:
    _execute(server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _with_database(url: str, name: str) -> str:
    return sa.make_url(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def _template_name(home: Path) -> str:
    return f"trading_test_template_{home.name.rpartition('-')[2]}".lower()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
