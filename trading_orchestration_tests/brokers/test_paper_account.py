"""Accounts of the paper broker, and the money that comes in and goes out."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.paper_account import deposit, open_account, withdraw
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
    InvalidInputError,
)
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.brokers.paper_world import PaperWorld, assert_books_balance
from trading_orchestration_tests.contracts.broker_world import AAPL, CASH, START, order


@pytest.fixture
def world(market: sa.Engine) -> PaperWorld:
    return PaperWorld(market)


def test_an_account_is_opened_once(world: PaperWorld):
    assert not open_account(world.engine, world.account_number, Decimal(5))
    assert world.broker.get_account().cash == CASH
    assert_books_balance(world)


def test_an_account_may_be_opened_without_money(market: sa.Engine):
    assert open_account(market, "EMPTY", Decimal(0))
    deposit(market, "EMPTY", Decimal("0.01"), reference="first")
    with pytest.raises(BrokerRefusedError, match=r"at most 0\.01 can"):
        withdraw(market, "EMPTY", Decimal("0.02"), reference="more", now=START)


def test_a_transfer_counts_once_under_its_reference(world: PaperWorld):
    for _ in range(2):
        deposit(world.engine, world.account_number, Decimal("250.5"), reference="in")
        withdraw(world.engine, world.account_number, Decimal(50), reference="out", now=world.now)
    assert world.broker.get_account().cash == CASH + Decimal("200.5")
    with pytest.raises(BrokerRefusedError, match=r"stands for a transfer of 250\.5"):
        deposit(world.engine, world.account_number, Decimal(250), reference="in")
    with pytest.raises(BrokerRefusedError, match="give -50 one of its own"):
        withdraw(world.engine, world.account_number, Decimal(50), reference="in", now=world.now)
    assert_books_balance(world)


def test_what_open_orders_hold_back_cannot_be_withdrawn(world: PaperWorld):
    world.set_price(AAPL, Decimal(200))
    world.broker.submit_order("resting", order(600, limit="150"))
    with pytest.raises(BrokerRefusedError, match="at most 10000 can"):
        withdraw(world.engine, world.account_number, Decimal(10_001), reference="out", now=world.now)
    withdraw(world.engine, world.account_number, Decimal(10_000), reference="out", now=world.now)
    assert world.broker.get_account().buying_power == 0
    tomorrow = datetime(2024, 7, 3, 14, 0, tzinfo=UTC)
    withdraw(world.engine, world.account_number, Decimal(90_000), reference="all", now=tomorrow)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "0.0000000001"])
def test_amounts_that_cannot_be_are_refused(world: PaperWorld, amount: str):
    with pytest.raises(InvalidInputError, match="x was"):
        deposit(world.engine, world.account_number, Decimal(amount), reference="x")
    with pytest.raises(InvalidInputError, match="x was"):
        withdraw(world.engine, world.account_number, Decimal(amount), reference="x", now=world.now)
    assert world.broker.get_account().cash == CASH


@pytest.mark.parametrize(
    ("number", "cash"), [("", "1"), (" ", "1"), ("a\x00", "1"), ("a", "-1"), ("a", "NaN")]
)
def test_accounts_that_cannot_be_are_refused(market: sa.Engine, number: str, cash: str):
    with pytest.raises(InvalidInputError):
        open_account(market, number, Decimal(cash))


def test_money_for_an_account_that_was_never_opened_is_refused(market: sa.Engine):
    with pytest.raises(BrokerNotAuthorizedError, match="NOWHERE"):
        deposit(market, "NOWHERE", Decimal(1), reference="x")


def test_a_database_that_is_away_leaves_a_transfer_unknown():
    away = create_engine("postgresql://nobody:nothing@127.0.0.1:1/trading", application_name="tests")
    with pytest.raises(BrokerUnavailableError):
        open_account(away, "ANY", Decimal(1))
    with pytest.raises(BrokerUnknownError):
        deposit(away, "ANY", Decimal(1), reference="x")
