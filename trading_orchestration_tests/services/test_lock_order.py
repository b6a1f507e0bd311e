"""Who imports bars and who books lock in one order: on two real connections, neither waits for the other."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.store import portfolios, prices
from trading_orchestration_tests.services.snapshot_world import TUESDAY, WEDNESDAY, close, snapshot
from trading_orchestration_tests.services.trading_world import AAPL, MSFT, TradingWorld, daily_bar

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_AT_ONCE = sa.text("SELECT id FROM portfolios ORDER BY id FOR NO KEY UPDATE NOWAIT")


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """`main` holds MSFT, `second` AAPL."""
    world = TradingWorld(engine, "main", "second")
    for symbol, price in ((AAPL, "200"), (MSFT, "50")):
        world.set_price(symbol, price)
    world.intend(symbol=MSFT)
    world.intend(symbol=AAPL, portfolio="second")
    world.check()
    world.advance(timedelta(seconds=10))
    return world


def hold_all_once_another_waits(world: TradingWorld, connection: sa.Connection) -> None:
    """Raises where the other holds a portfolio while it waits for this connection."""
    deadline = time.monotonic() + 10
    while not world.rows(_WAITING)[0]["count"]:
        assert time.monotonic() < deadline, "nobody waited"
        time.sleep(0.01)
    connection.execute(_AT_ONCE)


def test_bars_that_come_and_bars_that_change_wait_for_a_portfolio_with_none_held(world: TradingWorld):
    """What changes is of `second`, which comes after `main`; what comes late of `main`, which a run holds."""
    close(world, TUESDAY, AAPL, 200)
    close(world, TUESDAY, MSFT, 50)
    close(world, WEDNESDAY, AAPL, 200)
    snapshot(world, TUESDAY, WEDNESDAY, carry_sessions=1)
    bars = [
        replace(daily_bar(symbol, WEDNESDAY.opens_at, Decimal(price)), ends_at=WEDNESDAY.closes_at)
        for symbol, price in ((AAPL, 201), (MSFT, 51))
    ]

    def save() -> prices.SavedBars:
        with world.begin() as connection:
            return prices.save_bars(connection, bars)

    with ThreadPoolExecutor(1) as pool:
        with world.begin() as connection:
            portfolios.hold_portfolio(connection, world.ids["main"])
            saving = pool.submit(save)
            hold_all_once_another_waits(world, connection)
        assert saving.result() == prices.SavedBars(added=1, corrected=1)
    stale = world.rows("SELECT portfolio_id FROM portfolio_snapshots WHERE stale_since IS NOT NULL")
    assert {row["portfolio_id"] for row in stale} == set(world.ids.values())


def test_a_sync_waits_for_a_new_symbol_with_no_portfolio_held(world: TradingWorld):
    """As it is while bars of the symbol are being imported, which then mark snapshots."""
    with world.begin() as connection:
        prices.ensure_instruments(connection, ["NVDA"])
    world.paper.give_prices([PriceTick("NVDA", Decimal(100))], at=world.now)
    world.paper.submit_order("by-hand", OrderTerms(symbol="NVDA", side=Side.BUY, quantity=Decimal(3)))
    world.advance(timedelta(seconds=10))
    world.rows("DELETE FROM instruments WHERE symbol = 'NVDA' RETURNING symbol")
    with ThreadPoolExecutor(1) as pool:
        with world.begin() as connection:
            prices.ensure_instruments(connection, ["NVDA"])
            syncing = pool.submit(world.sync)
            hold_all_once_another_waits(world, connection)
        assert syncing.result().counts["discrepancies"] == 2
