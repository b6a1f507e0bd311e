"""What `trading doctor` says: one finding a line, with its mend."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` is empty where nothing needs mending."""

    check: str
    level: Level
    message: str
    mend: str = ""


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, mend: str) -> Finding:
    """Something will not work as it should."""
    return Finding(check, Level.WARNING, message, mend)


def error(check: str, message: str, mend: str) -> Finding:
    """Something does not work."""
    return Finding(check, Level.ERROR, message, mend)
