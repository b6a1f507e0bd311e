"""One batch of quotes moves as one set, whatever is wrong with some of them, and never back in time."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.price import Bar, Quote
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import MarketDataNotAuthorizedError, MarketDataUnavailableError
from trading_orchestration.market_data.source import QuoteBatch
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.price_update import PriceUpdate, update_prices
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import copy_rows, create_engine, transaction
from trading_orchestration.stream.price_stream import WebSocketService
from trading_orchestration_tests.services.trading_world import AAPL, IBM, MSFT, TradingWorld


class Source:
    """Quotes by symbol; what is not there is unknown to it."""

    max_batch_size = 100

    def __init__(self, quotes: Mapping[str, Quote] | None = None, *, name: str = "vendor") -> None:
        self.quotes = dict(quotes or {})
        self.name = name
        self.error: Exception | None = None
        self.batches: list[int] = []

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        if self.error:
            raise self.error
        self.batches.append(len(symbols))
        found = {s: self.quotes[s] for s in symbols if s in self.quotes}
        return QuoteBatch(found, {s: f"{self.name} has no {s}" for s in symbols if s not in found})

    def get_bars(self, *_: object, **__: object) -> Sequence[Bar]:
        return []


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.intend()
    world.check()
    return world


def quote(world: TradingWorld, symbol: str, price: str, *, age_s: float = 0, source: str = "vendor") -> Quote:
    at = world.now - timedelta(seconds=age_s)
    return Quote(symbol=symbol, price=Decimal(price), quoted_at=at, source=source)


def update(world: TradingWorld, *sources: Source) -> PriceUpdate:
    service = PriceDataService(sources, lambda: world.now)
    return update_prices(world.tick, begin=world.begin, price_data=service, stream=WebSocketService())


def saved(world: TradingWorld) -> dict[str, Decimal]:
    with world.begin() as connection:
        return {symbol: quote.price for symbol, quote in prices.read_quotes(connection).items()}


@contextmanager
def counting(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement and COPY that reaches the server."""
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    def note_copy(connection: sa.Connection, table: str, *rest: Any) -> int:
        statements.append(f"COPY {table}")
        return copy_rows(connection, table, *rest)

    monkeypatch.setattr(prices, "copy_rows", note_copy)
    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def test_held_traded_and_alerted_symbols_are_asked_for(world: TradingWorld):
    world.add_strategy(universe=[MSFT])
    world.rows(
        "INSERT INTO price_alerts (symbol, condition, threshold) VALUES ('IBM', 'above', 100) RETURNING id"
    )
    with world.begin() as connection:
        assert prices.wanted_symbols(connection) == [AAPL, IBM, MSFT]


@pytest.mark.parametrize("count", [5, 500])
def test_the_number_of_statements_does_not_depend_on_the_number_of_symbols(
    world: TradingWorld, count: int, monkeypatch: pytest.MonkeyPatch
):
    symbols = [f"S{number:04d}" for number in range(count)]
    with world.begin() as connection:
        prices.ensure_instruments(connection, symbols)
        connection.execute(
            sa.text(
                "INSERT INTO positions "
                "(portfolio_id, symbol, quantity, average_cost, realised_pnl, last_entry_at) "
                "SELECT :id, s, 1, 1, 0, now() FROM unnest(CAST(:symbols AS text[])) AS s"
            ),
            {"id": world.ids["main"], "symbols": symbols},
        )
    source = Source({symbol: quote(world, symbol, "7") for symbol in [*symbols, AAPL]})
    with counting(world.engine, monkeypatch) as statements:
        found = update(world, source)
    assert found.counts == {"symbols": count + 1, "updated": count + 1, "failed": 0}
    assert len(statements) == 5
    assert source.batches == ([6] if count == 5 else [100] * 5 + [1])
    (mark,) = world.rows("SELECT DISTINCT market_price, unrealised_pnl FROM positions WHERE symbol <> 'AAPL'")
    assert (mark["market_price"], mark["unrealised_pnl"]) == (7, 6)


def test_positions_are_marked_and_a_new_one_at_once(world: TradingWorld):
    update(world, Source({AAPL: quote(world, AAPL, "210")}))
    world.advance(timedelta(minutes=1))
    world.quote(MSFT, "400")
    world.paper.give_prices([], at=world.now)
    world.set_price(MSFT, "401")
    world.intend(symbol=MSFT, quantity=2)
    world.check()
    rows = world.rows("SELECT symbol, market_price, unrealised_pnl FROM positions ORDER BY symbol")
    assert [(r["symbol"], r["market_price"], r["unrealised_pnl"]) for r in rows] == [
        (AAPL, 210, 100),
        (MSFT, 401, 0),
    ]


