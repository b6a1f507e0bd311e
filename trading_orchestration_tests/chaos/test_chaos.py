"""A short run of `make chaos`: a real system that is up, real kills, and what its record says afterwards."""

from pathlib import Path

import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration_tests.chaos.harness import Blow, harness
from trading_orchestration_tests.chaos.world import Pace

SEED = 7


@pytest.mark.xdist_group("chaos")
def test_the_record_is_right_whatever_was_killed_or_stood_still(trading_home: Path) -> None:
    """Each blow hits, each run has its one row, and the system works on without a hand's help."""
    with harness(
        trading_home, minutes=2, seed=SEED, pace=Pace(lease_s=2, wait_base_s=2, wait_cap_s=4)
    ) as chaos:
        assert chaos.strike(Blow.STOP)
        assert chaos.strike(Blow.WORKER)
        chaos.settle()
        assert chaos.strike(Blow.DAEMON)
        assert chaos.strike(Blow.CODE_SERVER)
        chaos.prove_alive(JobType.ORDER_STATUS_CHECK, JobType.POSITION_SYNC)
        chaos.judge()
    assert chaos.outcome.wrong == [], "\n".join(chaos.outcome.lines())
