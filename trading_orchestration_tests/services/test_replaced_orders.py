"""Orders that somebody replaced at the broker: the trade lives on under every name of the chain."""

from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.broker import BrokerOrder, OrderStatus
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.services.trading_world import AAPL, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """One price fills two fifths of an order."""
    world = TradingWorld(engine, settings=PaperSettings(partial_fill_fraction=Decimal("0.4")))
    world.set_price(AAPL, "200")
    return world


def replaced_twice(world: TradingWorld, trade: int) -> tuple[str, str]:
    """Somebody replaced a trade's order, partly filled, and its heir likewise; answers those two."""
    old = world.trade(trade)["broker_order_id"]
    world.paper.cancel_order(old)
    orders = [world.paper.get_order(old)]
    for name in ("heir", "grandchild"):
        terms = OrderTerms(
            symbol=AAPL,
            side=Side.BUY,
            quantity=Decimal(4),
            order_type=OrderType.LIMIT,
            limit_price=Decimal(190),
        )
        orders.append(world.paper.submit_order(name, terms))
    first, heir, grandchild = (order for order in orders if order is not None)
    ids = [first.broker_order_id, heir.broker_order_id, grandchild.broker_order_id]

    def shown(order: BrokerOrder) -> BrokerOrder:
        if order.broker_order_id not in ids[:2]:
            return order
        follower = ids[ids.index(order.broker_order_id) + 1]
        return replace(order, status=OrderStatus.REPLACED, vendor_status="replaced", replaced_by=follower)

    world.broker.order = lambda order: (
        replace(shown(order), replaces=ids[ids.index(order.broker_order_id) - 1])
        if order.broker_order_id in ids[1:]
        else shown(order)
    )
    return ids[1], ids[2]


def test_fills_of_every_order_of_a_chain_of_replacements_are_booked(world: TradingWorld):
    trade = world.intend(limit="190")
    world.send()
    world.set_price(AAPL, "190")  # two fifths of it
    world.check()
    heir, grandchild = replaced_twice(world, trade)
    world.set_price(AAPL, "189")  # two fifths of each
    world.paper.cancel_order(heir)
    world.paper.cancel_order(grandchild)
    world.check()
    assert world.status(trade) == ("cancelled", 8)
    assert [title for title in world.titles() if "took back" in title] == []
    world.assert_books_agree()


def test_fills_of_a_chain_that_come_after_the_end_are_found_by_the_comparison(world: TradingWorld):
    trade = world.intend(limit="190")
    world.send()
    world.set_price(AAPL, "190")
    heir, grandchild = replaced_twice(world, trade)
    world.set_price(AAPL, "189")
    world.paper.cancel_order(heir)
    world.paper.cancel_order(grandchild)
    world.broker.chaos = 1.0  # it lists no execution
    world.close_market()
    world.check()
    assert world.status(trade) == ("cancelled", 0)
    world.broker.chaos = 0.0
    assert world.sync().counts["discrepancies"] == 0
    assert world.status(trade) == ("cancelled", 8)
    assert world.rows("SELECT FROM adjustments") == []
    world.assert_books_agree()


def test_a_halt_cancels_an_entry_under_the_name_it_lives_on(world: TradingWorld):
    trade = world.intend(limit="190")
    world.send()
    _, grandchild = replaced_twice(world, trade)
    world.halt(HaltLevel.CANCEL_OPEN)
    world.check()
    order = world.paper.get_order(grandchild)
    assert order is not None
    assert order.status is OrderStatus.CANCELLED
