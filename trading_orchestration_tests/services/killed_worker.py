"""Kills a worker (SIGKILL) at each named crash point of a trading day, and drives the day on without it.

Run as a module with a database URL. It prints one line for each point: whether the worker was killed there,
and what was wrong with orders or books once another had driven the day to its end.
"""

import os
import signal
import sys
from datetime import timedelta
from decimal import Decimal

import sqlalchemy as sa

from trading_orchestration import crashpoint
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.tick import Tick
from trading_orchestration.store import prices
from trading_orchestration.store.database import create_engine
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.services.trading_world import AAPL, IBM, MSFT, TradingWorld, daily_bar

#: Each point, and at which of its passes the worker dies.
POINTS = (
    ("before_decision_commit", 1),
    ("after_decisions", 1),
    ("after_claim", 1),
    ("before_post", 1),
    ("before_post", 2),
    ("after_post", 1),
    ("after_post", 2),
    ("after_submitted", 1),
    ("after_submitted", 2),
    ("after_fills", 1),
    ("after_fills", 2),
    ("after_positions", 1),
    ("after_settlement", 1),
    ("after_cancel", 1),
    ("before_sync_commit", 1),
    ("before_snapshot_commit", 1),
)


def morning(engine: sa.Engine, name: str) -> TradingWorld:
    """A position at a loss, an entry at rest at the broker, a trade by hand, signals to buy and sell."""
    world = TradingWorld(engine, f"{name}-main", f"{name}-second")
    world.lease_s = 0
    for symbol in (AAPL, MSFT, IBM):
        world.set_price(symbol, "100")
    world.intend(symbol=MSFT, quantity=20)
    world.intend(symbol=IBM, quantity=5, portfolio=f"{name}-second")
    world.check()
    world.intend(symbol=IBM, quantity=3, limit="50")
    world.check()
    world.set_price(MSFT, "89")
    world.add_strategy(f"{name}-trend", universe=[AAPL, IBM], portfolio=f"{name}-second")
    world.add_strategy(f"{name}-other", universe=[AAPL])
    world.paper.submit_order("by-hand", OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(2)))
    return world


def day(world: TradingWorld, tick: Tick) -> None:
    """Decide, send, settle, cancel under a halt, compare, value; what was done is not done again."""
    world.execute(tick)
    world.check()
    world.halt(HaltLevel.CANCEL_OPEN)
    world.check()
    world.advance(timedelta(seconds=10))
    world.sync()
    session = world.close_market()
    take_snapshots(
        [session],
        begin=world.begin,
        calendar=world.calendar,
        now=world.now,
        price_data=PriceDataService([], lambda: world.now),
    )


def in_a_worker(world: TradingWorld, tick: Tick, point: str, passes: int) -> bool:
    """Whether a process that lives the day was killed at the point."""
    child = os.fork()
    if not child:
        left = [passes]

        def die(name: str) -> None:
            left[0] -= name == point
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        crashpoint.install(die)
        world.engine.dispose(close=False)
        day(world, tick)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the worker failed with status {status}"
    return os.WIFSIGNALED(status)


def wrong_with(world: TradingWorld) -> list[str]:
    """What is lost, doubled or adrift."""
    found = []
    trades = world.rows(
        "SELECT t.client_order_id, t.status, t.symbol, t.side, t.filled_quantity FROM trades t "
        "JOIN broker_accounts a ON a.id = t.broker_account_id WHERE a.account_number = :number",
        number=world.account_number,
    )
    orders = world.paper.list_orders(after=world.now - timedelta(days=1))
    sent = sorted(order.client_order_id for order in orders if order.client_order_id != "by-hand")
    if sent != sorted(trade["client_order_id"] for trade in trades):
        found.append(f"orders {sent} for trades {[dict(trade) for trade in trades]}")
    bought = sorted((t["side"], t["symbol"], int(t["filled_quantity"]), t["status"]) for t in trades)
    if bought != [
        ("buy", AAPL, 10, "filled"),
        ("buy", AAPL, 10, "filled"),
        ("buy", IBM, 0, "cancelled"),
        ("buy", IBM, 5, "filled"),
        ("buy", MSFT, 20, "filled"),
        ("sell", IBM, 5, "filled"),
        ("sell", MSFT, 20, "filled"),
    ]:
        found.append(f"trades {bought}")
    valued = "SELECT 1 FROM portfolio_snapshots WHERE portfolio_id = ANY(:ids)"
    if len(world.rows(valued, ids=list(world.ids.values()))) != 2:
        found.append("not two snapshots")
    try:
        world.assert_books_agree()
    except AssertionError as error:
        found.append(f"books: {error}")
    return found


def main(url: str) -> None:
    engine = create_engine(url, application_name="killed")
    for number, (point, passes) in enumerate(POINTS):
        world = morning(engine, f"p{number}")
        if not number:
            world.trend(AAPL, 90, 100)
            world.trend(IBM, 110, 100)
            with world.begin() as connection:
                prices.save_bars(connection, [daily_bar(AAPL, world.tick.session.opens_at, Decimal(100))])
        tick = world.tick
        is_killed = in_a_worker(world, tick, point, passes)
        world.advance(timedelta(seconds=30))
        day(world, tick)
        world.check()
        problems = wrong_with(world)
        sys.stdout.write(f"{point} {passes} {'killed' if is_killed else 'lived'} {problems}\n")
        world.rows("UPDATE portfolios SET is_active = false RETURNING id")


if __name__ == "__main__":
    main(*sys.argv[1:])
