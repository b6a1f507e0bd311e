"""Canaries in the place of every secret: whatever goes well or wrong, they are written down nowhere."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from trading_orchestration.domain.job import JobType
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.conftest import NewDatabase

ROOT = Path(__file__).parents[2]
RUNS = "trading_orchestration_tests.faults.secret_runs"
#: The parts that are in no other word, as they must not be found.
CANARIES = {
    "APCA_API_KEY_ID": "PKCANARYKEYID0001",
    "APCA_API_SECRET_KEY": "canarysecretkey+/0002",
    "FMP_API_KEY": "canaryfmpkey0003",
    "password": "canary:password@0004",
    "channel": "canarychanneltoken0005",
}


@dataclass(frozen=True)
class Place:
    """An installation whose secrets are the canaries."""

    home: Path
    urls: tuple[str, str]
    environment: Mapping[str, str]

    def run(self, *command: object, **more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, command)],
            cwd=ROOT,
            env={**self.environment, **more},
            capture_output=True,
            check=False,
            timeout=120,
        )

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every table of both databases and every file of the home, by name."""
        for number, url in enumerate(self.urls):
            with psycopg.connect(url) as connection:
                for schema, table in connection.execute(_TABLES).fetchall():
                    statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, table))
                    with connection.cursor().copy(statement) as copy:
                        yield f"database {number}: {schema}.{table}", b"".join(copy)
        for path in self.home.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()


_TABLES = (
    "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
)


def forms() -> list[bytes]:
    """The canaries as they are, as a URL has them, and as bytes columns and headers have them."""
    found = set[bytes]()
    for value in CANARIES.values():
        plain = value.encode()
        found |= {plain, quote(value, safe="").encode(), plain.hex().encode(), base64.b64encode(plain)}
    return sorted(found)


def leaks(name: str, content: bytes) -> list[str]:
    return [f"{form.decode()} is in {name}" for form in forms() if form in content]


@pytest.fixture
def place(server_url: str, template: str, new_database: NewDatabase, tmp_path: Path) -> Iterator[Place]:
    """Two databases that a role opens whose password is a canary."""
    role, home = f"canary_{uuid4().hex}", tmp_path / "home"
    load_calendar("XNYS", today=system_clock().date(), cache_directory=home / "calendars")
    with psycopg.connect(server_url, autocommit=True) as connection:
        name, password = sql.Identifier(role), sql.Literal(CANARIES["password"])
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(name, password))
        try:
            with new_database(template) as trading, new_database("template0") as dagster:
                yield Place(home, (trading, dagster), _environment(home, role, trading, dagster))
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
    shutil.rmtree(home)


def _environment(home: Path, role: str, trading: str, dagster: str) -> dict[str, str]:
    def with_canary(url: str) -> str:
        opened = sa.make_url(url).set(username=role, password=CANARIES["password"])
        return opened.render_as_string(hide_password=False)

    keys = {name: value for name, value in CANARIES.items() if name.isupper()}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TRADING_HOME": str(home),
        "TRADING_DEBUG": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": with_canary(trading),
        "DAGSTER_DATABASE_URL": with_canary(dagster),
        **keys,
    }


def commands(place: Place) -> Iterator[tuple[bytes, bytes]]:
    """What the command says where all is well, where no database answers, and where settings are wrong."""
    right = sa.make_url(place.environment["DATABASE_URL"])
    closed = right.set(port=1).render_as_string(hide_password=False)
    unknown = right.set(database="nowhere").render_as_string(hide_password=False)
    denied = right.set(username="nobody").render_as_string(hide_password=False)
    cli = "trading_orchestration.cli.app"
    for arguments, more in (
        (["doctor"], {"TRADING_NOTIFY_URLS": f"phone=nosuch://{CANARIES['channel']}"}),
        (["notify", "test"], {"TRADING_NOTIFY_URLS": f"phone=json://127.0.0.1:1/{CANARIES['channel']}"}),
        (["trades"], {"DATABASE_URL": closed}),
        (["doctor"], {"DATABASE_URL": denied}),
        (["trades"], {"DATABASE_URL": unknown}),
        (["trades"], {"DATABASE_URL": f"nothing://{CANARIES['password']}"}),
        (["doctor"], {"TRADING_UI_PORT": "none", "APCA_API_BASE_URL": "http://example.com"}),
    ):
        done = place.run(cli, *arguments, **more)
        yield done.stdout, done.stderr


def test_no_secret_is_written_down_however_runs_and_commands_end(place: Place):
    done = place.run(RUNS)
    outcomes = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert [f"well alpaca {job} succeeded" for job in JobType] == [
        line for line in outcomes if line.startswith("well alpaca")
    ]
    assert "well fmp price_update succeeded" in outcomes
    for fault in ("401", "html", "unreadable", "closed"):
        for failing in ("alpaca order_status_check", "alpaca position_sync", "fmp price_update"):
            assert f"{fault} {failing} failed" in outcomes
    said = [done.stdout, done.stderr, *(text for both in commands(place) for text in both)]
    found = [leak for text in said for leak in leaks(f"output: {text.decode()[-2000:]}", text)]
    found += [leak for name, content in place.everything() for leak in leaks(name, content)]
    assert found == []


def test_a_secret_that_were_written_down_would_be_found(place: Place):
    with psycopg.connect(place.urls[0]) as connection:
        connection.execute(
            "INSERT INTO notifications (severity, kind, title, dedupe_key, occurred_at) "
            "VALUES ('info', 'test', %s, 'x', now())",
            [f"key {CANARIES['FMP_API_KEY']}"],
        )
    (place.home / "some.log").write_text(f"password={CANARIES['password']}")
    found = {name for name, content in place.everything() if leaks(name, content)}
    assert found == {"database 0: public.notifications", str(place.home / "some.log")}
