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
from trading_orchestration.store import migrations, portfolios, prices
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.wiring import open_calendar, open_databases, system_clock

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


def furnish(home: Path, *, minutes: float, chance: random.Random, pace: Pace) -> None:
    """Make an installation: prices that reach past the end, one portfolio with its strategy, short leases."""
    settings = Settings(trading_home=home, trading_exchange=EXCHANGE)
    now = system_clock()
    with open_databases(settings) as urls:
        engine = create_engine(urls.trading, application_name="chaos")
        try:
            migrations.upgrade(engine)
            _fill(engine, open_calendar(settings), now, minutes=minutes, chance=chance)
            _quicken(engine, pace)
        finally:
            engine.dispose()


def _fill(
    engine: Engine, calendar: MarketCalendar, now: datetime, *, minutes: float, chance: random.Random
) -> None:
    today = calendar.local(now).date()
    near = calendar.sessions_between(today - timedelta(days=DAYS_BACK), today + timedelta(days=2))
    until = now + timedelta(minutes=minutes + MINUTES_AHEAD)
    with transaction(engine) as connection:
        bars = chain(_daily_bars(near, chance), _minute_bars(calendar, now, until, chance))
        prices.save_bars(connection, bars)
    new = NewPortfolio(name="chaos", cash=CASH, limits=LIMITS)
    portfolio_id = open_portfolio(engine, new, at=calendar.previous(today).opens_at)
    with transaction(engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, parse_definition(STRATEGY))


def _quicken(engine: Engine, pace: Pace) -> None:
    control = JobControl(engine, system_clock)
    waits = {"lease_s": pace.lease_s, "wait_base_s": pace.wait_base_s, "wait_cap_s": pace.wait_cap_s}
    for job_type in JobType:
        control.change_settings(job_type, waits, actor="chaos", reason="everything must be seen in minutes")


def _daily_bars(sessions: tuple[Session, ...], chance: random.Random) -> Iterator[Bar]:
    bar = partial(_bar, timeframe=Timeframe.DAY)
    for symbol in SYMBOLS:
        for session in sessions:
            price = Decimal(chance.randint(9_500, 10_500)) / 100
            yield bar(symbol, session, session.opens_at, session.closes_at, price)


def _minute_bars(
    calendar: MarketCalendar, now: datetime, until: datetime, chance: random.Random
) -> Iterator[Bar]:
    bar = partial(_bar, timeframe=Timeframe.MINUTE)
    minute = timedelta(minutes=1)
    first = now.replace(second=0, microsecond=0) - MINUTES_BACK * minute
    for place, symbol in enumerate(SYMBOLS):
        for number in range((until - first) // minute):
            at = first + number * minute
            session = calendar.session_at(at)
            assert session is not None, "this market never closes"
            above = (number + place) % 2
            yield bar(
                symbol, session, at, at + minute, Decimal(9_900 + 150 * above + chance.randint(0, 50)) / 100
            )


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
