"""Reads the file of special hours: what an exchange announced and exchange_calendars cannot know.

    2025-01-09: closed
    2026-12-04: {closed: National day of mourning}
    2026-12-24: {closes: "13:00"}
    2026-11-28: {opens: "10:00", closes: "10:40", reason: test of the new server}

Times are the exchange's, to the minute; 24:00 is the midnight that ends the day. A bound that is not given
stays as the calendar has it.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from trading_orchestration.domain.special_hours import SpecialDay
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.plain_yaml import plain_node, read_text

#: Some thousand days.
BYTES_MAX = 200_000
_CLOSED = "closed"
_KEYS = (_CLOSED, "opens", "closes", "reason")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_DAY = timedelta(days=1)


def read_hours_file(path: Path) -> list[SpecialDay]:
    """The days in the file. Raises `InvalidInputError` naming file and line of a mistake."""
    node = plain_node(read_text(path, bytes_max=BYTES_MAX, subject="a file of special hours"), path)
    if node is None:
        return []
    if not isinstance(node, MappingNode):
        raise InvalidInputError(
            f"{_where(node, path)}: the file should have one line a date, such as `2026-11-27: closed`."
        )
    return [_special_day(key, value, path) for key, value in node.value]


def _special_day(key: ScalarNode, value: Node, path: Path) -> SpecialDay:
    where = _where(key, path)
    day, said_by = _date(key.value, where), f"by {path.name}"
    if isinstance(value, ScalarNode) and value.value == _CLOSED:
        return SpecialDay(day=day, where=where, is_closed=True, reason=f"{_CLOSED} {said_by}")
    if not isinstance(value, MappingNode) or not value.value:
        raise InvalidInputError(
            f"{where}: {day} should be `closed` or have hours, such as "
            '`{opens: "09:30", closes: "13:00", reason: early close}`.'
        )
    given = {name.value: _text(name, part, path) for name, part in value.value}
    if _CLOSED in given:
        if len(given) > 1:
            raise InvalidInputError(f"{where}: {day} is closed, so that no other key has a meaning.")
        return SpecialDay(day=day, where=where, is_closed=True, reason=given[_CLOSED])
    opens, closes = (_since_midnight(given, name, where) for name in ("opens", "closes"))
    if opens is None and closes is None:
        raise InvalidInputError(f"{where}: {day} should say when it opens, when it closes, or both.")
    reason = given.get("reason", f"special hours {said_by}")
    return SpecialDay(day=day, where=where, opens=opens, closes=closes, reason=reason)


def _date(text: str, where: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidInputError(f"{where}: the key was '{text}'; it should be a date such as 2026-11-27.")


def _text(name: ScalarNode, part: Node, path: Path) -> str:
    where = _where(name, path)
    if name.value not in _KEYS:
        raise InvalidInputError(f"{where}: {name.value} is no key here; known: {', '.join(_KEYS)}.")
    if not isinstance(part, ScalarNode) or not part.value.strip():
        raise InvalidInputError(f"{where}: {name.value} should be a plain value.")
    return str(part.value)


def _since_midnight(given: Mapping[str, str], name: str, where: str) -> timedelta | None:
    if name not in given:
        return None
    found = _TIME.fullmatch(given[name])
    if found is not None and int(found[2]) < 60:
        since = timedelta(hours=int(found[1]), minutes=int(found[2]))
        if since < _DAY or (since == _DAY and name == "closes"):
            return since
    raise InvalidInputError(f"{where}: {name} was '{given[name]}'; it should be a time such as \"09:30\".")


def _where(node: Node, path: Path) -> str:
    return f"{path.name} line {node.start_mark.line + 1}"