def test_late_data_never_overwrites_newer(world: TradingWorld):
    update(world, Source({AAPL: quote(world, AAPL, "210")}))
    found = update(world, Source({AAPL: quote(world, AAPL, "190", age_s=60)}))
    assert found.counts == {"symbols": 1, "updated": 0, "failed": 0}
    assert saved(world)[AAPL] == 210
    assert world.rows("SELECT market_price FROM positions")[0]["market_price"] == 210


def test_only_prices_that_changed_are_broadcast(world: TradingWorld, monkeypatch: pytest.MonkeyPatch):
    world.intend(symbol=MSFT, quantity=1)
    told: list[list[str]] = []
    monkeypatch.setattr(
        WebSocketService,
        "broadcast_price_update",
        lambda _self, _connection, changed: told.append([q.symbol for q in changed]),
    )
    both = {AAPL: quote(world, AAPL, "210"), MSFT: quote(world, MSFT, "400")}
    update(world, Source(both))
    world.advance(timedelta(minutes=5))
    update(world, Source({AAPL: quote(world, AAPL, "211"), MSFT: quote(world, MSFT, "400")}))
    assert told == [[AAPL, MSFT], [AAPL]]


def test_one_bad_symbol_never_fails_the_batch(world: TradingWorld):
    for symbol in (MSFT, IBM):
        world.intend(symbol=symbol, quantity=1)
    found = update(
        world,
        Source(
            {
                AAPL: quote(world, AAPL, "210"),
                MSFT: quote(world, MSFT, "0.0000000004"),
                "OTHER": quote(world, "OTHER", "5"),
            }
        ),
    )
    assert found.counts == {"symbols": 3, "updated": 1, "failed": 2}
    assert found.failures == {
        MSFT: "vendor quoted MSFT at 4E-10, which is no price of it.",
        IBM: "vendor has no IBM",
    }
    assert "OTHER" not in saved(world)


def test_a_quote_from_the_future_is_not_taken_over(world: TradingWorld):
    """It would be newer than every honest quote until then."""
    with pytest.raises(MarketDataUnavailableError, match="still to come"):
        update(world, Source({AAPL: quote(world, AAPL, "999", age_s=-61)}))
    assert saved(world)[AAPL] == 200
    update(world, Source({AAPL: quote(world, AAPL, "201", age_s=-59)}))
    assert saved(world)[AAPL] == 201


def test_what_the_first_source_does_not_have_the_next_is_asked_for(world: TradingWorld):
    world.intend(symbol=MSFT, quantity=1)
    first = Source({AAPL: quote(world, AAPL, "210")})
    second = Source({s: quote(world, s, "5", source="second") for s in (AAPL, MSFT)}, name="second")
    found = update(world, first, second)
    assert {(q.symbol, int(q.price), q.source) for q in found.quotes} == {
        (AAPL, 210, "vendor"),
        (MSFT, 5, "second"),
    }
    first.error = MarketDataUnavailableError("down")
    assert {q.source for q in update(world, first, second).quotes} == {"second"}


def test_a_source_that_is_down_fails_the_job_and_changes_nothing(world: TradingWorld):
    source = Source()
    source.error = MarketDataUnavailableError("down")
    with pytest.raises(MarketDataUnavailableError, match="vendor: down"):
        update(world, source)
    source.error = MarketDataNotAuthorizedError("no key")
    with pytest.raises(MarketDataNotAuthorizedError):
        update(world, source)
    assert saved(world) == {AAPL: 200}


def test_a_source_whose_key_is_refused_is_passed_over_and_told_once_a_session(world: TradingWorld):
    first, second = (
        Source(name="first"),
        Source({AAPL: quote(world, AAPL, "210", source="second")}, name="second"),
    )
    first.error = MarketDataNotAuthorizedError("set FIRST_KEY")
    for _ in range(2):
        found = update(world, first, second)
    assert [(q.symbol, q.source) for q in found.quotes] == [(AAPL, "second")]
    assert found.problems == {"first": "set FIRST_KEY"}
    assert world.titles().count("Prices are taken from another source than first") == 1
    second.error = MarketDataUnavailableError("down")
    with pytest.raises(MarketDataNotAuthorizedError, match="FIRST_KEY"):
        update(world, first, second)


