"""What the live system trades: a market that never closes, prices of each minute, a strategy that turns."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from pathlib import Path

from trading_orchestration.cli.processes import free_port
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.services.job_control import JobControl
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.settings import Settings
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.store.installed import open_databases, upgrade_database
from trading_orchestration.wiring import open_calendar, system_clock

#: Its sessions are the days of UTC, from midnight to midnight: any hour of any week will do.
EXCHANGE = "24/7"
SYMBOLS = ("CHA", "CHB", "CHC", "CHD")
CASH = Decimal(100_000)
DAYS_BACK = 40
MINUTES_BACK = 30
#: A run that overstays is still given up long before the harness is.
MINUTES_AHEAD = 45
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.3"),
    max_positions=4,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    max_drawdown_pct=None,
    min_cash_pct=Decimal("0.02"),
)
#: Each completed minute bar closes above or below the one before it: BUY or SELL, never HOLD.
STRATEGY = {
    "name": "turns",
    "universe": list(SYMBOLS),
    "timeframe": "minute",
    "factors": [{"name": "momentum", "parameters": {"lookback": 1, "saturation": 0.0}}],
    "buy_threshold": 0.5,
    "sell_threshold": -0.5,
    "sizing": {"percent": 20, "fractional": True},
}


@dataclass(frozen=True)
class Pace:
    """How long leases and waits of open breakers are here (seconds): short enough to see all in minutes."""

    lease_s: int = 12
    wait_base_s: int = 15
    wait_cap_s: int = 45


def environment(home: Path, prices_url: str) -> dict[str, str]:
    """The variables of an installation in `home`, on ports of its own."""
    return {
        "TRADING_HOME": str(home),
        "TRADING_EXCHANGE": EXCHANGE,
        "TRADING_PRICE_SOURCE": "fmp",
        "FMP_BASE_URL": prices_url,
        "FMP_API_KEY": "any",
        "TRADING_UI_PORT": str(free_port()),
        "TRADING_STREAM_PORT": str(free_port()),
        "TRADING_PAPER_FILL_FRACTION": "0.5",
    }


@dataclass(frozen=True)
class Books:
    """How much there is to trade."""

    portfolios: int = 1
    symbols: tuple[str, ...] = SYMBOLS


def furnish(
    settings: Settings,
    *,
    minutes: float,
    chance: random.Random,
    books: Books | None = None,
    pace: Pace | None = None,
) -> None:
    """Make an installation: prices that reach past the end, portfolios with a strategy each.

    `pace` None leaves the jobs' settings as they come.
    """
    with open_databases(settings) as urls:
        upgrade_database(urls)
        engine = create_engine(urls.trading, application_name="chaos")
        try:
            filling = _Filling(open_calendar(settings), system_clock(), minutes, books or Books(), chance)
            filling.fill(engine)
            if pace is not None:
                _quicken(engine, pace)
        finally:
            engine.dispose()


@dataclass(frozen=True)
class _Filling:
    calendar: MarketCalendar
    now: datetime
    minutes: float
    books: Books
    chance: random.Random

    def fill(self, engine: Engine) -> None:
        with transaction(engine) as connection:
            prices.save_bars(connection, chain(self.daily_bars(), self.minute_bars()))
        funded_at = self.calendar.previous(self.calendar.local(self.now).date()).opens_at
        definition = parse_definition(STRATEGY | {"universe": list(self.books.symbols)})
        for number in range(self.books.portfolios):
            new = NewPortfolio(name=f"chaos-{number}", cash=CASH, limits=LIMITS)
            portfolio_id = open_portfolio(engine, new, at=funded_at)
            with transaction(engine) as connection:
                portfolios.add_strategy(connection, portfolio_id, definition)

    def daily_bars(self) -> Iterator[Bar]:
        today = self.calendar.local(self.now).date()
        first, last = today - timedelta(days=DAYS_BACK), today
        bar = partial(_bar, timeframe=Timeframe.DAY)
        for symbol in self.books.symbols:
            for session in self.calendar.sessions_between(first, last):
                price = Decimal(self.chance.randint(9_500, 10_500)) / 100
                yield bar(symbol, session, session.opens_at, session.closes_at, price)

    def minute_bars(self) -> Iterator[Bar]:
        bar = partial(_bar, timeframe=Timeframe.MINUTE)
        minute = timedelta(minutes=1)
        first = self.now.replace(second=0, microsecond=0) - MINUTES_BACK * minute
        last = self.now + timedelta(minutes=self.minutes + MINUTES_AHEAD)
        for place, symbol in enumerate(self.books.symbols):
            for number in range((last - first) // minute):
                at = first + number * minute
                session = self.calendar.session_at(at)
                if session is not None:
                    cents = 9_900 + 150 * ((number + place) % 2) + self.chance.randint(0, 50)
                    yield bar(symbol, session, at, at + minute, Decimal(cents) / 100)


def _quicken(engine: Engine, pace: Pace) -> None:
    control = JobControl(engine, system_clock)
    waits = {"lease_s": pace.lease_s, "wait_base_s": pace.wait_base_s, "wait_cap_s": pace.wait_cap_s}
    for job_type in JobType:
        control.change_settings(job_type, waits, actor="chaos", reason="everything must be seen in minutes")


def _bar(
    symbol: str,
    session: Session,
    starts_at: datetime,
    ends_at: datetime,
    price: Decimal,
    *,
    timeframe: Timeframe,
) -> Bar:
    return Bar(
        symbol=symbol,
        timeframe=timeframe,
        session=session.date,
        starts_at=starts_at,
        ends_at=ends_at,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Decimal(1_000),
        source="chaos",
    )
