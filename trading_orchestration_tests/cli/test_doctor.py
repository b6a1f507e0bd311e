"""What `trading doctor` finds, and how it says to mend it."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trading_orchestration.cli import doctor_checks, doctor_system, probes
from trading_orchestration.cli.findings import Level
from trading_orchestration.settings import read_settings
from trading_orchestration.store.database import create_engine
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.cli.command import Trading


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free ports, and byte code as on a machine that is set up."""
    with socket.socket() as ui, socket.socket() as stream:
        for variable, probe in (("TRADING_UI_PORT", ui), ("TRADING_STREAM_PORT", stream)):
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv(variable, str(probe.getsockname()[1]))
    monkeypatch.setattr("sys.dont_write_bytecode", False)


@pytest.fixture
def dagster_database(books: Trading) -> Iterator[None]:
    """The database beside the books' own."""
    name = f"{books.url.rpartition('/')[2]}_dagster"
    with databases(books, name):
        yield


@contextmanager
def databases(books: Trading, name: str) -> Iterator[None]:
    with psycopg.connect(books.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield
    finally:
        with psycopg.connect(books.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def examined(books: Trading, code: int) -> dict[str, dict[str, Any]]:
    """The last finding of each check."""
    done = books("doctor", "--json")
    assert done.code == code, done.out
    assert done.err == ""
    return {finding["check"]: finding for finding in done.json}


@pytest.mark.usefixtures("dagster_database")
def test_a_sound_installation_has_nothing_to_mend(books: Trading) -> None:
    found = examined(books, 0)
    assert {finding["level"] for finding in found.values()} == {"ok"}
    assert {
        *("python", "byte code", "settings", "home", "calendar", "UI port", "stream port", "database"),
        *("clock", "dagster database", "schema", "prices", "account", "bars", "strategies", "halts"),
        *("breakers", "runs"),
    } <= set(found)
    assert found["bars"]["message"] == "164 of 2 symbols, 2011-11-01 to 2012-02-29"
    assert found["account"]["message"] == "PAPER-growth at paper: cash 100,000.00 USD"
    assert books("doctor").out.startswith("ok       python")


@pytest.mark.usefixtures("dagster_database")
def test_what_stands_in_the_way_of_trading_is_a_warning_with_its_mend(books: Trading) -> None:
    books("halt", "growth", "--reason", "storm")
    books.rows(
        "UPDATE scheduled_jobs SET job_status = 'error', needs_person = true, last_error = 'no key' "
        "WHERE job_type = 'price_update';"
        "INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at, "
        "lease_until) VALUES ('position_sync', 'run-7', 'schedule', '2024-07-03 14:00Z', 'started', "
        "'2024-07-03 14:00Z', '2024-07-03 14:04Z');"
        "UPDATE strategies SET last_error = 'factors[0].name was luck'"
    )
    found = examined(books, 0)
    assert {
        check: (finding["message"], finding["mend"]) for check, finding in found.items() if finding["mend"]
    } == {
        "halt": (
            found["halt"]["message"],
            "look into it, then `trading resume growth --reason …`",
        ),
        "breaker": (
            "price_update is error: no key",
            "mend the cause, then `trading jobs reset price_update --reason …`",
        ),
        "runs": (
            "run run-7 of position_sync has not ended since 2024-07-03 14:00Z",
            "the sensor job_executions closes it; start `trading up`",
        ),
        "strategy": (
            "trend of growth: factors[0].name was luck",
            "correct its file and add it under a new name",
        ),
    }
    assert found["halt"]["message"].startswith("growth since ")
    assert found["halt"]["message"].endswith(": storm")


def test_empty_books_and_a_taken_port_are_warnings(trading: Trading, monkeypatch: pytest.MonkeyPatch) -> None:
    with databases(trading, f"{trading.url.rpartition('/')[2]}_dagster"), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("TRADING_UI_PORT", str(taken.getsockname()[1]))
        monkeypatch.setattr(probes, "ANSWER_S", 0.2)
        found = examined(trading, 0)
    assert (found["bars"]["level"], found["bars"]["mend"]) == ("warning", "`trading bars import FILE`")
    assert found["UI port"]["level"] == "warning"
    assert "set TRADING_UI_PORT to another port" in found["UI port"]["mend"]


def test_missing_keys_are_named(books: Trading, monkeypatch: pytest.MonkeyPatch) -> None:
    books("portfolio", "add", "real", "--cash", 5, "--broker", "alpaca", "--account", "PA1")
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRADING_PRICE_SOURCE", "alpaca")
    found = examined(books, 1)
    assert found["prices"]["level"] == found["account"]["level"] == "error"
    assert "APCA_API_KEY_ID and APCA_API_SECRET_KEY" in found["prices"]["message"]
    assert found["account"]["message"].startswith("PA1 at alpaca: ")


def test_a_paper_account_that_is_gone_is_an_error(books: Trading) -> None:
    books.rows("UPDATE broker_accounts SET account_number = 'PAPER-other'")
    found = examined(books, 1)
    assert (found["account"]["level"], found["account"]["message"].split(":")[0]) == (
        "error",
        "PAPER-other at paper",
    )


def test_a_database_that_is_down_is_an_error_and_nothing_else_is_asked_of_it(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret-password@127.0.0.1:1/trading")
    found = examined(trading, 1)
    assert found["database"]["level"] == "error"
    assert "Connection refused" in found["database"]["message"]
    assert "correct DATABASE_URL" in found["database"]["mend"]
    assert "schema" not in found
    assert "secret-password" not in str(found)


def test_what_only_upgrade_mends_says_so(
    on_database: Callable[[str], Trading], empty_database_url: str
) -> None:
    found = examined(on_database(empty_database_url), 1)
    assert found["dagster database"]["mend"] == "run `trading db upgrade`, which creates it"
    assert "run `trading db upgrade`" in found["schema"]["message"]
    assert "bars" not in found


def test_a_home_that_cannot_be_written_is_an_error(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "file" / "home"))
    found = examined(trading, 1)
    assert found["home"]["level"] == "error"
    assert found["home"]["mend"] == "set TRADING_HOME to a folder you may write to"


def test_settings_that_cannot_be_read_end_the_examination(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_UI_PORT", "high")
    found = examined(trading, 1)
    assert "TRADING_UI_PORT" in found["settings"]["message"]
    assert list(found) == ["python", "byte code", "settings"]


@pytest.mark.parametrize(("apart_s", "level"), [(5, "warning"), (40, "error")])
def test_a_clock_that_is_wrong_is_noticed(
    books: Trading, monkeypatch: pytest.MonkeyPatch, apart_s: int, level: str
) -> None:
    late = timedelta(seconds=apart_s)
    monkeypatch.setattr(doctor_checks, "system_clock", lambda: system_clock() - late)
    done = books("doctor", "--json").json
    [clock] = [finding for finding in done if finding["check"] == "clock"]
    assert (clock["level"], clock["mend"]) == (level, "synchronise both clocks (NTP)")


def test_byte_code_that_cannot_be_kept_is_a_warning(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(doctor_checks, "_folder", lambda _package: tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    done = trading("doctor", "--json").json
    [found] = [finding for finding in done if finding["check"] == "byte code"]
    assert found["level"] == "warning"
    assert f"-m compileall -q {tmp_path}" in found["mend"]


def test_what_is_switched_off_or_old_in_market_hours_is_a_warning(
    books: Trading, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "calendars").symlink_to(read_settings().home / "calendars")
    monkeypatch.setenv("TRADING_HOME", str(tmp_path))
    at = datetime(2024, 7, 2, 15, 2, tzinfo=UTC)
    monkeypatch.setattr(doctor_system, "system_clock", lambda: at)
    books.rows(
        "UPDATE scheduled_jobs SET scheduled_since = '2024-07-01 14:00Z' WHERE job_type <> 'position_sync'; "
        "INSERT INTO quotes (symbol, price, quoted_at, received_at, source) VALUES "
        "('IBM', 170, '2024-07-02 14:30Z', '2024-07-02 14:30Z', 'stored')"
    )
    engine = create_engine(books.url, application_name="tests")
    found = {finding.check: finding for finding in doctor_system.examine_system(read_settings(), engine)}
    engine.dispose()
    assert found["schedules"].message == "switched off, and XNYS is open: position_sync"
    assert found["schedules"].mend.startswith("switch them on in the UI (Automation)")
    assert found["quotes"].message == "AAPL has no quote. IBM was last quoted at 2024-07-02 10:30."
    assert found["quotes"].mend == "see why with `trading jobs history price_update`"
    assert "daemon" not in found, "it was never up here"


def test_a_mistake_in_the_special_hours_and_a_full_disk_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calendar_home: Path
) -> None:
    (tmp_path / "hours.yaml").write_text("2024-07-05: open\n")
    monkeypatch.setenv("TRADING_HOURS_FILE", str(tmp_path / "hours.yaml"))
    monkeypatch.setenv("TRADING_HOME", str(calendar_home))
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    usage = shutil.disk_usage(tmp_path)
    for free, level in ((900_000_000, Level.WARNING), (90_000_000, Level.ERROR)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        found = {finding.check: finding for finding in doctor_checks.examine()}
        assert (found["disk"].level, found["disk"].message[:6]) == (level, f"{free / 1e9:.1f} GB")
    assert found["calendar"].message.startswith("TRADING_HOURS_FILE: hours.yaml line 1: 2024-07-05 should be")
    assert found["calendar"].mend == "correct that line; until then no job runs"
