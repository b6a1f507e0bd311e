"""Whether `trading replay` comes to what other engines come to on all of GOOG's bars, to the cent.

The same fill rules: an SMA cross of the closes is traded at the next open, in whole shares. The bars are
those that backtesting.py ships, whose results its own pages and tests show, or the sample prices where it is
not installed. Ours is what a person types, from an empty home: import, portfolios, strategies, one replay
each way.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.engines import Cross, Engines, installed_engines, left_out
from benchmarks.installation import cross_definition, goog_bars
from benchmarks.measure import Figure

FIRST, LAST = date(2004, 8, 19), date(2013, 3, 1)
#: Fixed shares, long only; and backtesting.py's own test strategy, long and short with all of the money.
CROSSES = (Cross(fast=10, slow=20, shares=10), Cross(fast=5, slow=40, shares=7), Cross(10, 30, shares=0))


@dataclass(frozen=True, slots=True)
class Way:
    """One replay of all crosses, and the engines that know its rules.

    `commission` is a share of the value.
    """

    name: str
    engines: tuple[str, ...]
    commission: float = 0.0
    closes_out: bool = False

    def options(self) -> list[str]:
        """The same for `trading replay`."""
        costs = ["--commission", f"{self.commission:.2%}"] if self.commission else []
        return [*costs, *(["--close-out"] if self.closes_out else [])]


WAYS = (
    Way("no costs", ("backtesting.py", "backtrader", "vectorbt")),
    Way("commission 0.2 %", ("backtesting.py", "backtrader", "vectorbt"), commission=0.002),
    Way("closed out", ("backtesting.py",), closes_out=True),
)


def run() -> Iterator[Figure]:
    """What each comes to, and how far we are from it; figures come as they are known."""
    with installed_engines() as engines, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bars = goog_bars(home, engines.bundled_goog())
        _set_up(home, bars)
        for way in WAYS:
            for cross, ours in zip(CROSSES, _replayed(home, way), strict=True):
                yield from _figures(engines, bars, cross, way, ours)


def _figures(
    engines: Engines, bars: Path, cross: Cross, way: Way, ours: Mapping[str, float]
) -> Iterator[Figure]:
    what = f"SMA {cross.fast}/{cross.slow}, {cross.shares or 'all both ways'}, {way.name}"
    yield Figure(f"{what}: replay", ours["equity"], "equity")
    yield Figure("  closed trades", ours["closed"], "")
    yield Figure("  open trades", ours["open"], "")
    yield Figure("  drawdown", ours["drawdown_pct"], "%")
    for name in way.engines:
        done = engines.run(name, bars, cross, commission=way.commission, closes_out=way.closes_out)
        if isinstance(done, str):
            left_out(name, done)
            continue
        furthest = max(abs(ours[figure] - done[figure]) for figure in ours)
        yield Figure(f"  the furthest of them away from {name}", furthest, "", "< 0.005")


def _set_up(home: Path, bars: Path) -> None:
    _trading(home, "bars", "import", bars)
    unbound = ("--max-position-pct", "100%", "--min-cash-pct", "0", "--max-daily-loss-pct", "none")
    for cross in CROSSES:
        file = home / f"{cross.name}.yaml"
        file.write_text(json.dumps(cross_definition(cross)))
        _trading(home, "portfolio", "add", cross.name, "--cash", "10000", *unbound)
        _trading(home, "strategy", "add", file, "--portfolio", cross.name)


def _replayed(home: Path, way: Way) -> list[dict[str, float]]:
    """What each cross came to, in their order, under the names that the engines answer with."""
    done = json.loads(_trading(home, "replay", "--from", FIRST, "--to", LAST, *way.options(), "--json"))
    results: dict[str, dict[str, Any]] = {result["portfolio"]: result for result in done["portfolios"]}
    return [
        {
            "equity": float(result["end_equity"]),
            "closed": result["round_trips"],
            "open": result["open_trips"],
            "drawdown_pct": float(result["max_drawdown"]) * 100,
        }
        for result in (results[cross.name] for cross in CROSSES)
    ]


def _trading(home: Path, *arguments: object) -> str:
    """What the command answers. Raises RuntimeError with what it says instead."""
    command = [str(Path(sys.executable).parent / "trading"), *map(str, arguments)]
    # Nothing of the caller's own installation.
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(("TRADING_", "DATABASE_"))
    }
    environment = {**others, "TRADING_HOME": str(home / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command} ended with {done.returncode}.")
    return done.stdout
