"""Dagster's own tools find the project as they find any other: in its folder, without more words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trading_orchestration.domain.job import JobType

pytestmark = pytest.mark.xdist_group("acceptance")

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def _answer(home: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"TRADING_HOME": str(home), "VIRTUAL_ENV": str(BIN.parent)}
    found = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


def test_dagster_validates_the_workspace(trading_home: Path) -> None:
    _answer(trading_home, "dagster", "definitions", "validate")


def test_dg_lists_the_six_jobs_and_their_schedules(trading_home: Path) -> None:
    listed = json.loads(_answer(trading_home, "dg", "list", "defs", "--json"))
    assert {entry["name"] for entry in listed["jobs"]} == set(JobType)
    assert {entry["name"] for entry in listed["schedules"]} == {f"{name}_schedule" for name in JobType}
    assert {"quotes", "positions", "portfolio_snapshots"} <= {
        entry["asset_key"] for entry in listed["assets"]
    }
