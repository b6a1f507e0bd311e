"""Corporate actions of US stocks from FMP: splits, dividends in cash, new symbols; delistings are told of.

Splits and dividends come by symbol, with all of their past, or from the calendars of all symbols, whichever
takes fewer requests. The calendars cut off what is oldest without a word: at 3,000 rows by FMP's
documentation, at 4,000 as others measured in August 2026, and at 90 days before the last one asked for.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from pydantic import SecretStr

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import MarketDataUnavailableError
from trading_orchestration.market_data import SourceSurroundings
from trading_orchestration.market_data.source import AnnouncedActions
from trading_orchestration.vendor_http.answer import read_number, read_optional_number, read_text
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.failures import UnreadableAnswerError
from trading_orchestration.vendor_http.fmp import (
    EndpointGatedError,
    SymbolGatedError,
    fmp_http,
    key_of,
    read_day,
    read_rows,
    shared_limiter,
    theirs,
)
from trading_orchestration.vendor_http.rate_limit import RateLimiter

#: A calendar is asked for so many days at most; FMP goes back 90 from the last one.
CALENDAR_DAYS = 85
#: About so many days of all symbols' dividends come with one request: 340 to 880 rows a day were seen.
DIVIDEND_DAYS_A_REQUEST = 7
#: An answer of so many rows may have been cut off; one day never has `ROWS_CUT_OFF`.
ROWS_MAYBE_CUT_OFF = 1_000
ROWS_CUT_OFF = 3_000
#: Without it, FMP tells of the last 100 new symbols; it has some thousand.
MOST_NEW_SYMBOLS = 10_000
DELISTED_PER_PAGE = 100
MOST_DELISTED_PAGES = 10

#: A person waits for it, so it waits for the next minute's requests where this one's are used up.
PATIENT = Timeouts(rate_limit_s=65.0)

_GATED = (EndpointGatedError, SymbolGatedError)
_CURRENCY = "USD"
_SPLIT = "stock-split"
_ONE_DAY = timedelta(days=1)

_Row = Mapping[str, Any]
_log = logging.getLogger(__name__)


class FMPCorporateActions:
    """What FMP knows of splits, cash dividends and new symbols; what is not certain is told of for a person.

    FMP names no currency, so the amounts of symbols without a suffix are dollars.
    """

    name = "fmp"

    def __init__(
        self,
        *,
        api_key: SecretStr,
        limiter: RateLimiter,
        now: Clock,
        base_url: str | None = None,
        timeouts: Timeouts = PATIENT,
    ) -> None:
        self._now = now
        self._http = fmp_http(api_key, base_url, limiter=limiter, now=now, timeouts=timeouts)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get_actions(self, symbols: Sequence[str], first: date, last: date) -> AnnouncedActions:
        """The actions whose (ex-)date lies between two dates (inclusive).

        Raises MarketDataUnavailableError and MarketDataNotAuthorizedError as `MarketDataSource` does.
        """
        found = _Found({theirs(symbol): symbol for symbol in symbols}, first, last)
        splits = self._events("splits", found, days_a_request=CALENDAR_DAYS)
        found.read(splits, "split", _split)
        dividends = self._events("dividends", found, days_a_request=DIVIDEND_DAYS_A_REQUEST)
        last_splits = _last_splits(splits, self._now().date())
        found.read(dividends, "dividend", lambda symbol, row: _dividend(symbol, row, last_splits))
        found.read(self._new_symbols(found), "new symbol", _new_symbol, symbol_key="oldSymbol")
        found.read(self._delisted(found), "delisting", _delisting, day_key="delistedDate")
        return AnnouncedActions(list(dict.fromkeys(found.actions)), list(dict.fromkeys(found.untold)))

    def _events(self, path: str, found: "_Found", *, days_a_request: int) -> Sequence[_Row]:
        """Splits or dividends of the symbols: one request each, or the calendar where that takes fewer."""
        days = (found.last - found.first).days + 1
        if len(found.ours) > -(-days // days_a_request):
            try:
                return [row for row in self._calendar(path, found) if row.get("symbol") in found.ours]
            except _GATED as error:
                _log.info(
                    "FMP's calendar of %s is not in the plan, so each symbol is asked for: %s", path, error
                )
        rows: list[_Row] = []
        for symbol, ours in found.ours.items():
            try:
                answered = self._rows(f"/stable/{path}", symbol=symbol)
            except SymbolGatedError as error:
                found.untold.append(f"{ours}: its {path} were not read. {error}")
                continue
            rows += [row for row in answered if row.get("symbol") == symbol]
            if strangers := sorted({str(row.get("symbol"))[:40] for row in answered} - {symbol}):
                found.untold.append(f"{ours}: FMP answered with {path} of {', '.join(strangers)}, left out.")
        return rows

    def _calendar(self, path: str, found: "_Found") -> Iterator[_Row]:
        """Every row of a calendar, the newest first; some may come twice."""
        until = found.last
        while until >= found.first:
            start = max(found.first, until - CALENDAR_DAYS * _ONE_DAY)
            rows = self._rows(
                f"/stable/{path}-calendar", **{"from": start.isoformat(), "to": until.isoformat()}
            )
            yield from rows
            oldest = min(_days(rows), default=start)
            if len(rows) < ROWS_MAYBE_CUT_OFF or oldest <= start:
                until = start - _ONE_DAY
            elif oldest < until:
                until = oldest  # again: the rows of that day may be cut off
            elif len(rows) < ROWS_CUT_OFF:
                until = oldest - _ONE_DAY
            else:
                raise MarketDataUnavailableError(
                    f"FMP has more {path} on {until} than it tells at once ({len(rows)} rows); they were not "
                    "used. Ask for fewer symbols or more days."
                )

    def _new_symbols(self, found: "_Found") -> Sequence[_Row]:
        try:
            rows = self._rows("/stable/symbol-change", limit=str(MOST_NEW_SYMBOLS))
        except _GATED as error:
            found.untold.append(f"New symbols were not read. {error}")
            return ()
        oldest = min(_days(rows), default=None)
        if oldest is not None and oldest > found.first:
            found.untold.append(f"New symbols from before {oldest} are not in FMP's list.")
        return rows

    def _delisted(self, found: "_Found") -> Sequence[_Row]:
        """The newest delistings come first; plans differ in how many pages they open."""
        rows: list[_Row] = []
        why = f"FMP's list is long, and {MOST_DELISTED_PAGES} pages were read."
        for page in range(MOST_DELISTED_PAGES):
            try:
                more = self._rows("/stable/delisted-companies", page=str(page), limit=str(DELISTED_PER_PAGE))
            except _GATED as error:
                why = str(error)
                break
            rows += more
            if (
                len(more) < DELISTED_PER_PAGE
                or min(_days(more, "delistedDate"), default=found.last) < found.first
            ):
                return rows
        since = min(_days(rows, "delistedDate"), default=None)
        found.untold.append(f"Delistings{f' from before {since}' if since else ''} were not read. {why}")
        return rows

    def _rows(self, path: str, **query: str) -> Sequence[_Row]:
        return read_rows(self._http, path, query)


class _Found:
    """What FMP tells of some symbols (by FMP's name for each) between two dates."""

    def __init__(self, ours: Mapping[str, str], first: date, last: date) -> None:
        self.ours = ours
        self.first = first
        self.last = last
        self.actions: list[NewAction] = []
        self.untold: list[str] = []

    def read(
        self,
        rows: Iterable[_Row],
        what: str,
        action_of: Callable[[str, _Row], NewAction],
        *,
        symbol_key: str = "symbol",
        day_key: str = "date",
    ) -> None:
        """Take over the rows of our symbols and days; each that is not certain becomes a sentence."""
        for row in rows:
            symbol = self.ours.get(str(row.get(symbol_key)))
            if symbol is None:
                continue
            day = row.get(day_key)
            try:
                if self.first <= read_day(row, day_key) <= self.last:
                    self.actions.append(action_of(symbol, row))
            except UnreadableAnswerError as error:
                self.untold.append(f"{symbol}: a {what} of {day} was left out. {error}")


def _split(symbol: str, row: _Row) -> NewAction:
    if row.get("splitType") != _SPLIT:
        raise UnreadableAnswerError(f"FMP calls it {row.get('splitType')!r:.40} instead of {_SPLIT!r}.")
    ratio = read_number(row, "numerator"), read_number(row, "denominator")
    if min(ratio) <= 0 or ratio[0] == ratio[1]:
        raise UnreadableAnswerError(f"Its ratio was {plain(ratio[0])}:{plain(ratio[1])}.")
    return NewAction(kind=ActionKind.SPLIT, symbol=symbol, on=read_day(row, "date"), ratio=ratio)


def _dividend(symbol: str, row: _Row, last_splits: Mapping[str, date]) -> NewAction:
    """A dividend as it was declared; `adjDividend` is in the units of today."""
    on, amount = read_day(row, "date"), read_number(row, "dividend")
    if amount <= 0:
        raise UnreadableAnswerError(f"Its amount was {plain(amount)}.")
    if not row.get("paymentDate"):
        raise UnreadableAnswerError(f"It pays {plain(amount)}, and FMP does not say when.")
    if str(row.get("currency") or _CURRENCY) != _CURRENCY:
        raise UnreadableAnswerError(f"It is in {row['currency']!r:.40}.")
    last_split = last_splits.get(row["symbol"])
    if last_split and last_split > on and read_optional_number(row, "adjDividend") == amount:
        raise UnreadableAnswerError(
            f"It pays {plain(amount)}, in the units of today too, in spite of a split on {last_split}."
        )
    return NewAction(
        kind=ActionKind.DIVIDEND,
        symbol=symbol,
        on=on,
        pays_on=read_day(row, "paymentDate"),
        cash_per_unit=amount,
        is_special=row.get("frequency") == "Special",
    )


def _last_splits(splits: Iterable[_Row], today: date) -> dict[str, date]:
    """The day of each symbol's last split, by FMP's name of the symbol."""
    days = ((row["symbol"], day) for row in splits if row.get("splitType") == _SPLIT for day in _days([row]))
    return dict(sorted((symbol, day) for symbol, day in days if day <= today))


def _new_symbol(symbol: str, row: _Row) -> NewAction:
    new_symbol = read_text(row, "newSymbol").replace("-", ".")
    return NewAction(
        kind=ActionKind.SYMBOL_CHANGE, symbol=symbol, on=read_day(row, "date"), new_symbol=new_symbol
    )


def _delisting(_: str, __: _Row) -> NewAction:
    raise UnreadableAnswerError(
        "FMP says neither what a unit pays nor which session was the last; enter it with `trading actions "
        "add delisting`."
    )


def _days(rows: Iterable[_Row], key: str = "date") -> Iterator[date]:
    """The dates of some rows that have one."""
    for row in rows:
        try:
            yield read_day(row, key)
        except UnreadableAnswerError:
            continue


def open_action_source(surroundings: SourceSurroundings) -> FMPCorporateActions:
    """FMP with the key of the settings."""
    settings, now = surroundings.settings, surroundings.clock
    api_key = key_of(settings)
    return FMPCorporateActions(
        api_key=api_key,
        limiter=shared_limiter(settings, api_key, now=now),
        now=now,
        base_url=settings.fmp_base_url,
    )
