"""A worker that is killed at any named point loses nothing and doubles nothing."""

import re
import subprocess
import sys
from pathlib import Path

from trading_orchestration_tests.services.killed_worker import POINTS

ROOT = Path(__file__).parents[2]


def test_every_crash_point_of_the_code_is_killed_at():
    code = "".join(path.read_text() for path in (ROOT / "trading_orchestration").rglob("*.py"))
    assert set(re.findall(r'crashpoint\("(\w+)"\)', code)) == {point for point, _ in POINTS}


def test_a_worker_killed_at_any_point_loses_no_order_doubles_none_and_leaves_books_that_agree(
    database_url: str,
):
    done = subprocess.run(
        [sys.executable, "-m", "trading_orchestration_tests.services.killed_worker", database_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{point} {passes} killed []" for point, passes in POINTS], (
        done.stderr
    )
