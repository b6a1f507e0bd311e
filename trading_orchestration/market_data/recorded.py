"""The quotes that the decisions of a past session saw, for a replay of it.

From its first recorded quote on a symbol costs what was recorded last, and before that what our bars say.
Where a decision had no usable price of a symbol there is none at its tick either.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch


class RecordedSource:
    """Recorded quotes by symbol, each with the tick that saw it (UTC), oldest first, over another source."""

    name = "recorded"
    max_batch_size = 100_000

    def __init__(
        self,
        recorded: Mapping[str, Sequence[tuple[datetime, Quote | None]]],
        otherwise: MarketDataSource,
        clock: Clock,
    ) -> None:
        self._recorded = recorded
        self._otherwise = otherwise
        self._clock = clock

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """What each symbol cost at the clock's instant, as it was seen then."""
        batch, at = self._otherwise.get_batch_quotes(symbols), self._clock()
        quotes, failures = dict(batch.quotes), dict(batch.failures)
        for symbol in symbols:
            seen = self._recorded.get(symbol, ())
            number = bisect_right(seen, at, key=lambda entry: entry[0])
            if not number:
                continue
            quote, stored = seen[number - 1][1], batch.quotes.get(symbol)
            if quote is None:
                quotes.pop(symbol, None)
                failures[symbol] = "The decision had no usable price of it."
            else:
                quotes[symbol] = replace(quote, previous_close=stored.previous_close if stored else None)
                failures.pop(symbol, None)
        return QuoteBatch(quotes, failures)

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        """As the other source."""
        return self._otherwise.get_bars(symbols, timeframe, start=start, end=end)
