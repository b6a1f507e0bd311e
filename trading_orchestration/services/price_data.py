"""`PriceDataService`: quotes in batches, from the first source that has them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.market_time import Clock, Session
from trading_orchestration.domain.money import QUANTUM
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import (
    MarketDataError,
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data.source import MarketDataSource, QuoteBatch

#: A vendor's clock may be ahead of ours by so much.
CLOCK_SKEW_MAX = timedelta(seconds=60)
#: What the column of prices holds.
PRICE_LIMIT = Decimal(10) ** 11
#: So many batches in a row without an answer, and a source's timeouts are not waited for any more.
FAILED_BATCHES_MAX = 2


@dataclass(frozen=True, slots=True)
class PricedBatch(QuoteBatch):
    """Quotes from several sources: each names its own, and `ages_s` says how old it is, in seconds.

    `problems` says by source what kept it from answering; `needs_person` is set where a person must mend it.
    """

    ages_s: Mapping[str, float]
    problems: Mapping[str, str]
    needs_person: MarketDataNotAuthorizedError | None = None


@dataclass(frozen=True, slots=True)
class PriceDataService:
    """Asks `sources` in order; what one lacks, or has only older than `old_after`, the next is asked for."""

    sources: Sequence[MarketDataSource]
    clock: Clock
    old_after: timedelta | None = None

    def get_batch_quotes(self, symbols: Sequence[str]) -> PricedBatch:
        """A quote, or the reason why there is none, for every symbol; in requests as large as each takes.

        Of two sources' quotes the newer is taken. A source that fails, wholly or in part, is passed over as
        long as another answers. Raises MarketDataUnavailableError when none did, and
        MarketDataNotAuthorizedError when none did and a person must mend a key.
        """
        found = _Found(self)
        for source in self.sources:
            wanted = [symbol for symbol in symbols if found.is_wanted(symbol)]
            if not wanted:
                break
            found.take(source, wanted)
        if symbols and not found.quotes and len(found.problems) == len(self.sources):
            if found.needs_person is not None:
                raise found.needs_person
            told = "; ".join(f"{name}: {problem}" for name, problem in found.problems.items())
            raise MarketDataUnavailableError(told or "No market data source is set.")
        return found.batch(symbols)

    def why_unusable(self, symbol: str, answer: QuoteBatch) -> str | None:
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


@dataclass(slots=True)
class _Found:
    """What the sources have answered so far."""

    of: PriceDataService
    quotes: dict[str, Quote] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    needs_person: MarketDataNotAuthorizedError | None = None

    def is_wanted(self, symbol: str) -> bool:
        quote, old_after = self.quotes.get(symbol), self.of.old_after
        return quote is None or (old_after is not None and self.of.clock() - quote.quoted_at > old_after)

    def take(self, source: MarketDataSource, symbols: Sequence[str]) -> None:
        """Ask a source batch by batch; one that failed twice in a row is not asked any more."""
        size, failed = source.max_batch_size, 0
        for start in range(0, len(symbols), size):
            part = symbols[start : start + size]
            try:
                answer = source.get_batch_quotes(part)
            except MarketDataNotAuthorizedError as error:
                self.problems[source.name], self.needs_person = str(error), error
                return
            except MarketDataError as error:
                self.problems[source.name] = str(error)
                failed += 1
                if failed == FAILED_BATCHES_MAX:
                    return
            else:
                failed = 0
                self._take_over(part, answer)

    def _take_over(self, symbols: Sequence[str], answer: QuoteBatch) -> None:
        for symbol in symbols:
            problem, known = self.of.why_unusable(symbol, answer), self.quotes.get(symbol)
            if problem is not None:
                self.failures[symbol] = problem
            elif known is None or answer.quotes[symbol].quoted_at > known.quoted_at:
                self.quotes[symbol] = answer.quotes[symbol]

    def batch(self, symbols: Sequence[str]) -> PricedBatch:
        unasked = "; ".join(f"{name}: {problem}" for name, problem in self.problems.items())
        return PricedBatch(
            quotes=self.quotes,
            failures={s: self.failures.get(s, unasked) for s in symbols if s not in self.quotes},
            ages_s={symbol: self.of.age_s(quote) for symbol, quote in self.quotes.items()},
            problems=self.problems,
            needs_person=self.needs_person,
        )


#: Told of the quotes of a batch once they are committed.
QuoteListener = Callable[[Sequence[Quote], datetime], None]
