"""Migrations: applied once, in order, never edited."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from trading_orchestration.errors import DatabaseUnavailableError, SchemaError
from trading_orchestration.store import migrations
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.migrations import Migration

ONE = Migration(
    1, "one", "CREATE TABLE one (id int); INSERT INTO one VALUES (1); SELECT '100 %s' AS percent;"
)
TWO = Migration(2, "two", "ALTER TABLE one ADD COLUMN two text DEFAULT 'a:b';")


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[sa.Engine]:
    """An engine on a database without any table."""
    engine = create_engine(empty_database_url, application_name="tests")
    yield engine
    engine.dispose()


def tables(engine: sa.Engine) -> set[str]:
    with transaction(engine) as connection:
        return set(sa.inspect(connection).get_table_names())


def test_an_upgrade_applies_what_is_missing_in_order_and_a_second_one_nothing(empty: sa.Engine) -> None:
    assert migrations.upgrade(empty, [ONE]) == ["0001_one.sql"]
    assert migrations.upgrade(empty, [ONE, TWO]) == ["0002_two.sql"]
    assert migrations.upgrade(empty, [ONE, TWO]) == []
    with transaction(empty) as connection:
        assert connection.execute(sa.text("SELECT id, two FROM one")).all() == [(1, "a:b")]
        recorded = connection.execute(
            sa.text("SELECT version, name, checksum, applied_at <= now() FROM schema_migrations ORDER BY 1")
        )
        assert recorded.all() == [(1, "one", ONE.checksum, True), (2, "two", TWO.checksum, True)]


def test_a_file_that_fails_changes_nothing_and_keeps_the_ones_before(empty: sa.Engine) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(SchemaError, match=r"0002_broken\.sql failed.*division by zero"):
        migrations.upgrade(empty, [ONE, broken])
    assert tables(empty) == {"one", "schema_migrations"}
    assert migrations.upgrade(empty, [ONE, TWO]) == ["0002_two.sql"]


def test_an_edited_file_is_refused_by_name(empty: sa.Engine) -> None:
    migrations.upgrade(empty, [ONE, TWO])
    with pytest.raises(SchemaError, match=r"0001_one\.sql was edited"):
        migrations.upgrade(empty, [replace(ONE, sql=ONE.sql + " "), TWO])


def test_line_ends_are_not_an_edit() -> None:
    unix, windows = (
        Migration(1, "one", "SELECT 1;\nSELECT 2;\n"),
        Migration(1, "one", "SELECT 1;\r\nSELECT 2;\r\n"),
    )
    assert unix.checksum == windows.checksum
    assert unix.checksum != replace(unix, sql="SELECT 1;\nSELECT 3;\n").checksum


def test_a_database_newer_than_the_code_is_refused(empty: sa.Engine) -> None:
    migrations.upgrade(empty, [ONE, TWO])
    with pytest.raises(SchemaError, match=r"has migration 0002_two, but this code ends at 0001"):
        migrations.upgrade(empty, [ONE])


def test_a_gap_in_the_record_is_refused(empty: sa.Engine) -> None:
    migrations.upgrade(empty, [ONE, TWO])
    with transaction(empty) as connection:
        connection.execute(sa.text("DELETE FROM schema_migrations WHERE version = 1"))
    with pytest.raises(SchemaError, match=r"0002_two\.sql but not number 0001"):
        migrations.upgrade(empty, [ONE, TWO])


def test_upgrades_at_the_same_time_apply_each_file_once(empty: sa.Engine) -> None:
    slow = Migration(1, "slow", "SELECT pg_sleep(0.2); CREATE TABLE slow (id int);")
    results = list[list[str]]()
    upgrades = [
        threading.Thread(
            target=lambda: results.append(migrations.upgrade(empty, [slow, replace(TWO, sql="")]))
        )
        for _ in range(3)
    ]
    for upgrade in upgrades:
        upgrade.start()
    for upgrade in upgrades:
        upgrade.join()
    assert sorted(name for names in results for name in names) == ["0001_slow.sql", "0002_two.sql"]


def test_check_says_what_to_run_when_the_database_is_behind(empty: sa.Engine) -> None:
    with pytest.raises(SchemaError, match="`trading db upgrade`"):
        migrations.check(empty)
    migrations.upgrade(empty)
    migrations.check(empty)


def test_check_without_a_server_is_about_the_server() -> None:
    engine = create_engine("postgresql://me@127.0.0.1:1/books", application_name="tests")
    with pytest.raises(DatabaseUnavailableError):
        migrations.check(engine)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (["0001_one.sql", "0003_three.sql"], r"0003_three\.sql where number 0002"),
        (["0001_one.sql", "0001_uno.sql"], r"0001_uno\.sql where number 0002"),
        (["1_one.sql"], r"1_one\.sql is not named"),
        (["0001_One.sql"], r"0001_One\.sql is not named"),
    ],
)
def test_files_are_numbered_without_a_gap(tmp_path: Path, files: list[str], complaint: str) -> None:
    for name in files:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(SchemaError, match=complaint):
        migrations.read_migrations(tmp_path)


NEEDS_18 = "pg_dump's words differ between versions of the server; schema.sql is PostgreSQL 18's"


def skip_unless_18(url: str) -> None:
    with psycopg.connect(url) as connection:
        if connection.info.server_version // 10_000 != 18:
            pytest.skip(NEEDS_18)


def schema_file() -> str:
    return (resources.files("trading_orchestration.sql") / "schema.sql").read_text(encoding="utf-8")


def test_schema_sql_is_what_the_migrations_make(database_url: str) -> None:
    """When it fails: `python -m trading_orchestration.store.migrations dump`."""
    skip_unless_18(database_url)
    assert migrations.dump_schema(database_url) == schema_file()


def test_schema_sql_can_be_loaded(empty_database_url: str) -> None:
    skip_unless_18(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(schema_file().encode())
    assert migrations.dump_schema(empty_database_url) == schema_file()


def test_a_dump_of_a_missing_database_says_so(database_url: str) -> None:
    url = sa.make_url(database_url).set(database="no_such_database").render_as_string(hide_password=False)
    with pytest.raises(SchemaError, match="no_such_database"):
        migrations.dump_schema(url)


def test_an_unknown_command_is_refused_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert migrations.main([]) == 2
    assert "dump" in capsys.readouterr().err
