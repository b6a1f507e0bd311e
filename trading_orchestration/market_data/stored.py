"""Our own bars as a price source: for replay, for the demo, and for working without a network.

At an instant a symbol costs the close of its last complete bar, or the open of a bar that has begun: nothing
that lies after the instant is ever seen.
"""

from collections.abc import Sequence
from datetime import datetime

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.market_data import SourceSurroundings
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch
from trading_orchestration.store import prices
from trading_orchestration.store.database import Engine, transaction


class StoredSource:
    """Quotes at the clock's instant, and bars, from the table `bars`; one statement a request."""

    name = "stored"
    max_batch_size = 100_000

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """What each symbol costs at the clock's instant; one without a bar by then is a failure."""
        at = self._clock()
        with transaction(self._engine) as connection:
            quotes = {q.symbol: q for q in prices.stored_quotes(connection, symbols, at, self.name)}
        missing = {s: f"No bar of {s} begins by {at:%Y-%m-%d %H:%M} UTC." for s in symbols if s not in quotes}
        return QuoteBatch(quotes, missing)

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        """Bars that start in [start, end) and are complete at the clock's instant."""
        with transaction(self._engine) as connection:
            bars = prices.read_bars(connection, symbols, timeframe, start=start, end=end)
        return [bar for bar in bars if bar.ends_at <= self._clock()]


def open_source(surroundings: SourceSurroundings) -> MarketDataSource:
    """The bars of this installation's own database."""
    return StoredSource(surroundings.engine, surroundings.clock)
