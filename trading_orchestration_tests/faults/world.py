"""What the workers trade: portfolios whose strategies turn around every thirty seconds of a fast market."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.services.entry_check import EntryCheck
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.strategy_execution import StrategyExecution
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import TradingService
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.store.portfolios import Account
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.market_calendars import NEW_YORK, session_of

CALENDAR = MarketCalendar(
    "XNYS", NEW_YORK, tuple(map(session_of, ("2024-06-28", "2024-07-01", "2024-07-02", "2024-07-03"))), {}
)
ENTRIES = EntryCheck(CALENDAR, timedelta(days=1))
START = datetime(2024, 7, 2, 13, 31, tzinfo=UTC)
#: Market seconds in a real one.
SPEED = 20
STEP = timedelta(seconds=30)
STEPS = 700
SYMBOLS = tuple(f"FLT{letter}" for letter in "ABCDEFGHIJ")
#: Traded by hand at the broker only.
BY_HAND = "FLTZ"
PRICE = Decimal(100)
CASH = Decimal(100_000)
#: Longer than one exchange with the broker may take here.
LEASE_S = 3
TIMEOUTS = Timeouts(connect_s=0.5, answer_s=1.0, read_s=3.0, rate_limit_s=1.0)
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.5"),
    max_positions=50,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal("0.02"),
)
STRATEGY = {
    "name": "turns",
    "universe": list(SYMBOLS),
    "timeframe": "minute",
    "factors": [{"name": "momentum", "parameters": {"lookback": 1, "saturation": 0.0}}],
    "buy_threshold": 0.5,
    "sell_threshold": -0.5,
    "sizing": {"shares": "3.141592653", "fractional": True},
}


@dataclass(frozen=True)
class Way:
    """How a process comes to the books, the market and its time. `origin` is `time.monotonic` at `START`."""

    home: str
    url: str
    key_id: str
    secret_key: str
    account_number: str
    origin: float

    def clock(self) -> datetime:
        return START + timedelta(seconds=(time.monotonic() - self.origin) * SPEED)


def open_books(engine: Engine, account_number: str, count: int) -> None:
    """That many portfolios of one account at Alpaca, compared with it, with a strategy each."""
    with transaction(engine) as connection:
        prices.save_bars(connection, turning_bars())
        prices.ensure_instruments(connection, [BY_HAND])
        symbols = (*SYMBOLS, BY_HAND)
        quotes = [Quote(symbol=s, price=PRICE, quoted_at=START, source="test") for s in symbols]
        prices.save_quotes(connection, quotes, received_at=START)
    for number in range(count):
        new = NewPortfolio(
            name=f"p{number}", cash=CASH, limits=LIMITS, broker="alpaca", account_number=account_number
        )
        portfolio_id = open_portfolio(engine, new, at=START - timedelta(days=1))
        with transaction(engine) as connection:
            portfolios.add_strategy(connection, portfolio_id, parse_definition(STRATEGY))
    with transaction(engine) as connection:
        (account,) = portfolios.read_accounts(connection)
        portfolios.set_reconciled(connection, account.id, START)


def turning_bars() -> Iterator[Bar]:
    """Every bar of a symbol closes on the other side of the one before: at each tick it turns."""
    for place, symbol in enumerate(SYMBOLS):
        for number in range(-3, STEPS):
            price = PRICE + (number + place) % 2
            yield Bar(
                symbol=symbol,
                timeframe=Timeframe.MINUTE,
                session=START.date(),
                starts_at=START + number * STEP,
                ends_at=START + (number + 1) * STEP,
                open=price,
                high=price,
                low=price,
                close=price,
                volume=Decimal(1),
                source="test",
            )


@dataclass(frozen=True)
class Jobs:
    """The real job services over one engine, one client of the broker, one clock."""

    engine: Engine
    broker: AlpacaBroker
    clock: Clock
    lease_s: int

    @classmethod
    def of(cls, engine: Engine, way: Way, clock: Clock, *, lease_s: int = LEASE_S) -> "Jobs":
        broker = AlpacaBroker(
            keys=AlpacaKeys(SecretStr(way.key_id), SecretStr(way.secret_key)),
            is_live=False,
            limiter=Unlimited(),
            now=clock,
            base_url=way.url,
            timeouts=TIMEOUTS,
        )
        return cls(engine, broker, clock, lease_s)

    @property
    def account(self) -> Account:
        with transaction(self.engine) as connection:
            (account,) = portfolios.read_accounts(connection)
        return account

    def submission(self, account: Account) -> Submission:
        begin = partial(transaction, self.engine)
        return Submission(begin, self.broker, account, ENTRIES, self.clock, lease_s=self.lease_s)

    def trading(self, account: Account) -> TradingService:
        begin = partial(transaction, self.engine)
        return TradingService(begin, self.broker, account, CALENDAR, self.clock)

    def execution(self, account: Account) -> StrategyExecution:
        return StrategyExecution(
            begin=partial(transaction, self.engine),
            accounts={account.id: account},
            submission_of=self.submission,
            entries=ENTRIES,
        )

    def value_yesterday(self) -> Report:
        """The snapshots of the session before `START`, once more."""
        yesterday = CALENDAR.previous(START.date())
        return take_snapshots(
            [yesterday],
            begin=partial(transaction, self.engine),
            calendar=CALENDAR,
            now=self.clock(),
            price_data=PriceDataService([], self.clock),
        )

    def tick(self) -> Tick:
        """The newest tick by now."""
        session = CALENDAR.session_at(self.clock())
        assert session is not None
        return Tick(START + (self.clock() - START) // STEP * STEP, session, "faults")
