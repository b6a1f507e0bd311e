"""What the wiring opens, and what it refuses to."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.errors import SettingsError
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.settings import Settings, read_settings
from trading_orchestration.store import live_permissions
from trading_orchestration.store.portfolios import Account
from trading_orchestration.wiring import Trading, build_trading
from trading_orchestration_tests.services.trading_world import AAPL, LIMITS, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """An account at Alpaca, which has no keys, comes before the paper account."""
    new = NewPortfolio(
        name="alpaca", cash=Decimal(1000), limits=LIMITS, broker="alpaca", account_number="PA1"
    )
    open_portfolio(engine, new, at=datetime(2024, 7, 1, tzinfo=UTC))
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    return world


@pytest.fixture
def trading(world: TradingWorld, tmp_path: Path) -> Trading:
    settings = Settings(trading_home=tmp_path, apca_api_key_id=None, apca_api_secret_key=None)
    return build_trading(settings, world.engine, lambda: world.now)


def test_sources_of_prices_are_opened_in_the_order_given(world: TradingWorld, tmp_path: Path):
    given = Settings(
        trading_home=tmp_path,
        trading_price_source="fmp, stored",
        fmp_api_key=SecretStr("a-key-of-fmp"),
    )
    opened = build_trading(given, world.engine, lambda: world.now)
    assert [source.name for source in opened.price_data.sources] == ["fmp", "stored"]


@pytest.mark.parametrize("given", ["", "yahoo", "fmp,,stored", "fmp,fmp", "fmp;stored"])
def test_a_list_of_sources_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv("TRADING_PRICE_SOURCE", given)
    with pytest.raises(SettingsError, match=r"TRADING_PRICE_SOURCE: .*stored, alpaca, fmp, each once"):
        read_settings()


def test_an_account_that_cannot_be_opened_does_not_stop_the_others(world: TradingWorld, trading: Trading):
    trade = world.intend()
    with pytest.raises(SettingsError, match="APCA_API_KEY_ID"):
        trading.check_orders(trading.begin)
    assert world.status(trade) == ("filled", 10)
    world.advance(timedelta(seconds=10))
    with pytest.raises(SettingsError, match="APCA_API_KEY_ID"):
        trading.sync_positions(world.tick, trading.begin)
    assert world.rows("SELECT 1 FROM broker_accounts WHERE reconciled_at IS NOT NULL AND broker = 'paper'")
    world.add_strategy()
    with pytest.raises(SettingsError, match="APCA_API_KEY_ID"):
        trading.execute_strategies(world.tick, trading.begin)
    assert world.rows("SELECT 1 FROM decisions WHERE strategy_id IS NOT NULL")


def test_prices_reach_the_paper_market_without_anybody_elses_keys(world: TradingWorld, trading: Trading):
    trade = world.intend(limit="190")
    world.check()
    world.advance(timedelta(seconds=1))
    trading.give_prices([PriceTick(AAPL, Decimal(190))], world.now)
    world.check()
    assert world.status(trade) == ("filled", 10)


@pytest.mark.parametrize(
    ("environment", "database", "told"),
    [
        ("", True, "set TRADING_LIVE_ACCOUNT to its number"),
        ("OTHER", True, "set TRADING_LIVE_ACCOUNT to its number"),
        ("LIVE-1", False, "run `trading live allow LIVE-1"),
        ("LIVE-1", True, None),
    ],
)
def test_real_money_moves_only_where_the_accounts_number_was_typed_by_hand_twice(
    world: TradingWorld, tmp_path: Path, environment: str, database: bool, told: str | None
):
    settings = Settings(trading_home=tmp_path, trading_live_account=environment)
    trading = build_trading(settings, world.engine, lambda: world.now)
    account = Account(
        id=9,
        broker="paper",
        account_number="LIVE-1",
        environment="live",
        executions_read_until=None,
        reconciled_at=None,
    )
    if database:
        with world.begin() as connection:
            live_permissions.permit(connection, "paper", "LIVE-1", reason="x", actor="me", at=world.now)
    if told is None:
        trading.broker_of(account)
    else:
        with pytest.raises(SettingsError, match=re.escape(told)):
            trading.broker_of(account)
