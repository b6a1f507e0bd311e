"""`python -m benchmarks [NAME…]`: print every figure with the machine's name."""

import sys
from importlib import import_module

from benchmarks.measure import machine

NAMES = ("imports", "price_update", "order_status_check", "replay", "demo", "backfill")


def main() -> None:
    """Measure what is named, or everything."""
    print(machine())
    for name in sys.argv[1:] or NAMES:
        for figure in import_module(f"benchmarks.{name}").run():
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
