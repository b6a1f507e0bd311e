"""How the command ends: exit codes, one line on stderr, no secret, and nothing loaded in vain."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trading_orchestration.cli.halt import Level
from trading_orchestration.cli.redaction import SHORTEST_SECRET
from trading_orchestration.errors import BrokerUnavailableError, DatabaseUnavailableError
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.cli.command import Trading, start_process


def test_help_loads_nothing_heavy() -> None:
    heavy = ("dagster", "pandas", "numpy", "sqlalchemy", "psycopg", "pydantic", "rich", "tqdm", "websockets")
    code = (
        "import sys; from trading_orchestration.cli.app import main; main(['--help']); "
        f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"
    assert "portfolio" in done.stdout


def test_the_version_is_that_of_the_package(trading: Trading) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert trading("--version").out == f"trading {project['version']}\n"


@pytest.mark.parametrize("group", ["", "db", "bars", "portfolio", "strategy", "alert"])
def test_a_group_without_a_command_shows_its_help_and_is_wrong_usage(trading: Trading, group: str) -> None:
    done = trading(*group.split())
    assert done.code == 2
    assert f"Usage: trading {group}".rstrip() in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'. See `trading --help`."),
        (["portfolio", "add"], "Missing argument 'name'. See `trading portfolio add --help`."),
        (
            ["trades", "--limit", "0"],
            "Input should be greater than or equal to 1. See `trading trades --help`.",
        ),
        (["jobs", "history", "lunch"], "'lunch' is not one of 'strategy_execution'"),
        (["trades", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_wrong_usage_is_one_line_with_the_way_to_help(
    trading: Trading, arguments: list[str], said: str
) -> None:
    done = trading(*arguments)
    assert done.code == 2
    assert said in done.error


def test_an_error_that_nobody_expected_is_one_line_without_a_traceback(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("first\nsecond")

    monkeypatch.setattr("trading_orchestration.store.portfolios.read_portfolios", broken)
    done = trading("portfolio", "list")
    assert done.code == 1
    assert done.error.startswith("Unexpected KeyError: 'first")


def test_debug_shows_where_an_error_came_from(trading: Trading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_DEBUG", "1")
    done = trading("portfolio", "show", "nobody")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.endswith("trading: There is no portfolio named 'nobody'; there are: none yet.\n")


@pytest.mark.parametrize("is_debugging", ["0", "1"])
def test_no_secret_of_the_settings_is_in_a_message(
    trading: Trading, monkeypatch: pytest.MonkeyPatch, is_debugging: str
) -> None:
    secrets = {
        "APCA_API_KEY_ID": "PKCANARYCANARY",
        "APCA_API_SECRET_KEY": "canary-secret-key",
        "FMP_API_KEY": "canary-fmp-key",
        "DATABASE_URL": "postgresql://me:canary%2Fpassword@127.0.0.1:1/trading",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRADING_DEBUG", is_debugging)

    def leak(*_: object) -> None:
        raise BrokerUnavailableError(f"said {' '.join(secrets.values())} canary/password")

    monkeypatch.setattr("trading_orchestration.store.installed.derive_dagster_url", leak)
    done = trading("db", "url")
    assert done.code == 1
    assert "said *** *** *** *** ***\n" in done.err
    assert "canary" not in done.err.lower()


def test_an_error_with_the_end_of_a_log_is_told_by_its_first_line(
    trading: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DatabaseUnavailableError("It stopped. The end of its log (/x/log):\n  FATAL: no space")

    monkeypatch.setattr("trading_orchestration.store.installed.derive_dagster_url", fail)
    done = trading("db", "url")
    assert (done.code, done.error) == (1, "It stopped. The end of its log (/x/log)")


def test_a_reader_that_has_seen_enough_is_no_error(trading: Trading) -> None:
    trading("portfolio", "add", "growth", "--cash", "1000")
    command = f"{sys.executable} -m trading_orchestration.cli.app portfolio show growth --json | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_module_runs_as_the_command_does(database_url: str, calendar_home: Path) -> None:
    process = start_process("trades", "--json", DATABASE_URL=database_url, TRADING_HOME=str(calendar_home))
    assert process.communicate(timeout=60) == ("[]\n", "")
    assert process.returncode == 0


def test_levels_of_a_halt_are_those_that_are_stored() -> None:
    assert [level.value for level in Level] == [level.value for level in HaltLevel]


def test_short_secrets_do_not_mangle_messages(trading: Trading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "portfol"[: SHORTEST_SECRET - 1])
    assert "portfolio" in trading("portfolio", "show", "nobody").error
