"""What the simulated market costs: prices given by hand, or else those of the stored bars."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.store import prices
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.store.prices import Instrument

SOURCE = "simulator"


class SimulatedPrices:
    """Quotes, bars and instruments at the clock's instant; nothing that lies after it is ever seen."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._given: dict[str, Quote] = {}

    def give(self, given: Mapping[str, Decimal], *, at: datetime) -> None:
        """Set prices by hand; they hold until a stored bar is newer."""
        before = self.quotes(given)
        for symbol, price in given.items():
            previous_close = before[symbol].previous_close if symbol in before else None
            self._given[symbol] = Quote(
                symbol=symbol, price=price, quoted_at=at, source=SOURCE, previous_close=previous_close
            )

    def quotes(self, symbols: Collection[str]) -> dict[str, Quote]:
        """The newest price of each symbol that has one."""
        if not symbols:
            return {}
        with transaction(self._engine) as connection:
            stored = prices.stored_quotes(connection, sorted(symbols), self._clock(), SOURCE)
        newest = {quote.symbol: quote for quote in stored}
        for symbol in symbols:
            given = self._given.get(symbol)
            if given and (symbol not in newest or newest[symbol].quoted_at <= given.quoted_at):
                newest[symbol] = given
        return newest

    def bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> list[Bar]:
        """Stored bars that start in [start, end) and are complete by now, by symbol and time."""
        now = self._clock()
        with transaction(self._engine) as connection:
            bars = prices.read_bars(connection, symbols, timeframe, start=start, end=end)
        return [bar for bar in bars if bar.ends_at <= now]

    def instruments(self, symbols: Collection[str]) -> dict[str, Instrument]:
        """Those of the symbols that exist."""
        with transaction(self._engine) as connection:
            return prices.read_instruments(connection, symbols)

    def all_symbols(self) -> list[str]:
        """Every symbol that has stored bars or was given a price."""
        with transaction(self._engine) as connection:
            stored = {row["symbol"] for row in prices.bar_coverage(connection)}
        return sorted(stored | self._given.keys())
