"""Who gets which price: the newest prices, and what each subscriber has not been sent yet. No sockets."""

import asyncio
from collections.abc import Iterable, Iterator

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store.price_notifications import PriceReading
from trading_orchestration.stream.messages import (
    Action,
    Request,
    State,
    encode_price,
    prices_message,
    snapshot_message,
    status_message,
)


class PriceBook:
    """The newest price of every symbol. A price is encoded once, for all subscribers, when first sent."""

    def __init__(self) -> None:
        self.sequence = 0
        self.state = State.LIVE
        self._quotes: dict[str, Quote] = {}
        self._encoded: dict[str, str] = {}

    def take(self, reading: PriceReading) -> set[str]:
        """Bring the book up to `reading`; answers the symbols whose price differs from before."""
        self.sequence = reading.sequence
        changed = {quote.symbol: quote for quote in reading.quotes if self._quotes.get(quote.symbol) != quote}
        if reading.is_complete:
            self._drop(self._quotes.keys() - {quote.symbol for quote in reading.quotes})
        self._quotes |= changed
        for symbol in changed:
            self._encoded.pop(symbol, None)
        return set(changed)

    def encoded(self, symbols: Iterable[str]) -> list[str]:
        """The JSON of each symbol that has a price."""
        return [self._encode(symbol) for symbol in symbols if symbol in self._quotes]

    def without_price(self, symbols: Iterable[str]) -> list[str]:
        """The symbols that have no price yet."""
        return [symbol for symbol in symbols if symbol not in self._quotes]

    def _encode(self, symbol: str) -> str:
        if symbol not in self._encoded:
            self._encoded[symbol] = encode_price(self._quotes[symbol])
        return self._encoded[symbol]

    def _drop(self, symbols: set[str]) -> None:
        for symbol in symbols:
            del self._quotes[symbol]
            self._encoded.pop(symbol, None)


class Subscriber:
    """One client: its symbols, and which of them changed since it was last sent something.

    However often a symbol changes while the client waits, it is pending once, and its price is looked up
    when the message is made: memory is bounded by the subscription, and what is sent is always the newest.
    """

    def __init__(self, book: PriceBook, *, max_symbols: int) -> None:
        #: Set when there is something to send.
        self.has_news = asyncio.Event()
        self.has_news.set()
        self._book = book
        self._max_symbols = max_symbols
        self._symbols: set[str] = set()
        self._pending: set[str] = set()
        self._told: State | None = None

    def notice(self, changed: set[str]) -> None:
        """Remember those of the changed symbols that this client watches."""
        news = changed & self._symbols
        if news:
            self._pending |= news
            self.has_news.set()

    def answer(self, request: Request) -> str | None:
        """Carry out a client's request; answers the message to send, if any.

        Raises InvalidInputError, and changes nothing, when the client would watch too many symbols.
        """
        if request.action is Action.UNSUBSCRIBE:
            self._symbols.difference_update(request.symbols or ())
            self._pending &= self._symbols
            return None
        if request.action is Action.RESUME:
            return self._resume(request)
        symbols = request.symbols or ()
        self._watch(self._symbols.union(symbols))
        return self._snapshot(symbols)

    def messages(self) -> Iterator[str]:
        """What the client has not been told, each message made when it is asked for."""
        if self._told is not self._book.state:
            self._told = self._book.state
            yield status_message(self._book.sequence, self._told)
        if self._pending:
            pending, self._pending = self._pending, set()
            yield prices_message(self._book.sequence, self._book.encoded(pending))

    def _resume(self, request: Request) -> str:
        if request.symbols is not None:
            self._watch(set(request.symbols))
        missed = max(0, self._book.sequence - (request.sequence or 0))
        return self._snapshot(sorted(self._symbols), missed)

    def _watch(self, symbols: set[str]) -> None:
        if len(symbols) > self._max_symbols:
            raise InvalidInputError(
                f"A client may watch {self._max_symbols} symbols and this would make {len(symbols)}; "
                "unsubscribe from some first, or open another connection."
            )
        self._symbols = symbols
        self._pending &= symbols

    def _snapshot(self, symbols: Iterable[str], missed: int | None = None) -> str:
        self._pending.difference_update(symbols)
        return snapshot_message(
            self._book.sequence,
            self._book.encoded(symbols),
            unpriced=self._book.without_price(symbols),
            missed=missed,
        )
