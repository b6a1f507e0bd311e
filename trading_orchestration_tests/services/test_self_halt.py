"""A halt is told each time that it begins, and once for each reason while it lasts."""

import pytest
import sqlalchemy as sa

from trading_orchestration.services.self_halt import halt
from trading_orchestration.store import portfolios
from trading_orchestration_tests.services.trading_world import TradingWorld

RULE = "200 orders were decided within an hour; the limit is 200."


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    return TradingWorld(engine)


@pytest.mark.parametrize("is_for_all", [False, True])
def test_the_same_rule_is_told_again_when_it_halts_again(world: TradingWorld, is_for_all: bool):
    portfolio_id = None if is_for_all else world.ids["main"]
    for _ in range(2):
        with world.begin() as connection:
            for reason in (RULE, RULE, "Somebody's order is at the broker."):
                halt(connection, portfolio_id, reason=reason, actor="test", at=world.now)
            assert portfolios.end_halt(
                connection, portfolio_id=portfolio_id, reason="looked", actor="a person", at=world.now
            )
    assert world.titles() == ["Trading was halted"] * 4
