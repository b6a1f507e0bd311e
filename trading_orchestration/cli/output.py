"""What a command prints: JSON that keeps its keys, or a plain table that stays narrow in a pipe.

Decimals are strings, instants ISO in UTC, and nothing else goes to stdout.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from trading_orchestration.domain.money import plain

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Row = Mapping[str, Any]

_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the key of its value, and how it is written."""

    key: str
    heading: str = ""
    write: Callable[[Any], str] | None = None

    @property
    def title(self) -> str:
        return self.heading or self.key.replace("_", " ")

    def text(self, row: Row) -> str:
        value = row[self.key]
        if value is None:
            return _NOTHING
        return " ".join((self.write or _text)(value).split())


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(json_value(value), indent=2, allow_nan=False, ensure_ascii=False))


def json_value(value: Any) -> Any:
    """The value in JSON's own types: decimals as plain strings, instants in UTC."""
    if isinstance(value, Mapping):
        return {str(key): json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in value]
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value


def print_table(rows: Sequence[Row], columns: Sequence[Column], *, empty: str) -> None:
    """A table with a heading, numbers to the right; `empty` where there are no rows."""
    if not rows:
        print(empty)
        return
    cells = [[column.title for column in columns]]
    cells += [[column.text(row) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    is_number = [_are_numbers([row[column.key] for row in rows]) for column in columns]
    for line in cells:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ]
        print("  ".join(padded).rstrip())


def show(rows: Sequence[Row], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """Rows as a person or as a program wants them; a table leaves out keys that have no column."""
    if as_json:
        print_json([dict(row) for row in rows])
    else:
        print_table(rows, columns, empty=empty)


def print_fields(row: Row, columns: Sequence[Column]) -> None:
    """One row as lines of name and value."""
    width = max(len(column.title) for column in columns)
    for column in columns:
        print(f"{column.title.ljust(width)}  {column.text(row)}")


def note(sentence: str) -> None:
    """A word to a person, beside the data."""
    print(sentence, file=sys.stderr)


def money(value: Decimal) -> str:
    """An amount to two places, with commas."""
    return f"{value:,.2f}"


def percent(value: Decimal | float) -> str:
    """A fraction as a signed percentage."""
    return f"{value:+.2%}"


def share(value: Decimal) -> str:
    """A limit as a percentage: 0.25 is 25 %."""
    return f"{plain(value * 100)} %"


def milliseconds(value: Decimal | float) -> str:
    """A duration that came in milliseconds."""
    return f"{value:,.0f} ms"


def minute(value: datetime) -> str:
    """An instant to the minute, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"


def second(value: datetime) -> str:
    """An instant to the second, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def on_or_off(value: bool) -> str:
    """A switch."""
    return "on" if value else "off"


def yes_or_no(value: bool) -> str:
    """An answer."""
    return "yes" if value else "no"


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return minute(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _are_numbers(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in known
    )