def test_a_batch_that_fails_costs_only_its_own_symbols(world: TradingWorld):
    """Of five hundred symbols a hundred come in a broken answer."""
    symbols = [f"S{number:03}" for number in range(500)]
    source = Source({symbol: quote(world, symbol, "5") for symbol in symbols})
    answers = source.get_batch_quotes

    def second_fails(part: Sequence[str]) -> QuoteBatch:
        if "S100" in part:
            raise MarketDataUnavailableError("broken")
        return answers(part)

    source.get_batch_quotes = second_fails  # type: ignore[assignment, method-assign]
    found = PriceDataService([source], lambda: world.now).get_batch_quotes(symbols)
    assert len(found.quotes) == 400
    assert set(found.failures.values()) == {"vendor: broken"}


def test_a_source_that_is_down_is_not_waited_for_over_and_over(world: TradingWorld):
    asked: list[int] = []

    def times_out(part: Sequence[str]) -> QuoteBatch:
        asked.append(len(part))
        raise MarketDataUnavailableError("timed out")

    source = Source()
    source.get_batch_quotes = times_out  # type: ignore[assignment, method-assign]
    with pytest.raises(MarketDataUnavailableError, match="timed out"):
        PriceDataService([source], lambda: world.now).get_batch_quotes([f"S{n}" for n in range(1000)])
    assert asked == [100, 100]


def test_an_old_quote_gives_way_to_a_newer_one_of_the_next_source(world: TradingWorld):
    first = Source({s: quote(world, s, "1", age_s=901, source="first") for s in (AAPL, MSFT)}, name="first")
    second = Source(
        {
            AAPL: quote(world, AAPL, "2", age_s=30, source="second"),
            MSFT: quote(world, MSFT, "2", age_s=950, source="second"),
        },
        name="second",
    )
    service = PriceDataService([first, second], lambda: world.now, timedelta(minutes=15))
    found = service.get_batch_quotes([AAPL, MSFT])
    assert {q.symbol: q.source for q in found.quotes.values()} == {AAPL: "second", MSFT: "first"}
    assert found.ages_s == {AAPL: 30, MSFT: 901}
    assert found.failures == {}


def test_nothing_to_ask_for_is_no_failure(engine: sa.Engine):
    world = TradingWorld(engine)
    assert update(world, Source()).counts == {"symbols": 0, "updated": 0, "failed": 0}


def test_a_symbol_that_is_no_instrument_yet_becomes_one(world: TradingWorld):
    world.add_strategy(universe=["NEW"])
    update(world, Source({"NEW": quote(world, "NEW", "3")}))
    assert saved(world)["NEW"] == 3


def test_the_age_of_a_quote_is_counted_from_the_vendors_time(world: TradingWorld):
    service = PriceDataService([], lambda: world.now)
    assert service.age_s(quote(world, AAPL, "1", age_s=90)) == 90


def test_marking_and_settling_at_once_never_deadlock(world: TradingWorld, database_url: str):
    """Both touch the same rows of positions, each in an order of its own."""
    symbols = (AAPL, MSFT, IBM)
    for symbol in symbols:
        world.set_price(symbol, "100")
    for number in range(24):
        world.intend(Side.BUY, 1, symbol=symbols[number % 3], reserved=200)
    world.send()
    other = create_engine(database_url, application_name="tests")

    def mark() -> None:
        for number in range(30):
            quotes = [quote(world, symbol, str(100 + number)) for symbol in reversed(symbols)]
            with transaction(other) as connection:
                prices.save_quotes(connection, quotes, received_at=world.now)

    with ThreadPoolExecutor(2) as pool:
        marking = pool.submit(mark)
        settled = pool.submit(world.check)
        marking.result()
        assert settled.result().problems == []
    other.dispose()
    world.assert_books_agree()


def test_positions_that_are_being_changed_are_not_waited_for(world: TradingWorld, database_url: str):
    """Their writer marks them itself."""
    other = create_engine(database_url, application_name="tests")
    with transaction(other) as connection:
        portfolios.hold_portfolio(connection, world.ids["main"])
        connection.execute(sa.text("SELECT 1 FROM positions FOR UPDATE"))
        update(world, Source({AAPL: quote(world, AAPL, "210")}))
    other.dispose()
    assert saved(world)[AAPL] == 210


def test_quotes_of_one_batch_are_as_of_their_own_times(world: TradingWorld):
    update(world, Source({AAPL: quote(world, AAPL, "210", age_s=0.0005)}))
    rows = world.rows("SELECT quoted_at, received_at FROM quotes")
    assert rows[0]["quoted_at"] < rows[0]["received_at"] == world.now
