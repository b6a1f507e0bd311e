"""Whether replays come to what other engines come to on all of GOOG's sample bars, to the cent.

The same fill rules: an SMA cross of the closes is traded at the next open, in whole shares.
"""

import tempfile
from decimal import Decimal
from pathlib import Path

from benchmarks.engines import Cross, Engines, installed_engines, left_out
from benchmarks.installation import add_cross, goog_bars, installation
from benchmarks.measure import Figure
from trading_orchestration.cli.interruption import Interruption
from trading_orchestration.cli.replay_run import ReplayJobs, on_replay_clock, run_sessions
from trading_orchestration.services.replay import ReplayClock
from trading_orchestration.services.replay_result import portfolio_results
from trading_orchestration.store.joined import Joined
from trading_orchestration.wiring import Trading

CASH = Decimal(10_000)
#: backtesting.py's own test strategy, long and short with all of the money; and fixed shares, long only.
CASES = {
    Cross(fast=10, slow=30, shares=0): ("backtesting.py",),
    Cross(fast=10, slow=20, shares=10): ("backtesting.py", "backtrader"),
    Cross(fast=5, slow=40, shares=7): ("backtesting.py", "backtrader"),
}


def run() -> list[Figure]:
    """What each comes to, and how far we are from it."""
    with installed_engines() as engines, tempfile.TemporaryDirectory() as folder, installation() as trading:
        bars = goog_bars(Path(folder))
        ours = _ours(trading)
        return [
            figure
            for (cross, names), equity in zip(CASES.items(), ours, strict=True)
            for figure in _figures(engines, bars, cross, names, equity)
        ]


def _figures(
    engines: Engines, bars: Path, cross: Cross, names: tuple[str, ...], equity: Decimal
) -> list[Figure]:
    what = f"SMA {cross.fast}/{cross.slow}, {cross.shares or 'all, long and short'}"
    figures = [Figure(f"{what}: replay", float(equity), "equity")]
    for name in names:
        done = engines.run(name, bars, cross)
        if isinstance(done, str):
            left_out(name, done)
            continue
        difference = abs(float(equity) - done["equity"])
        figures.append(Figure(f"{what}: away from {name}", difference, "", "< 0.005"))
    return figures


def _ours(trading: Trading) -> list[Decimal]:
    """The equity of each case at the end, in one replay."""
    with trading.begin() as connection:
        first, last = connection.exec_driver_sql(
            "SELECT min(session), max(session) FROM bars WHERE symbol = 'GOOG'"
        ).one()
    wanted = trading.calendar.sessions_between(first, last)
    for cross in CASES:
        add_cross(trading, cross, before=wanted[0])
    clock, joined = ReplayClock(wanted[0].opens_at), Joined(trading.engine)
    jobs = ReplayJobs(on_replay_clock(trading.settings, joined.engine, clock), Interruption(), joined=joined)
    run_sessions(jobs, clock, wanted, is_silent=False)
    if jobs.problems:
        raise RuntimeError(jobs.problems[0])
    names = {f"cross-{cross.fast}-{cross.slow}-{cross.shares}": CASH for cross in CASES}
    return [result.end_equity for result in portfolio_results(trading.begin, names)]
