import json
from pathlib import Path

import pytest

from trading_orchestration.cli import process_logs
from trading_orchestration.cli.process_logs import ProcessLogs, json_line, log_records

DAGSTERS = (
    "\x1b[32m2026-11-25 13:11:40 -0500\x1b[0m - dagster.daemon - \x1b[34mINFO\x1b[0m - Checking: a - b\n"
    "2026-11-25 18:11:41 +0000 - dagster.code_server - ERROR - It failed\n"
    "Traceback (most recent call last):\n\n"
    "ValueError: no\n"
)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_dagsters_lines_become_records_in_utc_with_their_tracebacks() -> None:
    assert list(log_records(DAGSTERS)) == [
        {
            "at": "2026-11-25T18:11:40.000Z",
            "level": "info",
            "logger": "dagster.daemon",
            "message": "Checking: a - b",
        },
        {
            "at": "2026-11-25T18:11:41.000Z",
            "level": "error",
            "logger": "dagster.code_server",
            "message": "It failed\nTraceback (most recent call last):\n\nValueError: no",
        },
    ]


def test_other_lines_are_records_without_a_level_of_their_own() -> None:
    line = json.loads(json_line(process="stream", **next(log_records("Prices at ws://127.0.0.1:1\n"))))
    assert (line["process"], line["level"], line["message"]) == (
        "stream",
        "info",
        "Prices at ws://127.0.0.1:1",
    )
    assert line["at"].endswith("Z")


def test_only_what_is_new_is_passed_on_and_whole_lines_of_it(tmp_path: Path) -> None:
    lines: list[str] = []
    append(tmp_path / "daemon.log", "of yesterday\n")
    logs = ProcessLogs(tmp_path, lines.append)
    path = logs.path("daemon")
    append(path, "first\nsec")
    logs.look_after()
    append(path, "ond\n")
    logs.look_after()
    logs.look_after()
    assert [json.loads(line)["message"] for line in lines] == ["first", "second"]


def test_a_large_file_is_put_away_and_its_process_goes_on_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_logs, "FILE_BYTES_MAX", 100)
    lines: list[str] = []
    logs = ProcessLogs(tmp_path, lines.append)
    with logs.path("daemon").open("ab", buffering=0) as log:
        for number in range(6):
            log.write(f"{number}".encode() * 100 + b"\n")
            logs.look_after()
        log.write(b"after\n")
        logs.look_after()
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {
        "daemon.log": "a",
        "daemon.log.1": "5",
        "daemon.log.2": "4",
        "daemon.log.3": "3",
    }
    assert [json.loads(line)["message"][0] for line in lines] == [*"012345", "a"]
