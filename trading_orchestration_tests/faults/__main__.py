"""`python -m trading_orchestration_tests.faults --orders 1000 --seed 1`: exit 1 when anything was lost."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from trading_orchestration.store import embedded_postgres, migrations
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.faults.harness import run


def main() -> int:
    """Run once with two servers of its own in a temporary folder; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="by default a new one; it is printed")
    parser.add_argument("--seconds", type=float, default=600, help="the longest it may trade")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="trading-faults-") as folder:
        with embedded_postgres.use(Path(folder) / "vendor") as server:
            vendor = create_engine(server.trading_url, application_name="simulator")
            migrations.upgrade(vendor)
            home = Path(folder) / "ours"
            outcome = run(given.orders, seed, home=home, vendor=vendor, seconds=given.seconds)
            vendor.dispose()
        for home in (Path(folder) / "ours", Path(folder) / "vendor"):
            embedded_postgres.stop(home)
    sys.stdout.write("".join(f"{line}\n" for line in outcome.lines()))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
