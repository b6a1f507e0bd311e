"""The demo's twenty sessions, every job a Dagster run, from an empty home to the summary."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure, median_s

ROUNDS = 3


def run() -> list[Figure]:
    """The command a person types, without the UI."""
    seconds = median_s(_demo, rounds=ROUNDS)
    return [Figure("demo: 20 sessions, 240 Dagster runs, database made anew", seconds, "s", "≤ 90")]


def _demo() -> None:
    command = Path(sys.executable).parent / "trading"
    with tempfile.TemporaryDirectory() as home:
        answer = subprocess.run(
            [command, "demo", "--no-serve", "--json"],
            env={**os.environ, "TRADING_HOME": home},
            check=True,
            capture_output=True,
            text=True,
        )
    if json.loads(answer.stdout)["sessions"] != 20:
        raise RuntimeError("The demo did not trade its twenty sessions.")
