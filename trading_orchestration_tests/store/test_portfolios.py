"""One writer a portfolio, halts that bind whom they name, accounts that somebody trades through."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import Side
from trading_orchestration.store import portfolios
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.services.trading_world import AAPL, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    return TradingWorld(engine, "main", "second")


def halt(world: TradingWorld, portfolio_id: int | None, level: HaltLevel) -> bool:
    with world.begin() as connection:
        return portfolios.add_halt(
            connection, portfolio_id=portfolio_id, level=level, reason="test", actor="test", at=world.now
        )


def test_a_portfolio_has_one_writer_and_others_may_still_refer_to_it(world: TradingWorld, database_url: str):
    """Whoever only tells of a portfolio, or decides a trade of it, does not wait: two that wait deadlock."""
    other = create_engine(database_url, application_name="tests")
    with transaction(world.engine) as writer, transaction(other) as elsewhere:
        portfolios.hold_portfolio(writer, world.ids["main"])
        elsewhere.execute(sa.text("SET LOCAL lock_timeout = '200ms'"))
        message = Notification(
            severity=Severity.INFO, kind="test", title="t", dedupe_key="k", portfolio_id=world.ids["main"]
        )
        add_notifications(elsewhere, [message], at=world.now)
        portfolios.hold_portfolio(elsewhere, world.ids["second"])
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"), elsewhere.begin_nested():
            portfolios.hold_portfolio(elsewhere, world.ids["main"])
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"), elsewhere.begin_nested():
            portfolios.hold_portfolios_of(elsewhere, world.account.id)
    other.dispose()


def test_a_portfolio_is_bound_by_the_stricter_of_its_own_halt_and_the_one_for_all(world: TradingWorld):
    main, second = world.ids.values()
    assert halt(world, main, HaltLevel.CANCEL_OPEN)
    assert not halt(world, main, HaltLevel.FLATTEN), "one is in force"
    assert halt(world, None, HaltLevel.NO_NEW)
    with world.begin() as connection:
        halts = portfolios.read_halts(connection)
    levels = [h.level if (h := portfolios.halt_of(halts, i)) else None for i in (main, second)]
    assert levels == [HaltLevel.CANCEL_OPEN, HaltLevel.NO_NEW]
    with world.begin() as connection:
        portfolios.end_halt(connection, portfolio_id=None, reason="seen", actor="test", at=world.now)
        halts = portfolios.read_halts(connection)
        assert portfolios.was_halted(connection, main, "test", since=world.now)
        assert not portfolios.was_halted(connection, main, "another", since=world.now)
        assert not portfolios.was_halted(connection, main, "test", since=world.now + timedelta(seconds=1))
    assert portfolios.halt_of(halts, second) is None


def test_an_account_counts_while_somebody_trades_through_it_or_an_order_is_open(world: TradingWorld):
    world.set_price(AAPL, "100")
    world.intend(Side.BUY)
    world.rows("UPDATE portfolios SET is_active = false RETURNING id")
    assert len(world.accounts()) == 1
    world.check()
    assert world.accounts() == []
