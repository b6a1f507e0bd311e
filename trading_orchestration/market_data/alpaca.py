"""Alpaca as a source of quotes and bars of US stocks, over its REST interface."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import (
    InvalidInputError,
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data import SourceSurroundings
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch
from trading_orchestration.market_data.vendor_rows import (
    daily_bar,
    minute_bar,
    positive,
    positive_or_none,
    usable,
)
from trading_orchestration.vendor_http.alpaca import (
    KEY_VARIABLES,
    AlpacaKeys,
    alpaca_http,
    is_not_authorized,
    shared_limiter,
)
from trading_orchestration.vendor_http.answer import Answer, read_instant, read_number, read_optional_number
from trading_orchestration.vendor_http.client import DEFAULT_TIMEOUTS, Timeouts
from trading_orchestration.vendor_http.failures import HttpError, UnreadableAnswerError
from trading_orchestration.vendor_http.rate_limit import RateLimiter

DATA_URL = "https://data.alpaca.markets"
#: IEX is what every plan may read at once; `sip` needs a subscription.
DEFAULT_FEED = "iex"
BARS_PER_PAGE = 10_000
MOST_PAGES = 2_000
#: One bad symbol makes Alpaca refuse a whole batch and name it: so often is a batch asked for without one.
MOST_BAD_SYMBOLS = 10

_NEW_YORK = ZoneInfo("America/New_York")
_TIMEFRAMES = {Timeframe.DAY: "1Day", Timeframe.MINUTE: "1Min"}
_BAD_SYMBOL = re.compile(r"invalid symbols?:? *([^;]+)")
_log = logging.getLogger(__name__)


class AlpacaMarketData:
    """Implements `MarketDataSource`. Prices are raw; a daily bar is one of `calendar`'s sessions."""

    name = "alpaca"
    max_batch_size = 100

    def __init__(
        self,
        *,
        keys: AlpacaKeys,
        calendar: MarketCalendar,
        limiter: RateLimiter,
        now: Clock,
        base_url: str | None = None,
        feed: str = DEFAULT_FEED,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """`feed` is one of Alpaca's: iex, sip, delayed_sip."""
        self._calendar = calendar
        self._now = now
        self._feed = feed
        self._http = alpaca_http(keys, base_url or DATA_URL, limiter=limiter, now=now, timeouts=timeouts)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """The last trade of each symbol with the best bid and ask, in one request.

        A side that nobody quotes is None. See `MarketDataSource.get_batch_quotes`.
        """
        if len(symbols) > self.max_batch_size:
            raise InvalidInputError(
                f"{len(symbols)} symbols were asked for at once; Alpaca takes {self.max_batch_size}."
            )
        with _reading("quotes"):
            answer, bad = self._get_without_bad_symbols("/v2/stocks/snapshots", symbols, {})
            snapshots = answer.row() if answer else {}
        quotes: dict[str, Quote] = {}
        failures = dict.fromkeys(bad, f"Alpaca refused it, or more than {MOST_BAD_SYMBOLS} others with it.")
        for symbol in symbols:
            if symbol not in failures:
                try:
                    quotes[symbol] = self._quote(symbol, snapshots.get(symbol))
                except UnreadableAnswerError as error:
                    failures[symbol] = str(error)
        return QuoteBatch(quotes, failures)

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        """Completed raw bars. See `MarketDataSource.get_bars`.

        Minutes outside of the exchange's hours and days that are no sessions are left out.
        """
        first = start if timeframe is Timeframe.MINUTE else start.astimezone(_NEW_YORK).date()
        params = {
            "timeframe": _TIMEFRAMES[timeframe],
            "start": first.isoformat().replace("+00:00", "Z"),
            "end": _stamp(end - timedelta(microseconds=1)),
            "limit": str(BARS_PER_PAGE),
            "adjustment": "raw",
            "sort": "asc",
        }
        with _reading("bars"):
            bars = [self._bar(symbol, timeframe, row) for symbol, row in self._all_bars(symbols, params)]
        found = usable(bars, start=start, end=end, now=self._now())
        return sorted(found, key=lambda bar: (bar.symbol, bar.starts_at))

    def _quote(self, symbol: str, snapshot: Any) -> Quote:
        trade = _part(snapshot, "latestTrade")
        if not trade:
            raise UnreadableAnswerError("Alpaca has no trade of this symbol.")
        quote = _part(snapshot, "latestQuote")
        quoted_at = read_instant(trade, "t")
        return Quote(
            symbol=symbol,
            price=positive(read_number(trade, "p"), "last trade's price"),
            quoted_at=quoted_at,
            source=self.name,
            bid=positive_or_none(read_optional_number(quote, "bp")),
            ask=positive_or_none(read_optional_number(quote, "ap")),
            previous_close=positive_or_none(_previous_close(snapshot, quoted_at)),
        )

    def _bar(self, symbol: str, timeframe: Timeframe, row: Mapping[str, Any]) -> Bar | None:
        starts_at = read_instant(row, "t")
        values = [read_number(row, key) for key in ("o", "h", "l", "c", "v")]
        if timeframe is Timeframe.MINUTE:
            return minute_bar(self._calendar, starts_at, symbol=symbol, source=self.name, values=values)
        day = starts_at.astimezone(_NEW_YORK).date()
        return daily_bar(self._calendar, day, symbol=symbol, source=self.name, values=values)

    def _all_bars(
        self, symbols: Sequence[str], params: dict[str, str]
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every row of every page. One page holds so many bars over all symbols, in order of symbol."""
        asked: Sequence[str] = symbols
        for _ in range(MOST_PAGES):
            answer, bad = self._get_without_bad_symbols("/v2/stocks/bars", asked, params)
            if answer is None:
                return
            asked = [symbol for symbol in asked if symbol not in bad]
            page = answer.row()
            for symbol, rows in (page.get("bars") or {}).items():
                yield from ((symbol, row) for row in rows or ())
            token = page.get("next_page_token")
            if not token:
                return
            if token == params.get("page_token"):
                break
            params = params | {"page_token": str(token)}
        raise MarketDataUnavailableError("Alpaca's list of bars does not end; it was not used.")

    def _get_without_bad_symbols(
        self, path: str, symbols: Sequence[str], params: Mapping[str, str]
    ) -> tuple[Answer | None, list[str]]:
        """The answer for the symbols that Alpaca takes, None where there are none, and those it does not."""
        asked, bad = list(symbols), list[str]()
        for _ in range(MOST_BAD_SYMBOLS + 1):
            if not asked:
                return None, bad
            query = {"symbols": ",".join(asked), "feed": self._feed, **params}
            answer = self._http.get(path, query)
            named = _bad_symbols(answer, asked)
            if not named:
                return self._successful(answer), bad
            _log.warning("Alpaca does not know %s", ", ".join(named))
            bad += named
            asked = [symbol for symbol in asked if symbol not in named]
        _log.warning("Alpaca refused more than %s symbols of one batch; the rest was given up", len(bad))
        return None, list(symbols)

    def _successful(self, answer: Answer) -> Answer:
        if answer.status == 200:
            return answer
        if is_not_authorized(answer):
            raise MarketDataNotAuthorizedError(
                f"Alpaca refused the keys or the plan ({answer.describe()}); check {KEY_VARIABLES} and "
                f"whether the plan includes the feed {self._feed}."
            )
        raise MarketDataUnavailableError(f"Alpaca did not answer as it should: {answer.describe()}.")


def _bad_symbols(answer: Answer, asked: Sequence[str]) -> list[str]:
    if answer.status not in (400, 422):
        return []
    found = _BAD_SYMBOL.search(str((answer.error_row() or {}).get("message")))
    return [symbol for symbol in re.split(r"[\s,]+", found[1]) if symbol in asked] if found else []


def _previous_close(snapshot: Mapping[str, Any], quoted_at: datetime) -> Decimal | None:
    """The close before the day of the trade: before the open, Alpaca's newest daily bar is yesterday's."""
    today = _part(snapshot, "dailyBar")
    is_of_an_earlier_day = bool(today) and _new_york_day(read_instant(today, "t")) < _new_york_day(quoted_at)
    return read_optional_number(today if is_of_an_earlier_day else _part(snapshot, "prevDailyBar"), "c")


def _new_york_day(instant: datetime) -> date:
    return instant.astimezone(_NEW_YORK).date()


def _part(snapshot: Any, key: str) -> Mapping[str, Any]:
    part = snapshot.get(key) if isinstance(snapshot, dict) else None
    return part if isinstance(part, dict) else {}


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """What goes wrong while reading may work later."""
    try:
        yield
    except HttpError as error:
        problem = str(error)
    else:
        return
    raise MarketDataUnavailableError(f"Alpaca's {what} could not be read: {problem}")


def open_source(surroundings: SourceSurroundings) -> MarketDataSource:
    """Alpaca with the key pair of the settings."""
    settings, now = surroundings.settings, surroundings.clock
    keys = AlpacaKeys.of(settings)
    return AlpacaMarketData(
        keys=keys,
        calendar=surroundings.calendar,
        limiter=shared_limiter(settings, keys, kind="data", now=now),
        now=now,
        base_url=settings.apca_api_data_url,
    )
