"""Migrations: applied once, in order, never edited."""

import sqlalchemy as sa

from trading_orchestration.store import migrations


def test_a_second_upgrade_does_nothing(engine: sa.Engine) -> None:
    assert migrations.upgrade(engine) == []
    migrations.check(engine)
