"""Loads an exchange's sessions from the exchange_calendars package, through a small file.

Building a calendar imports pandas and takes most of a second; a run that lasts two must not pay for that. The
sessions are therefore kept in a file that belongs to one version of the package and one range of years. It is
only ever a saving: without it, or with one that is not whole, the calendar is built again.
"""

import json
import logging
import os
import re
import tempfile
import warnings
from datetime import UTC, date, datetime
from difflib import get_close_matches
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.errors import InvalidInputError, SettingsError

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

FIRST_DATE = date(2000, 1, 1)
#: The calendar reaches to the end of the year after the next, so that it needs no rebuilding within a year.
YEARS_AHEAD = 2

_FORMAT = 1
_PACKAGE = "exchange_calendars"
_NANOSECONDS = 10**9
_DAY_S = 86_400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_log = logging.getLogger(__name__)

#: A calendar as JSON, small and quick to read: `days` count from 1970; `opens` and `closes` are seconds from
#: midnight (UTC) of their day; `early_closes` are days; `breaks` has a lunch break's start and end by day.
_Table = dict[str, Any]


def load_calendar(
    name: str,
    *,
    today: date,
    cache_directory: Path | None,
    hours_file: Path | None = None,
) -> MarketCalendar:
    """The sessions of an exchange from 2000 (or the first known) to the end of the year after the next.

    `name` is one of exchange_calendars, such as XNYS. `hours_file` has the days on which the exchange keeps
    other hours; it is read anew each time. Raises `SettingsError` for a name the package does not know, for a
    calendar it cannot build, and, naming file and line, for special hours that cannot be read or do not fit.
    """
    last = date(today.year + YEARS_AHEAD, 12, 31)
    key = [_FORMAT, name, version(_PACKAGE), FIRST_DATE.isoformat(), last.isoformat()]
    path = (
        None if cache_directory is None else cache_directory / f"{re.sub(r'[^A-Za-z0-9_]', '-', name)}.json"
    )
    table = None if path is None else _read(path, key)
    if table is None:
        table = _table(_build(name, last), last)
        if path is not None:
            _write(path, key, table)
    calendar = _calendar(name, table)
    return calendar if hours_file is None else _with_hours_of(hours_file, calendar)


def _with_hours_of(hours_file: Path, calendar: MarketCalendar) -> MarketCalendar:
    from trading_orchestration.domain.special_hours import with_special_days
    from trading_orchestration.market_data.hours_file import read_hours_file

    try:
        return with_special_days(calendar, read_hours_file(hours_file))
    except InvalidInputError as error:
        raise SettingsError(f"TRADING_HOURS_FILE: {error}") from None


def _calendar(name: str, table: _Table) -> MarketCalendar:
    early_closes = frozenset(table["early_closes"])
    breaks = {
        int(day): (_instant(0, start), _instant(0, end)) for day, (start, end) in table["breaks"].items()
    }
    return MarketCalendar(
        name=name,
        timezone=ZoneInfo(table["timezone"]),
        sessions=tuple(
            Session(
                date.fromordinal(_EPOCH_ORDINAL + day),
                _instant(day, opens),
                _instant(day, closes),
                day in early_closes,
                *breaks.get(day, ()),
            )
            for day, opens, closes in zip(table["days"], table["opens"], table["closes"], strict=True)
        ),
        holidays={date.fromisoformat(day): reason for day, reason in table["holidays"].items()},
    )


def _instant(day: int, seconds: int) -> datetime:
    return datetime.fromtimestamp(day * _DAY_S + seconds, UTC)


def _read(path: Path, key: list[Any]) -> _Table | None:
    """The table in the file, or None when there is none, or one that is damaged or of another key."""
    try:
        head, body = path.read_text(encoding="utf-8").split("\n", 1)
        if json.loads(head) != {"key": key, "sha256": _digest(body)}:
            return None
        table: _Table = json.loads(body)
    except (OSError, ValueError) as error:
        _log.debug("The calendar in %s is built again: %s", path, error)
        return None
    return table


def _write(path: Path, key: list[Any], table: _Table) -> None:
    """Put the file in its place whole or not at all. A folder that cannot be written costs only time."""
    body = json.dumps(table, separators=(",", ":"))
    text = json.dumps({"key": key, "sha256": _digest(body)}) + "\n" + body
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.info("The calendar could not be kept in %s and will be built each time: %s", path, error)


def _digest(body: str) -> str:
    return sha256(body.encode()).hexdigest()


def _build(name: str, last: date) -> "ExchangeCalendar":
    import exchange_calendars

    _require_known(name, exchange_calendars.get_calendar_names(include_aliases=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own use of pandas
        try:
            bounds = exchange_calendars.get_calendar(name)
            first_known, last_known = bounds.bound_min(), bounds.bound_max()
            return exchange_calendars.get_calendar(
                name,
                start=FIRST_DATE if first_known is None else max(FIRST_DATE, first_known.date()),
                end=last if last_known is None else min(last, last_known.date()),
            )
        except (ValueError, TypeError, NotImplementedError) as error:
            raise SettingsError(
                f"{_PACKAGE} {version(_PACKAGE)} cannot build the calendar {name!r} "
                f"({type(error).__name__}: {str(error)[:100]}); choose another one."
            ) from error


def _require_known(name: str, known: list[str]) -> None:
    if name in known:
        return
    near = get_close_matches(name.upper(), known, n=3)
    hint = f" did you mean {' or '.join(near)}?" if near else " XNYS is the New York Stock Exchange."
    raise SettingsError(f"{_PACKAGE} knows no calendar {name!r};{hint}")


def _table(calendar: "ExchangeCalendar", last: date) -> _Table:
    schedule = calendar.schedule
    days = [_seconds(day) // _DAY_S for day in schedule.index]
    return {
        "timezone": str(calendar.tz),
        "days": days,
        "opens": [_seconds(at) - day * _DAY_S for day, at in zip(days, schedule["open"], strict=True)],
        "closes": [_seconds(at) - day * _DAY_S for day, at in zip(days, schedule["close"], strict=True)],
        "early_closes": [_seconds(day) // _DAY_S for day in calendar.early_closes],
        "breaks": {
            str(_seconds(day) // _DAY_S): [_seconds(start), _seconds(end)]
            for day, start, end in schedule[["break_start", "break_end"]].dropna().itertuples()
        },
        "holidays": _holidays(calendar, last),
    }


def _seconds(instant: Any) -> int:
    """Seconds since 1970 of a pandas Timestamp; one without a zone is a date at midnight UTC."""
    return int(instant.value) // _NANOSECONDS


def _holidays(calendar: "ExchangeCalendar", last: date) -> dict[str, str]:
    """The exchange's holidays by date; an unscheduled closure has no name."""
    if calendar.regular_holidays is None:
        return {}
    named = calendar.regular_holidays.holidays(start=FIRST_DATE, end=last, return_name=True)
    return {day.date().isoformat(): str(reason) for day, reason in named.items()}
