"""Replay of the SMA cross with all books kept, per 1,000 daily bars, beside engines that keep none.

Ours is what `trading replay` runs: every job of every session through the services, decisions, trades, fills,
positions and snapshots in PostgreSQL. Theirs are loops over arrays in memory.
"""

import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from benchmarks.engines import ENGINES, Cross, installed_engines, left_out
from benchmarks.installation import add_cross, goog_bars, installation, sessions
from benchmarks.measure import Figure
from trading_orchestration.cli.interruption import Interruption
from trading_orchestration.cli.replay_run import ReplayJobs, on_replay_clock, run_sessions
from trading_orchestration.domain.market_time import Session
from trading_orchestration.services.replay import ReplayClock
from trading_orchestration.store.joined import Joined
from trading_orchestration.wiring import Trading

ROUNDS = 3
FIRST, LAST = date(2004, 11, 22), date(2006, 4, 28)
CROSS = Cross(fast=10, slow=20, shares=10)


def run() -> list[Figure]:
    """Medians; the engines run over all of GOOG's bars, we over a year and a half in thirds."""
    figures = _ours()
    with installed_engines() as engines, tempfile.TemporaryDirectory() as folder:
        bars = goog_bars(Path(folder))
        for engine in ENGINES:
            rounds = [engines.run(engine, bars, CROSS) for _ in range(ROUNDS)]
            seconds = sorted(
                done["seconds"] / done["bars"] * 1000 for done in rounds if isinstance(done, dict)
            )
            if len(seconds) < ROUNDS:
                left_out(engine, next(done for done in rounds if isinstance(done, str)))
                continue
            figures.append(Figure(f"{engine}: the same cross, 1,000 daily bars", seconds[1] * 1000, "ms"))
    return figures


def _ours() -> list[Figure]:
    with installation() as trading:
        wanted = sessions(trading, FIRST, LAST)
        add_cross(trading, CROSS, before=wanted[0])
        third = len(wanted) // ROUNDS
        seconds = sorted(
            replay_s(trading, wanted[number * third : (number + 1) * third]) / third
            for number in range(ROUNDS)
        )
    per_session = seconds[1]
    return [
        Figure("replay: SMA cross, all books kept, 1,000 daily bars", per_session * 1_000_000, "ms"),
        Figure("  in sessions a second", 1 / per_session, "sessions/s"),
    ]


def replay_s(trading: Trading, part: Sequence[Session]) -> float:
    """The seconds that some sessions take."""
    clock = ReplayClock(part[0].opens_at - timedelta(hours=1))
    joined = Joined(trading.engine)
    jobs = ReplayJobs(on_replay_clock(trading.settings, joined.engine, clock), Interruption(), joined=joined)
    began = time.perf_counter()
    run_sessions(jobs, clock, part, is_silent=True)
    if jobs.problems:
        raise RuntimeError(jobs.problems[0])
    return time.perf_counter() - began
