"""An alert fires once, on a fresh price, and rests."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.alert import AlertCondition
from trading_orchestration.services.alert_price_check import check_alerts
from trading_orchestration.store import alerts
from trading_orchestration_tests.services.trading_world import AAPL, TradingWorld

AGE_MAX = timedelta(minutes=15)


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    return world


def add(world: TradingWorld, condition: AlertCondition, threshold: str, reference: str | None = None) -> int:
    with world.begin() as connection:
        return alerts.add_alert(
            connection,
            symbol=AAPL,
            condition=condition,
            threshold=Decimal(threshold),
            reference_price=Decimal(reference) if reference else None,
            note="look",
        )


def check(world: TradingWorld) -> dict[str, int]:
    return check_alerts(world.tick, begin=world.begin, quote_age_max=AGE_MAX)


@pytest.mark.parametrize(
    ("condition", "threshold", "reference", "price"),
    [
        (AlertCondition.ABOVE, "210", None, "210"),
        (AlertCondition.BELOW, "190", None, "189.99"),
        (AlertCondition.PERCENT_CHANGE, "0.05", "200", "190"),
    ],
)
def test_it_fires_once_tells_once_and_rests(
    world: TradingWorld, condition: AlertCondition, threshold: str, reference: str | None, price: str
):
    alert_id = add(world, condition, threshold, reference)
    assert check(world) == {"checked": 1, "triggered": 0}
    world.set_price(AAPL, price)
    assert check(world) == {"checked": 1, "triggered": 1}
    (row,) = world.rows(
        "SELECT status, triggered_at, triggered_price FROM price_alerts WHERE id = :id", id=alert_id
    )
    assert (row["status"], row["triggered_at"]) == ("triggered", world.now)
    assert row["triggered_price"] == Decimal(price)
    assert check(world) == {"checked": 0, "triggered": 0}
    assert len(world.titles()) == 1
    assert world.rows("SELECT body FROM notifications")[0]["body"] == "look"


def test_an_old_price_decides_nothing(world: TradingWorld):
    add(world, AlertCondition.ABOVE, "100")
    world.advance(AGE_MAX + timedelta(seconds=1))
    assert check(world) == {"checked": 0, "triggered": 0}


def test_two_checks_at_once_fire_it_once(world: TradingWorld):
    for _ in range(5):
        add(world, AlertCondition.ABOVE, "100")
    with ThreadPoolExecutor(2) as pool:
        counts = [pool.submit(check, world) for _ in range(2)]
    assert sum(count.result()["triggered"] for count in counts) == 5
    assert len(world.titles()) == 5
