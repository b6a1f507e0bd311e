"""`python -m benchmarks [NAME…]`: print every figure with the machine's name."""

import argparse
import signal
import sys
from importlib import import_module

from benchmarks.measure import machine

NAMES = ("imports", "price_update", "order_status_check", "factors", "replay", "demo")
#: These take their time, and are measured when they are named only.
LONG = ("backfill", "live", "launch", "agreement", "universe")


def main() -> None:
    """Measure what is named, or everything that is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*NAMES, *LONG)))
    parser.add_argument("--minutes", type=float, help="how long `live` may take")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing is left running
    print(machine(), flush=True)
    for name in given.names or NAMES:
        options = {"minutes": given.minutes} if name == "live" and given.minutes else {}
        for figure in import_module(f"benchmarks.{name}").run(**options):
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
