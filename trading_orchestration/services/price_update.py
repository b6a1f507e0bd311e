"""`price_update`: fetch every quote that matters, mark the positions, broadcast the changes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import MarketDataUnavailableError
from trading_orchestration.services.price_data import PriceDataService, PricedBatch, QuoteListener
from trading_orchestration.services.tick import Tick
from trading_orchestration.store import prices
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.jobs import Begin
from trading_orchestration.stream.price_stream import WebSocketService


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """What a price update brought: `counts` are symbols, updated and failed; `failures` say why.

    `ages_s` says how old each quote was, in seconds, `problems` what was wrong with a source.
    """

    counts: Counter[str]
    quotes: Sequence[Quote]
    failures: Mapping[str, str]
    ages_s: Mapping[str, float]
    problems: Mapping[str, str]


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
        if batch.needs_person is not None:
            raise batch.needs_person
        raise MarketDataUnavailableError(f"No quote could be had: {_listed(batch.failures)}")
    with begin() as connection:
        saved = prices.save_quotes(connection, quotes, received_at=price_data.clock())
        changed = set(saved.changed)
        stream.broadcast_price_update(connection, [q for q in quotes if q.symbol in changed])
        if batch.needs_person is not None:
            add_notifications(connection, _refusals(tick, batch), at=tick.at)
    for listener in listeners:
        listener(quotes, tick.at)
    counts = Counter(symbols=len(symbols), updated=len(saved.updated), failed=len(batch.failures))
    return PriceUpdate(counts, quotes, batch.failures, batch.ages_s, batch.problems)


def _refusals(tick: Tick, batch: PricedBatch) -> list[Notification]:
    """That the prices came from other sources than the first: once a session for each source."""
    return [
        Notification(
            severity=Severity.WARNING,
            kind="prices",
            title=f"Prices are taken from another source than {name}",
            body=problem,
            dedupe_key=f"prices:{name}:{tick.session.date}",
        )
        for name, problem in batch.problems.items()
    ]


def _listed(failures: Mapping[str, str]) -> str:
    return "; ".join(f"{symbol}: {reason}" for symbol, reason in sorted(failures.items())[:5])
