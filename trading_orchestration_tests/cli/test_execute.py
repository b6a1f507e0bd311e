"""`trading exec` and `trading stream`: programs that run while the database is held."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from trading_orchestration_tests.cli.command import Trading, start_process

PRINT_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"
END_SLOWLY = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
    "print('ready', flush=True)\n"
    "time.sleep(30)\n"
)


def test_a_program_finds_dagsters_environment_and_the_tools_beside_this_one(books: Trading) -> None:
    done = books("exec", "--", sys.executable, "-c", PRINT_ENVIRONMENT)
    assert (done.code, done.err) == (0, "")
    environment = json.loads(done.out)
    home = Path(os.environ["TRADING_HOME"])
    assert environment["DAGSTER_HOME"] == str(home / "dagster")
    assert environment["TRADING_HOME"] == str(home)
    assert environment["DAGSTER_POSTGRES_URL"].startswith("postgresql+psycopg2://")
    assert environment["DAGSTER_POSTGRES_URL"].endswith("_dagster")
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert os.environ.get("DAGSTER_HOME") != environment["DAGSTER_HOME"]


@pytest.mark.parametrize(("program", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)])
def test_it_ends_with_the_programs_exit_code(books: Trading, program: str, code: int) -> None:
    assert books("exec", "--", "sh", "-c", program).code == code


def test_options_of_the_program_are_its_own(books: Trading) -> None:
    assert books("exec", "echo", "--json", "-h").out == "--json -h\n"


@pytest.mark.usefixtures("books")
def test_a_signal_is_passed_on_and_the_end_of_the_program_waited_for() -> None:
    process = start_process("exec", "--", sys.executable, "-c", END_SLOWLY)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 5


def test_the_embedded_database_is_held_while_the_program_runs(
    trading: Trading, trading_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("TRADING_HOME", str(trading_home))
    code = (
        "import os, time, psycopg\n"
        "url = os.environ['DAGSTER_POSTGRES_URL'].replace('+psycopg2', '')\n"
        "time.sleep(3)\n"
        "print(psycopg.connect(url).execute('SELECT 1').fetchone())\n"
    )
    assert trading("exec", "--", sys.executable, "-c", code).out == "(1,)\n"


@pytest.mark.usefixtures("books")
def test_the_stream_says_where_it_listens_and_ends_without_a_word() -> None:
    process = start_process("stream", "--port", 0)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Prices at ws://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
