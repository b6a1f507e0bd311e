"""`PriceDataService`: quotes in batches, from the first source that has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import MarketDataUnavailableError
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch

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
            quotes.update(answer.quotes)
            failures.update(answer.failures)
        if len(unavailable) == len(self.sources) and symbols:
            raise MarketDataUnavailableError("; ".join(unavailable) or "No market data source is set.")
        lost = {s: failures.get(s, "; ".join(unavailable)) for s in symbols if s not in quotes}
        return QuoteBatch(quotes, lost)

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
