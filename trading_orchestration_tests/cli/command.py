"""The command, run in this process or as one of its own, and the database it works on."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from trading_orchestration.cli.app import main
from trading_orchestration.store.database import create_engine

STRATEGY = """\
name: {name}
universe: [{universe}]
factors:
  - name: momentum
    parameters: {{lookback: 5, saturation: 0.05}}
buy_threshold: 0.2
sell_threshold: -0.2
sizing: {{percent: 20}}
"""


@dataclass(frozen=True)
class Ran:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What is on stdout, all of it."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on stderr; nothing may be on stdout."""
        assert self.out == ""
        assert re.fullmatch(r"trading: [^\n]+\n", self.err), self.err
        return self.err.removeprefix("trading: ").rstrip("\n")


@dataclass(frozen=True)
class Trading:
    """`trading` on the database of `url`, which `DATABASE_URL` names already."""

    url: str
    capture: pytest.CaptureFixture[str] | None = None

    def __call__(self, *arguments: object) -> Ran:
        assert self.capture is not None
        self.capture.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = self.capture.readouterr()
        return Ran(code, out, err)

    def rows(self, statement: str) -> list[Any]:
        """Run one statement in the database and answer its rows, if any."""
        engine = create_engine(self.url, application_name="tests")
        try:
            with engine.begin() as connection:
                done = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
                return list(done.all()) if done.returns_rows else []
        finally:
            engine.dispose()

    def contents(self) -> dict[str, str]:
        """A fingerprint of every table."""
        tables = self.rows(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname IN ('public', 'paper') ORDER BY 1"
        )
        each = (
            f"SELECT '{table}', md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t"
            for (table,) in tables
        )
        return dict(map(tuple, self.rows(" UNION ALL ".join(each))))

    @property
    def replay_prefix(self) -> str:
        """How the names of the databases of these books' replays begin."""
        return f"{(sa.make_url(self.url).database or '')[:36]}_replay_"

    def replay_databases(self) -> list[str]:
        """The databases of replays of these books."""
        found = self.rows("SELECT datname FROM pg_database ORDER BY 1")
        return [name for (name,) in found if name.startswith(self.replay_prefix)]

    def url_of(self, database: str) -> str:
        """Another database on the same server."""
        return sa.make_url(self.url).set(database=database).render_as_string(hide_password=False)


@contextmanager
def without_replays(books: Trading) -> Iterator[None]:
    """Drops the databases that replays of these books leave."""
    try:
        yield
    finally:
        with psycopg.connect(books.url, autocommit=True) as connection:
            for name in books.replay_databases():
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def start_process(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`trading` as a process of its own, for what signals do to it."""
    return subprocess.Popen(
        [sys.executable, "-m", "trading_orchestration.cli.app", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
