"""Every way in which the rows can contradict each other is told in a sentence, and right books in none."""

from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.store import prices
from trading_orchestration_tests.services.trading_world import AAPL, TradingWorld, daily_bar


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """A portfolio with a trade bought, one sold, a repair and a snapshot."""
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.intend(quantity=10)
    world.check()
    world.intend(Side.SELL, 4)
    world.check()
    world.paper.submit_order("by-hand", OrderTerms(symbol=AAPL, side=Side.BUY, quantity=Decimal(1)))
    world.advance(timedelta(seconds=10))
    world.sync()
    session = world.close_market()
    with world.begin() as connection:
        prices.save_bars(connection, [daily_bar(AAPL, session.opens_at, Decimal(210))])
    take_snapshots(
        [session],
        begin=world.begin,
        calendar=world.calendar,
        now=world.now,
        price_data=PriceDataService([], lambda: world.now),
    )
    return world


def spoil(world: TradingWorld, statement: str) -> list[str]:
    """What is told once the rows were changed past every guard of the database."""
    with world.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(sa.text(statement))
    return check_books(world.begin)


def test_right_books_are_told_of_in_no_sentence(world: TradingWorld):
    assert check_books(world.begin) == []


IN_LEDGER = "and the ledger says 7 AAPL at 200 (realised 0)."
SPOILT = {
    "UPDATE cash_balances SET amount = amount + 0.000000001": (
        "main: the cached cash is 98600.000000001, and the ledger says 98600."
    ),
    "DELETE FROM cash_balances": "main: it has no cached cash, and the ledger says 98600.",
    "UPDATE positions SET quantity = 8": (
        f"main: the cached position is 8 AAPL at 200 (realised 0), {IN_LEDGER}"
    ),
    "UPDATE positions SET average_cost = 199": (
        f"main: the cached position is 7 AAPL at 199 (realised 0), {IN_LEDGER}"
    ),
    "UPDATE positions SET realised_pnl = 1": (
        f"main: the cached position is 7 AAPL at 200 (realised 1), {IN_LEDGER}"
    ),
    "DELETE FROM positions": f"main: the cached position is 0 AAPL at 0 (realised 0), {IN_LEDGER}",
    "UPDATE trades SET status = 'cancelled', filled_quantity = 3 WHERE side = 'sell'": (
        "Trade 2 says that 3 were filled, and its fills add up to 4."
    ),
    "UPDATE fills SET side = 'buy' WHERE side = 'sell'": (
        "Trade 2 has 1 fills of another portfolio, symbol or side."
    ),
    "UPDATE trades SET reserved_cash = 5 WHERE id = 1": "Trade 1 is filled and still holds 5 of cash.",
    "UPDATE adjustments SET quantity = 2 WHERE symbol IS NOT NULL": (
        "Discrepancy 1 of 1 AAPL was adjusted, and its adjustments add up to 2."
    ),
    "UPDATE discrepancies SET resolution = 'halted' WHERE symbol IS NULL": (
        "Discrepancy 2 of -200 cash was halted, and its adjustments add up to -200."
    ),
    "UPDATE portfolio_snapshots SET cash = cash + 1, total_value = total_value + 1": (
        "main: the snapshot of 2024-07-02 says cash 98601, and the ledger said 98600 then."
    ),
    "DELETE FROM portfolio_snapshot_positions": (
        "main: the snapshot of 2024-07-02 says 1 positions worth 1470, and its lines are 0 worth 0."
    ),
    "UPDATE portfolio_snapshot_positions SET average_cost = 1": (
        "main: the snapshot of 2024-07-02 does not hold AAPL as the ledger did then; take it again."
    ),
}


@pytest.mark.parametrize(("statement", "sentence"), SPOILT.items())
def test_what_does_not_hold_is_named(world: TradingWorld, statement: str, sentence: str):
    assert sentence in spoil(world, statement)


def test_a_trade_of_another_portfolio_than_its_decision_is_named(world: TradingWorld):
    TradingWorld(world.engine, "other")
    told = spoil(world, "UPDATE trades SET portfolio_id = 2 WHERE id = 1")
    assert "Trade 1 is of another portfolio or account than its decision." in told


def test_a_fill_that_came_after_its_snapshot_asks_for_a_new_one(world: TradingWorld):
    told = spoil(
        world,
        "INSERT INTO fills (trade_id, portfolio_id, broker_account_id, symbol, side, quantity, price, "
        "cumulative_quantity, executed_at, is_late) SELECT trade_id, portfolio_id, broker_account_id, "
        "symbol, side, 1, 200, 11, executed_at, true FROM fills WHERE trade_id = 1",
    )
    assert any("take it again" in sentence for sentence in told)


def test_a_ledger_that_cannot_be_folded_is_told_of_and_the_rest_still_checked(world: TradingWorld):
    told = spoil(world, "UPDATE adjustments SET unit_cost = NULL WHERE symbol IS NOT NULL")
    assert [sentence.partition(": An adjustment")[0] for sentence in told] == [
        "main: the ledger of AAPL cannot be folded",
        "main: the snapshot of 2024-07-02 does not hold AAPL as the ledger did then; take it again.",
    ]
