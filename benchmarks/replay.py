"""Replay through the services, without Dagster: sessions a second for five symbols."""

from collections.abc import Sequence
from datetime import date, datetime

from benchmarks.installation import add_portfolio, installation, sessions
from benchmarks.measure import Figure, median_s
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Session
from trading_orchestration.services.replay import ReplayClock, replay
from trading_orchestration.services.tick import Tick
from trading_orchestration.wiring import Trading

ROUNDS = 3
FIRST, LAST = date(2012, 7, 2), date(2012, 12, 31)


def run() -> list[Figure]:
    """One portfolio whose strategy looks at five symbols, in thirds of half a year of daily bars."""
    with installation() as trading:
        wanted = sessions(trading, FIRST, LAST)
        add_portfolio(trading, "income", before=wanted[0])
        third = len(wanted) // ROUNDS
        parts = iter([wanted[i * third : (i + 1) * third] for i in range(ROUNDS)])
        seconds = median_s(lambda: _replay(trading, next(parts)), rounds=ROUNDS)
    name = "replay: one portfolio, 5 symbols, daily bars, 12 jobs a session"
    return [Figure(name, third / seconds, "sessions/s", "≥ 100")]


def _replay(trading: Trading, part: Sequence[Session]) -> None:
    clock = ReplayClock(part[0].opens_at)
    on_replay_clock = trading.at(clock)

    def run_job(job_type: JobType, at: datetime, session: Session) -> None:
        tick = Tick(at, session, f"replay {at.isoformat()}")
        on_replay_clock.run_job(job_type, tick, trading.begin).raise_if_failed()

    for _ in replay(
        part,
        begin=trading.begin,
        clock=clock,
        give_prices=on_replay_clock.give_prices,
        run_job=run_job,
    ):
        pass
