"""What tests of snapshots do to a world: closes, money that moves, snapshots of sessions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.errors import MarketDataUnavailableError
from trading_orchestration.market_data.source import QuoteBatch
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.tick import Report
from trading_orchestration.store import ledger, portfolios, prices
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
from trading_orchestration_tests.services.trading_world import AAPL, TradingWorld, daily_bar

SESSIONS = INDEPENDENCE_WEEK.sessions
TUESDAY, WEDNESDAY, FRIDAY, MONDAY = SESSIONS[1:]
_NUMBERS = count(1)


class OneSource:
    """A source with the bars it is given; it may be down."""

    name = "vendor"
    max_batch_size = 100

    def __init__(self, *bars: Bar, is_down: bool = False) -> None:
        self.bars = bars
        self.is_down = is_down
        self.asked: list[Sequence[str]] = []

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        return QuoteBatch({}, dict.fromkeys(symbols, "none"))

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        self.asked.append(symbols)
        if self.is_down:
            raise MarketDataUnavailableError("the vendor is down")
        return [bar for bar in self.bars if bar.timeframe is timeframe and start <= bar.starts_at < end]


def close(world: TradingWorld, session: Session, symbol: str, price: int | str) -> None:
    bar = daily_bar(symbol, session.opens_at, Decimal(price))
    with world.begin() as connection:
        prices.save_bars(connection, [replace(bar, ends_at=session.closes_at)])


def snapshot(
    world: TradingWorld, *sessions: Session, source: OneSource | None = None, carry_sessions: int = 0
) -> Report:
    """Take the snapshots of some sessions, in one go."""
    world.now = max(world.now, *(session.closes_at + timedelta(minutes=5) for session in sessions))
    service = PriceDataService([source or OneSource()], lambda: world.now)
    return take_snapshots(
        sessions,
        begin=world.begin,
        calendar=world.calendar,
        now=world.now,
        price_data=service,
        carry_sessions=carry_sessions,
    )


def taken(world: TradingWorld) -> dict[date, Any]:
    rows = world.rows("SELECT * FROM portfolio_snapshots ORDER BY session")
    return {row["session"]: row for row in rows}


def move(world: TradingWorld, amount: int, at: datetime) -> None:
    with world.begin() as connection:
        portfolios.hold_portfolio(connection, world.ids[world.name])
        ledger.add_cash_movement(
            connection,
            portfolio_id=world.ids[world.name],
            kind="deposit" if amount > 0 else "withdrawal",
            amount=Decimal(amount),
            reference=f"{amount} at {at}",
            occurred_at=at,
        )


def fill(world: TradingWorld, at: datetime, quantity: int, price: int, symbol: str = AAPL) -> None:
    """An execution that the broker tells of only now."""
    world.rows(
        "INSERT INTO fills (trade_id, portfolio_id, broker_account_id, broker_execution_id, symbol, side, "
        "quantity, price, cumulative_quantity, executed_at) "
        "SELECT t.id, t.portfolio_id, t.broker_account_id, :name, :symbol, CAST(:side AS trade_side), "
        "abs(:quantity), :price, 1000000, :at FROM trades t WHERE t.portfolio_id = :id LIMIT 1 RETURNING id",
        name=f"late-{next(_NUMBERS)}",
        symbol=symbol,
        side="buy" if quantity > 0 else "sell",
        quantity=quantity,
        price=price,
        at=at,
        id=world.ids[world.name],
    )
