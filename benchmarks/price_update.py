"""`price_update`: statements and time for 5, 500 and 5,000 symbols, from the answer to the commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from benchmarks.installation import installation
from benchmarks.measure import Figure, median_s
from trading_orchestration.domain.price import Quote
from trading_orchestration.store import prices
from trading_orchestration.store.database import Engine, copy_rows, transaction
from trading_orchestration.stream.price_stream import WebSocketService

ROUNDS = 7
LARGEST = 5_000
START = datetime(2024, 7, 3, 14, tzinfo=UTC)


def run() -> list[Figure]:
    """The same work for more and more symbols takes the same number of statements."""
    with installation() as trading:
        return [figure for count in (5, 500, LARGEST) for figure in _of(trading.engine, count)]


def _of(engine: Engine, count: int) -> list[Figure]:
    symbols = [f"S{n:05d}" for n in range(count)]
    with transaction(engine) as connection:
        prices.ensure_instruments(connection, symbols)
    batches = iter([_quotes(symbols, n) for n in range(ROUNDS + 1)])
    with counting(engine) as statements:
        _save(engine, next(batches))
    seconds = median_s(lambda: _save(engine, next(batches)), rounds=ROUNDS)
    bare = _bare_copy_s(engine, symbols)
    return [
        Figure(f"price_update: {count} symbols, statements", len(statements), "", "constant"),
        Figure(f"price_update: {count} symbols, answer to commit", seconds * 1000, "ms"),
        Figure(f"price_update: {count} symbols, a bare COPY of the same rows", bare * 1000, "ms"),
        Figure(f"price_update: {count} symbols, times the bare COPY", seconds / bare, "×", _aim(count)),
    ]


def _aim(count: int) -> str:
    return "≤ 2" if count == LARGEST else ""


def _bare_copy_s(engine: Engine, symbols: list[str]) -> float:
    """The same rows into a table of the same shape that keeps nothing else: no key, no merge, no marks."""
    with transaction(engine) as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS bare_quotes (LIKE quotes)"))
    batches = iter([_quotes(symbols, n) for n in range(ROUNDS)])
    return median_s(lambda: _copy(engine, next(batches)), rounds=ROUNDS)


def _copy(engine: Engine, quotes: list[Quote]) -> None:
    columns = ("symbol", "price", "bid", "ask", "previous_close", "quoted_at", "received_at", "source")
    rows = (
        (q.symbol, q.price, q.bid, q.ask, q.previous_close, q.quoted_at, q.quoted_at, q.source)
        for q in quotes
    )
    with transaction(engine) as connection:
        copy_rows(connection, "bare_quotes", columns, rows)


def _quotes(symbols: list[str], number: int) -> list[Quote]:
    at = START + timedelta(minutes=5 * number)
    return [
        Quote(symbol=symbol, price=Decimal(100 + number), quoted_at=at, source="benchmark")
        for symbol in symbols
    ]


def _save(engine: Engine, quotes: list[Quote]) -> None:
    with transaction(engine) as connection:
        saved = prices.save_quotes(connection, quotes, received_at=quotes[0].quoted_at)
        changed = set(saved.changed)
        WebSocketService().broadcast_price_update(connection, [q for q in quotes if q.symbol in changed])


@contextmanager
def counting(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed inside the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
