"""`PriceDataService`: quotes in batches, from the first source that has them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.market_time import Clock, Session
from trading_orchestration.domain.money import QUANTUM
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import MarketDataError, MarketDataUnavailableError
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch

#: A vendor's clock may be ahead of ours by so much.
CLOCK_SKEW_MAX = timedelta(seconds=60)
#: What the column of prices holds.
PRICE_LIMIT = Decimal(10) ** 11
#: However many a source could take: an answer stays small enough to be read within its timeout.
BATCH_SIZE_MAX = 100


@dataclass(frozen=True, slots=True)
class PriceDataService:
    """Asks `sources` in order; what the first does not have, the next is asked for."""

    sources: Sequence[MarketDataSource]
    clock: Clock

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """A quote, or the reason why there is none, for every symbol; one request per ≤ 100 symbols.

        Every quote names its source and the vendor's time of the price. Raises MarketDataUnavailableError
        when no source answered at all, and MarketDataNotAuthorizedError when a person must mend a key.
        """
        quotes: dict[str, Quote] = {}
        failures: dict[str, str] = {}
        unavailable: list[str] = []
        for source in self.sources:
            missing = [symbol for symbol in symbols if symbol not in quotes]
            if not missing:
                break
            try:
                answer = _ask(source, missing)
            except MarketDataUnavailableError as error:
                unavailable.append(f"{source.name}: {error}")
                continue
            for symbol in missing:
                problem = self._why_unusable(symbol, answer)
                if problem is None:
                    quotes[symbol] = answer.quotes[symbol]
                else:
                    failures[symbol] = problem
        if len(unavailable) == len(self.sources) and symbols:
            raise MarketDataUnavailableError("; ".join(unavailable) or "No market data source is set.")
        lost = {s: failures.get(s, "; ".join(unavailable)) for s in symbols if s not in quotes}
        return QuoteBatch(quotes, lost)

    def _why_unusable(self, symbol: str, answer: QuoteBatch) -> str | None:
        """Why a symbol has no quote in an answer, or one that may not be taken over."""
        quote = answer.quotes.get(symbol)
        if quote is None:
            return answer.failures.get(symbol, "The source did not say anything about it.")
        if quote.quoted_at > self.clock() + CLOCK_SKEW_MAX:
            # Once taken over, it would be newer than every honest quote to come.
            return f"{quote.source} quoted it at {quote.quoted_at.isoformat()}, which is still to come."
        if quote.symbol != symbol or not QUANTUM <= quote.price < PRICE_LIMIT:
            return f"{quote.source} quoted {quote.symbol} at {quote.price}, which is no price of it."
        return None

    def get_session_bars(self, wanted: Collection[tuple[str, Session]]) -> tuple[list[Bar], list[str]]:
        """The complete daily bars of symbols in sessions, from the first source that has each, and what went
        wrong.

        One request a source: it is asked from the first session to the last.
        """
        keys = {(symbol, session.date) for symbol, session in wanted}
        start = min(session.opens_at for _, session in wanted)
        end = max(session.closes_at for _, session in wanted)
        found: dict[tuple[str, date], Bar] = {}
        problems: list[str] = []
        for source in self.sources:
            missing = sorted({symbol for symbol, day in keys if (symbol, day) not in found})
            if not missing:
                break
            try:
                bars = source.get_bars(missing, Timeframe.DAY, start=start, end=end)
            except MarketDataError as error:
                problems.append(f"{source.name}: {error}")
                continue
            usable = {(bar.symbol, bar.session): bar for bar in bars if bar.timeframe is Timeframe.DAY}
            found = {key: bar for key, bar in usable.items() if key in keys} | found
        return list(found.values()), problems

    def age_s(self, quote: Quote) -> float:
        """How old a quote is, in seconds."""
        return (self.clock() - quote.quoted_at).total_seconds()


def _ask(source: MarketDataSource, symbols: Sequence[str]) -> QuoteBatch:
    quotes: dict[str, Quote] = {}
    failures: dict[str, str] = {}
    size = min(BATCH_SIZE_MAX, source.max_batch_size)
    for start in range(0, len(symbols), size):
        answer = source.get_batch_quotes(symbols[start : start + size])
        quotes.update(answer.quotes)
        failures.update(answer.failures)
    return QuoteBatch(quotes, failures)


#: Told of the quotes of a batch once they are committed.
QuoteListener = Callable[[Sequence[Quote], datetime], None]
