"""A paper market for tests: one account on a clock that the test moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from uuid import uuid4

import sqlalchemy as sa

from trading_orchestration.brokers.paper import PaperBroker
from trading_orchestration.brokers.paper_account import open_account
from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.matching import PaperSettings, PriceTick
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.conftest import _new_database
from trading_orchestration_tests.contracts.broker_world import (
    AAPL,
    BEFORE,
    CASH,
    MSFT,
    NOT_TRADABLE,
    START,
    WHOLE_ONLY,
)

_ADD_INSTRUMENT = sa.text(
    "INSERT INTO instruments (symbol, is_tradable, is_fractionable) "
    "VALUES (:symbol, :is_tradable, :is_fractionable)"
)
INSTRUMENTS = [
    {"symbol": AAPL, "is_tradable": True, "is_fractionable": True},
    {"symbol": MSFT, "is_tradable": True, "is_fractionable": True},
    {"symbol": WHOLE_ONLY, "is_tradable": True, "is_fractionable": False},
    {"symbol": NOT_TRADABLE, "is_tradable": False, "is_fractionable": True},
]


@cache
def new_york() -> MarketCalendar:
    """XNYS, built once."""
    return load_calendar("XNYS", today=date(2025, 1, 1), cache_directory=None)


@contextmanager
def paper_market(server_url: str, template: str) -> Iterator[sa.Engine]:
    """A database for many tests: each account in it is a world of its own."""
    with _new_database(server_url, template) as url:
        engine = create_engine(url, application_name="tests")
        with engine.begin() as connection:
            connection.execute(_ADD_INSTRUMENT, INSTRUMENTS)
        try:
            yield engine
        finally:
            engine.dispose()


def new_account_number() -> str:
    return f"PAPER-{uuid4().hex}"


class PaperWorld:
    """A `BrokerWorld` on the paper broker."""

    def __init__(self, engine: sa.Engine, settings: PaperSettings | None = None) -> None:
        self.engine = engine
        self.now = START
        self.account_number = new_account_number()
        self.settings = settings or PaperSettings()
        assert open_account(engine, self.account_number, CASH)
        self.broker = self.connect()

    def connect(self) -> PaperBroker:
        return PaperBroker(
            self.engine,
            account_number=self.account_number,
            calendar=new_york(),
            clock=lambda: self.now,
            settings=self.settings,
        )

    def set_price(self, symbol: str, price: Decimal) -> None:
        self.give(PriceTick(symbol, price))

    def give(self, *ticks: PriceTick) -> int:
        """Give prices a moment later: the market takes no two for one instant."""
        self.now += timedelta(milliseconds=1)
        return self.broker.give_prices(ticks, at=self.now)

    def advance(self, to: datetime) -> None:
        assert to >= self.now
        self.now = to

    def at(self, clock: str, day: str = "2024-07-02") -> datetime:
        """Move to a time of day in UTC."""
        self.advance(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC))
        return self.now


def with_settings(market: sa.Engine, **settings: Decimal | Commission | bool) -> PaperWorld:
    world = PaperWorld(market, PaperSettings(**settings))  # type: ignore[arg-type]
    world.set_price(AAPL, Decimal(200))
    return world


def bar(prices: str, starts_at: datetime, symbol: str = AAPL) -> PriceTick:
    """The end of a bar "open high low close"."""
    opening, high, low, close = map(Decimal, prices.split())
    ended = Bar(
        symbol=symbol,
        timeframe=Timeframe.MINUTE,
        session=starts_at.date(),
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=1),
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=Decimal(1),
        source="test",
    )
    return PriceTick(symbol, close, ended)


def prices_paid(world: PaperWorld) -> list[Decimal]:
    return [execution.price for execution in world.broker.list_executions(after=BEFORE)]


def assert_books_balance(world: PaperWorld) -> None:
    """Orders, holdings and cash of the account are exactly what its executions and transfers add up to."""
    with world.engine.connect() as connection:
        wrong = connection.execute(_OUT_OF_BALANCE, {"account": world.account_number}).all()
    assert not wrong


_OUT_OF_BALANCE = sa.text("""
    WITH executed AS (SELECT * FROM paper.executions WHERE account_number = :account),
    signed AS (SELECT *, CASE side WHEN 'buy' THEN 1 ELSE -1 END AS sign FROM executed)
    SELECT 'order ' || client_order_id AS what
    FROM paper.orders AS sent
    LEFT JOIN (SELECT order_id, sum(quantity) AS quantity, max(cumulative_quantity) AS cumulative,
                      sum(quantity * price) / sum(quantity) AS price
               FROM executed GROUP BY order_id) AS filled ON filled.order_id = sent.id
    WHERE account_number = :account
      AND (coalesce(filled.quantity, 0) <> filled_quantity
           OR coalesce(filled.cumulative, 0) <> filled_quantity
           OR abs(coalesce(filled.price, 0) - coalesce(filled_average_price, 0)) > 0.00000001
           OR (status = 'filled') <> (filled_quantity = sent.quantity)
           OR (status = 'accepted' AND filled_quantity > 0)
           OR (status = 'partially_filled' AND filled_quantity = 0))
    UNION ALL
    SELECT 'holding ' || symbol
    FROM (SELECT symbol, sum(sign * quantity) AS quantity FROM signed GROUP BY symbol) AS bought
    FULL JOIN (SELECT * FROM paper.positions WHERE account_number = :account) AS held USING (symbol)
    WHERE coalesce(bought.quantity, 0) <> coalesce(held.quantity, 0)
       OR (held.quantity = 0) <> (held.average_entry_price = 0)
    UNION ALL
    SELECT 'cash' FROM paper.accounts
    WHERE account_number = :account
      AND cash <> (SELECT coalesce(sum(amount), 0) FROM paper.transfers WHERE account_number = :account)
                - (SELECT coalesce(sum(round(sign * quantity * price, 9) + fee), 0) FROM signed)
""")
