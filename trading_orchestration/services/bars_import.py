"""Bars from a CSV file, all or nothing: `symbol,timestamp,open,high,low,close,volume`.

A date is a daily bar, which spans its session; an ISO instant with an offset is the start of a minute bar.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.money import parse_amount
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import prices
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.prices import SavedBars

COLUMNS = ("symbol", "timestamp", "open", "high", "low", "close", "volume")
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,15}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MINUTE = timedelta(minutes=1)


def import_bars(path: Path, *, begin: Begin, calendar: MarketCalendar, now: datetime) -> SavedBars:
    """Take over a file of bars (plain or .gz); the same file again changes nothing.

    Raises InvalidInputError naming the line and the reason of the first bad row; nothing is taken over then.
    """
    reader = _BarReader(path.name, calendar, now)
    with begin() as connection, _opened(path) as file:
        return prices.save_bars(connection, reader.read(file))


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="")
        ) as file:
            yield file
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path} cannot be read: {reason}.") from None


@dataclass(frozen=True, slots=True)
class _BarReader:
    name: str
    calendar: MarketCalendar
    now: datetime

    def read(self, file: IO[str]) -> Iterator[Bar]:
        """Bars in the order of the file."""
        rows = csv.DictReader(file, strict=True)
        seen: dict[tuple[str, datetime], int] = {}
        try:
            self._check_header(rows.fieldnames or ())
            for row in rows:
                yield self._checked(row, rows.line_num, seen)
        except csv.Error as error:
            raise InvalidInputError(f"{self.name} line {max(1, rows.line_num)}: {error}.") from None

    def _check_header(self, names: Sequence[str]) -> None:
        if tuple(names) != COLUMNS:
            raise InvalidInputError(
                f"{self.name} line 1: the header was '{','.join(names)}'; it must be '{','.join(COLUMNS)}'."
            )

    def _checked(
        self, row: Mapping[str | None, str | None], line: int, seen: dict[tuple[str, datetime], int]
    ) -> Bar:
        try:
            bar = self._bar(_fields(row))
        except InvalidInputError as error:
            raise InvalidInputError(f"{self.name} line {line}: {str(error).rstrip('.')}.") from None
        first = seen.setdefault((bar.symbol, bar.starts_at), line)
        if first != line:
            raise InvalidInputError(f"{self.name} line {line}: repeats {bar.symbol} of line {first}.")
        return bar

    def _bar(self, row: Mapping[str, str]) -> Bar:
        if not _SYMBOL.fullmatch(row["symbol"]):
            raise InvalidInputError(f"symbol was '{row['symbol']}', which is no symbol in upper case")
        session, timeframe, starts_at, ends_at = self._span(row["timestamp"])
        if ends_at > self.now:
            raise InvalidInputError(f"timestamp was {row['timestamp']}, and that bar is not complete yet")
        return Bar(
            symbol=row["symbol"],
            timeframe=timeframe,
            session=session.date,
            starts_at=starts_at,
            ends_at=ends_at,
            source=self.name[:64],
            **_prices(row),
        )

    def _span(self, text: str) -> tuple[Session, Timeframe, datetime, datetime]:
        if _DATE.fullmatch(text):
            session = self.calendar.session(_date(text))
            return session, Timeframe.DAY, session.opens_at, session.closes_at
        starts_at = _instant(text)
        found = self.calendar.session_at(starts_at)
        if found is None or not any(start <= starts_at < end for start, end in found.spans):
            raise InvalidInputError(f"timestamp was {text}, when {self.calendar.name} is closed")
        return found, Timeframe.MINUTE, starts_at, starts_at + _MINUTE


def _fields(row: Mapping[str | None, str | None]) -> dict[str, str]:
    if None in row or None in row.values():
        raise InvalidInputError(f"it does not have the {len(COLUMNS)} fields of the header")
    return {str(name): str(value).strip() for name, value in row.items()}


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"timestamp was '{text}', which is no date") from None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None or instant.second or instant.microsecond:
        raise InvalidInputError(
            f"timestamp was '{text}'; a daily bar takes a date such as 2024-07-03, a minute bar the instant "
            "it starts, such as 2024-07-03T09:30:00-04:00"
        )
    return instant.astimezone(UTC)


def _prices(row: Mapping[str, str]) -> dict[str, Decimal]:
    values = {name: parse_amount(row[name], what=name) for name in COLUMNS[2:]}
    for name in ("open", "high", "low", "close"):
        if values[name] <= 0:
            raise InvalidInputError(f"{name} was {row[name]}; a price is above 0")
    if values["volume"] < 0:
        raise InvalidInputError(f"volume was {row['volume']}; it is 0 or more")
    if values["high"] < values["low"]:
        raise InvalidInputError(f"high was {row['high']}, which is below the low of {row['low']}")
    for name in ("open", "close"):
        if not values["low"] <= values[name] <= values["high"]:
            raise InvalidInputError(
                f"{name} was {row[name]}, which is not between low {row['low']} and high {row['high']}"
            )
    return values
