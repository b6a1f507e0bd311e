"""A worker that is killed at any named point loses nothing and doubles nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

from trading_orchestration_tests.services import killed_sender
from trading_orchestration_tests.services.killed_worker import POINTS

ROOT = Path(__file__).parents[2]


def test_every_crash_point_of_the_code_is_killed_at():
    code = "".join(path.read_text() for path in (ROOT / "trading_orchestration").rglob("*.py"))
    killed_at = {point for point, _ in POINTS} | set(killed_sender.POINTS)
    assert set(re.findall(r'crashpoint\("(\w+)"\)', code)) == killed_at


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


def test_a_message_of_a_sender_that_is_killed_arrives_and_a_repeat_says_so(database_url: str):
    """It comes twice only where the sender dies between the answer and its mark, and then with one key."""
    done = subprocess.run(
        [sys.executable, "-m", "trading_orchestration_tests.services.killed_sender", database_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    title, repeat = "CRITICAL: halt after_message_{}", " (may be a repeat)"
    assert said == [
        ["after_message_claim", True, [title.format("claim") + repeat], 1],
        ["after_message_sent", True, [title.format("sent"), title.format("sent") + repeat], 1],
        ["after_message_marked", True, [title.format("marked")], 1],
    ], done.stderr
