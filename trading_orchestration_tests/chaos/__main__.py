"""`python -m trading_orchestration_tests.chaos --minutes 10 --seed 1`: exit 1 when the record is wrong."""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from trading_orchestration_tests.chaos.harness import run


def main() -> int:
    """Run once in a temporary folder; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long it is struck")
    parser.add_argument("--seed", type=int, default=None, help="by default a new one; it is printed")
    parser.add_argument("--keep", action="store_true", help="keep the home, with its logs and databases")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left running
    home = Path(tempfile.mkdtemp(prefix="trading-chaos-")) / "home"
    _tell(f"seed {seed}, home {home}")
    outcome = run(home, minutes=given.minutes, seed=seed, tell=_tell)
    for line in outcome.lines():
        _tell(line)
    if not given.keep:
        shutil.rmtree(home.parent, ignore_errors=True)
    return 1 if outcome.wrong else 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
