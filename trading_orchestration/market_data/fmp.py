"""Financial Modeling Prep as a source of quotes and daily bars, over its `stable` REST interface.

Its plans differ in what they open: where a plan does not include the batch quote, each symbol is asked for on
its own. A daily cap does not recover by asking again, so a 429 is never retried.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import (
    InvalidInputError,
    MarketDataError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data import SourceSurroundings
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch
from trading_orchestration.market_data.vendor_rows import daily_bar, positive, positive_or_none, usable
from trading_orchestration.vendor_http.answer import read_number, read_optional_number
from trading_orchestration.vendor_http.client import DEFAULT_TIMEOUTS, Timeouts
from trading_orchestration.vendor_http.failures import UnreadableAnswerError
from trading_orchestration.vendor_http.fmp import (
    EndpointGatedError,
    LimitReachedError,
    SymbolGatedError,
    fmp_http,
    key_of,
    read_day,
    read_rows,
    shared_limiter,
    theirs,
)
from trading_orchestration.vendor_http.rate_limit import RateLimiter

#: Raw prices: `historical-price-eod/full` is adjusted for splits.
HISTORY_PATH = "/stable/historical-price-eod/non-split-adjusted"
#: Four years a request stay below any cap on rows.
HISTORY_DAYS = 1461
#: So many symbols in a row without an answer, and the rest is not asked for.
MOST_FAILURES_IN_A_ROW = 3

_log = logging.getLogger(__name__)


class FMPClient:
    """Implements `MarketDataSource`. It knows no bid and ask; daily bars are `calendar`'s sessions, raw."""

    name = "fmp"
    max_batch_size = 100

    def __init__(
        self,
        *,
        api_key: SecretStr,
        calendar: MarketCalendar,
        limiter: RateLimiter,
        now: Clock,
        base_url: str | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._calendar = calendar
        self._now = now
        self._is_batch_gated = False
        self._http = fmp_http(api_key, base_url, limiter=limiter, now=now, timeouts=timeouts)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """The newest price of each symbol: one request, or one each where the plan asks for it.

        See `MarketDataSource.get_batch_quotes`.
        """
        if len(symbols) > self.max_batch_size:
            raise InvalidInputError(
                f"{len(symbols)} symbols were asked for at once; FMP takes {self.max_batch_size}."
            )
        if not symbols:
            return QuoteBatch({}, {})
        if not self._is_batch_gated:
            try:
                return self._quotes_at_once(symbols)
            except SymbolGatedError as error:
                _log.info("FMP refused a batch for one of its symbols, so each is asked for: %s", error)
            except EndpointGatedError as error:
                self._is_batch_gated = True
                _log.info("FMP's batch quote is not in the plan, so each symbol is asked for: %s", error)
        return self._quotes_one_by_one(symbols)

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        """Completed raw daily bars, one request a symbol and four years. See `MarketDataSource.get_bars`.

        A symbol whose history cannot be read is logged and left out, unless that is so of all. Raises
        MarketDataError for minutes, which this source does not have.
        """
        if timeframe is not Timeframe.DAY:
            raise MarketDataError("FMP is asked for daily bars only; take minutes from Alpaca.")
        bars: list[Bar] = []
        unreadable: list[str] = []
        for symbol in symbols:
            try:
                rows = list(self._history(symbol, start, end))
                found = [self._bar(symbol, row) for row in rows]
            except SymbolGatedError as error:
                _log.warning("FMP has no bars of %s for this plan: %s", symbol, error)
            except UnreadableAnswerError as error:
                unreadable.append(f"FMP's bars of {symbol} could not be read: {error}")
            else:
                bars.extend(usable(found, start=start, end=end, now=self._now()))
        if unreadable and len(unreadable) == len(symbols):
            raise MarketDataUnavailableError(unreadable[0])
        for sentence in unreadable:
            _log.warning("%s", sentence)
        return sorted(bars, key=lambda bar: (bar.symbol, bar.starts_at))

    def _quotes_at_once(self, symbols: Sequence[str]) -> QuoteBatch:
        query = {"symbols": ",".join(theirs(symbol) for symbol in symbols)}
        rows = {row.get("symbol"): row for row in self._rows("/stable/batch-quote", query)}
        quotes: dict[str, Quote] = {}
        failures: dict[str, str] = {}
        for symbol in symbols:
            try:
                quotes[symbol] = self._quote(symbol, rows.get(theirs(symbol)))
            except UnreadableAnswerError as error:
                failures[symbol] = str(error)
        return QuoteBatch(quotes, failures)

    def _quotes_one_by_one(self, symbols: Sequence[str]) -> QuoteBatch:
        quotes: dict[str, Quote] = {}
        failures: dict[str, str] = {}
        in_a_row, last = 0, ""
        for symbol in symbols:
            if in_a_row >= MOST_FAILURES_IN_A_ROW:
                failures[symbol] = f"FMP was not asked any more: {last}"
                continue
            try:
                quotes[symbol] = self._single_quote(symbol)
                in_a_row = 0
            except (SymbolGatedError, UnreadableAnswerError) as error:
                failures[symbol] = str(error)
            except MarketDataUnavailableError as error:
                failures[symbol] = last = str(error)
                is_over = isinstance(error, LimitReachedError)
                in_a_row = MOST_FAILURES_IN_A_ROW if is_over else in_a_row + 1
        if last and not quotes:
            raise MarketDataUnavailableError(last)
        return QuoteBatch(quotes, failures)

    def _single_quote(self, symbol: str) -> Quote:
        rows = self._rows("/stable/quote", {"symbol": theirs(symbol)})
        return self._quote(symbol, rows[0] if rows else None)

    def _quote(self, symbol: str, row: Mapping[str, Any] | None) -> Quote:
        if row is None:
            raise UnreadableAnswerError("FMP does not know this symbol.")
        return Quote(
            symbol=symbol,
            price=positive(read_number(row, "price"), "price"),
            quoted_at=_instant(row),
            source=self.name,
            previous_close=positive_or_none(read_optional_number(row, "previousClose")),
        )

    def _history(self, symbol: str, start: datetime, end: datetime) -> Iterator[Mapping[str, Any]]:
        first, last = (self._calendar.local(instant).date() for instant in (start, end))
        while first <= last:
            until = min(last, first + timedelta(days=HISTORY_DAYS - 1))
            query = {"symbol": theirs(symbol), "from": first.isoformat(), "to": until.isoformat()}
            yield from self._rows(HISTORY_PATH, query)
            first = until + timedelta(days=1)

    def _bar(self, symbol: str, row: Mapping[str, Any]) -> Bar | None:
        # These fields are called adj…, and on this endpoint nothing is adjusted.
        values = [read_number(row, key) for key in ("adjOpen", "adjHigh", "adjLow", "adjClose", "volume")]
        return daily_bar(
            self._calendar, read_day(row, "date"), symbol=symbol, source=self.name, values=values
        )

    def _rows(self, path: str, query: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        return read_rows(self._http, path, query)


def _instant(row: Mapping[str, Any]) -> datetime:
    """Seconds since 1970."""
    seconds = read_number(row, "timestamp")
    if not 0 < seconds < 2**33:
        raise UnreadableAnswerError(f"The field timestamp was {seconds} instead of seconds since 1970.")
    return datetime.fromtimestamp(int(seconds), tz=UTC)


def open_source(surroundings: SourceSurroundings) -> MarketDataSource:
    """FMP with the key of the settings."""
    settings, now = surroundings.settings, surroundings.clock
    api_key = key_of(settings)
    return FMPClient(
        api_key=api_key,
        calendar=surroundings.calendar,
        limiter=shared_limiter(settings, api_key, now=now),
        now=now,
        base_url=settings.fmp_base_url,
    )
