"""Bars for a simulated market: six sessions, each close a dollar above the last."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

import sqlalchemy as sa

from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.store.database import transaction
from trading_orchestration.store.prices import save_bars
from trading_orchestration_tests.brokers.paper_world import new_york, paper_market

FIRST, LAST = date(2024, 6, 24), date(2024, 7, 2)


def daily_bars(symbol: str, first_close: int) -> Iterator[Bar]:
    """A bar of every session from 24 June to 2 July 2024, the last of them still going on at `START`."""
    for number, session in enumerate(new_york().sessions_between(FIRST, LAST)):
        price = Decimal(first_close + number)
        yield Bar(
            symbol=symbol,
            timeframe=Timeframe.DAY,
            session=session.date,
            starts_at=session.opens_at,
            ends_at=session.closes_at,
            open=price - Decimal("0.5"),
            high=price + Decimal("1.25"),
            low=price - Decimal("1.75"),
            close=price,
            volume=Decimal(1_000_000 + number),
            source="test",
        )


@contextmanager
def market_with_bars(server_url: str, template: str) -> Iterator[sa.Engine]:
    """A paper market whose AAPL closed at 200 on 24 June and MSFT at 400."""
    with paper_market(server_url, template) as engine:
        with transaction(engine) as connection:
            save_bars(connection, [*daily_bars("AAPL", 200), *daily_bars("MSFT", 400)])
        yield engine
