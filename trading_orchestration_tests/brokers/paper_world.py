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
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.matching import PaperSettings, PriceTick
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.conftest import _new_database
from trading_orchestration_tests.contracts.broker_contract import (
    AAPL,
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
        yield engine
        engine.dispose()


class PaperWorld:
    """A `BrokerWorld` on the paper broker."""

    def __init__(self, engine: sa.Engine, settings: PaperSettings | None = None) -> None:
        self.engine = engine
        self.now = START
        self.account_number = f"PAPER-{uuid4().hex}"
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
