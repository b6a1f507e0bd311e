"""Our books in one database, and Alpaca with its own in another, spoken to over HTTP."""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import sqlalchemy as sa

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.store import prices
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.brokers.paper_world import new_york
from trading_orchestration_tests.contracts.broker_world import WHOLE_ONLY
from trading_orchestration_tests.services.trading_world import AAPL, CASH, IBM, LIMITS, MSFT, TradingWorld
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld

SETTLED = timedelta(seconds=10)


class AlpacaBooks(TradingWorld):
    """A `TradingWorld` whose one portfolio, `main`, trades at Alpaca."""

    calendar = new_york()

    def __init__(self, engine: sa.Engine, vendor: SimulatedWorld) -> None:
        self.vendor = vendor
        self.engine = engine
        self.begin = partial(transaction, engine)
        self.lease_s = 45
        self.account_number = vendor.market.account_number
        self.broker: AlpacaBroker = vendor.broker  # type: ignore[assignment]
        new = NewPortfolio(
            name="main", cash=CASH, limits=LIMITS, broker="alpaca", account_number=self.account_number
        )
        with self.begin() as connection:
            prices.ensure_instruments(connection, [AAPL, MSFT, IBM, WHOLE_ONLY])
        self.ids = {"main": open_portfolio(engine, new, at=self.now - timedelta(hours=1))}
        self.name = "main"
        self.count_as_compared(self.calendar.previous(self.now.date()).closes_at)

    @property
    def now(self) -> datetime:  # type: ignore[override]
        return self.vendor.market.clock()

    def advance(self, by: timedelta) -> None:
        self.vendor.market.advance(self.now + by)

    def set_price(self, symbol: str, price: str | Decimal) -> None:
        """Move the market, and let us know."""
        self.vendor.market.set_prices({symbol: Decimal(price)})
        self.quote(symbol, price)

    def buy(self, quantity: int = 10, symbol: str = AAPL) -> int:
        """A trade of ours that was sent, filled and booked; answers its id."""
        trade = self.intend(quantity=quantity, symbol=symbol)
        self.check()
        self.advance(SETTLED)
        return trade

    def buy_by_hand(self, quantity: int, symbol: str = AAPL) -> None:
        """Somebody buys at the broker, past us."""
        terms = OrderTerms(symbol=symbol, side=Side.BUY, quantity=Decimal(quantity))
        self.vendor.market.submit(None, terms)
        self.advance(SETTLED)

    def executions(self) -> list[str]:
        """The broker's ids of what is booked, oldest first."""
        return [row["broker_execution_id"] for row in self.rows("SELECT * FROM fills ORDER BY id")]

    def assert_books_agree(self) -> None:
        self.assert_books_are_right()
        held = {symbol: quantity for (_, symbol), quantity in self.held().items()}
        assert held == {p.symbol: p.quantity for p in self.vendor.market.positions()}
        assert self.cash() == self.vendor.market.account().cash
