"""The logs of the processes: a file each, bounded, and on wish one JSON object a line of all of them.

Processes write to their files themselves, so that none depends on whoever reads.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from trading_orchestration.wiring import system_clock

FILE_BYTES_MAX = 10_000_000
FILES_KEPT = 3
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: `2026-11-25 18:11:40 +0000 - dagster.code_server - INFO - …`, as Dagster writes.
_DAGSTER_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}) - (\S+) - ([A-Z]+) - (.*)", re.DOTALL)


@dataclass(slots=True)
class ProcessLogs:
    """The log files in a folder. `write`, where given, gets what is new in them as JSON, a record a line."""

    folder: Path
    write: Callable[[str], None] | None = None
    _read_to: dict[str, int] = field(default_factory=dict, init=False)

    def path(self, name: str) -> Path:
        """The file that a process appends to; what is in it already is not new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.log"
        if name not in self._read_to:
            self._read_to[name] = path.stat().st_size if path.exists() else 0
        return path

    def look_after(self) -> None:
        """Pass on what is new, and put away what has grown too large."""
        for name in list(self._read_to):
            self._pass_on(name)
            path = self.path(name)
            if path.exists() and path.stat().st_size > FILE_BYTES_MAX:
                self._put_away(name, path)

    def _pass_on(self, name: str) -> None:
        path = self.path(name)
        if self.write is None or not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read_to[name])
            new = file.read()
        whole = new.rfind(b"\n") + 1
        self._read_to[name] += whole
        for record in log_records(new[:whole].decode("utf-8", errors="replace")):
            self.write(json_line(process=name, **record))

    def _put_away(self, name: str, path: Path) -> None:
        """Copied and emptied rather than renamed: its process goes on appending to the same file."""
        for number in range(FILES_KEPT - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate()
        self._read_to[name] = 0


def log_records(text: str) -> Iterator[dict[str, str]]:
    """The records in the lines of a log; what begins none, such as a traceback, belongs to the one before."""
    lines: list[str] = []
    for line in _COLOUR.sub("", text).splitlines():
        if lines and _DAGSTER_LINE.match(line):
            yield _record("\n".join(lines))
            lines = []
        if line.strip() or lines:
            lines.append(line)
    if lines:
        yield _record("\n".join(lines))


def json_line(*, process: str, message: str, level: str = "info", at: str | None = None, **more: str) -> str:
    """One record as one line of JSON; `at` is ISO in UTC, by default now."""
    at = at or _utc(system_clock())
    return json.dumps(
        {"at": at, "process": process, "level": level, **more, "message": message}, ensure_ascii=False
    )


def _record(text: str) -> dict[str, str]:
    found = _DAGSTER_LINE.fullmatch(text.rstrip())
    if found is None:
        return {"message": text.rstrip()}
    at, logger, level, message = found.groups()
    written_at = datetime.strptime(at, "%Y-%m-%d %H:%M:%S %z")
    return {"at": _utc(written_at), "level": level.lower(), "logger": logger, "message": message}


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
