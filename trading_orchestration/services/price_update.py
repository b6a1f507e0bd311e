"""`price_update`: fetch every quote that matters, mark the positions, broadcast the changes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import MarketDataUnavailableError
from trading_orchestration.services.price_data import PriceDataService, QuoteListener
from trading_orchestration.services.tick import Tick
from trading_orchestration.store import prices
from trading_orchestration.store.jobs import Begin
from trading_orchestration.stream.price_stream import WebSocketService


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """What a price update brought: `counts` are symbols, updated and failed; `failures` say why."""

    counts: Counter[str]
    quotes: Sequence[Quote]
    failures: Mapping[str, str]


def update_prices(
    tick: Tick,
    *,
    begin: Begin,
    price_data: PriceDataService,
    stream: WebSocketService,
    listeners: Sequence[QuoteListener] = (),
) -> PriceUpdate:
    """Take over the newest quotes; a constant number of statements, whatever the number of symbols.

    `listeners` (the paper market) hear of the quotes after the commit. Raises MarketDataUnavailableError
    when not one of the symbols could be had.
    """
    with begin() as connection:
        symbols = prices.wanted_symbols(connection)
    batch = price_data.get_batch_quotes(symbols)
    quotes = [batch.quotes[symbol] for symbol in sorted(batch.quotes)]
    if symbols and not quotes:
        raise MarketDataUnavailableError(f"No quote could be had: {_listed(batch.failures)}")
    with begin() as connection:
        saved = prices.save_quotes(connection, quotes, received_at=price_data.clock())
        changed = set(saved.changed)
        stream.broadcast_price_update(connection, [q for q in quotes if q.symbol in changed])
    for listener in listeners:
        listener(quotes, tick.at)
    counts = Counter(symbols=len(symbols), updated=len(saved.updated), failed=len(batch.failures))
    return PriceUpdate(counts, quotes, batch.failures)


def _listed(failures: Mapping[str, str]) -> str:
    return "; ".join(f"{symbol}: {reason}" for symbol, reason in sorted(failures.items())[:5])
