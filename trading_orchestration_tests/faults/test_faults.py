"""A short run of `make faults`: real processes, real sockets, real kills."""

from pathlib import Path

import sqlalchemy as sa

from trading_orchestration_tests.faults.harness import run

SEED = 7


def test_no_order_is_lost_doubled_or_misbooked_while_workers_and_postgresql_are_killed(
    trading_home: Path, engine: sa.Engine
):
    outcome = run(20, SEED, home=trading_home, vendor=engine, seconds=60, is_short=True)
    assert outcome.wrong == [], "\n".join(outcome.lines())
    assert outcome.kills.total() > 2
