"""Two sessions of all six jobs at their cadences, real clock, real daemon: `python -m benchmarks live`.

Each is a session of an exchange's own calendar with other hours, given by a file of special hours: it opens a
minute or two from now, and the daemon ticks through it and the ten minutes after its close as on any day. A
date has one session, so the second is traded in a second home, right after the first.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import psycopg

from benchmarks.measure import Figure
from benchmarks.process_usage import Usage, measured
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Session, ticks
from trading_orchestration.settings import Settings
from trading_orchestration.wiring import open_calendar, system_clock
from trading_orchestration_tests.chaos.live_system import LiveSystem, again
from trading_orchestration_tests.chaos.price_vendor import price_vendor
from trading_orchestration_tests.chaos.record_check import read_record, wrong
from trading_orchestration_tests.chaos.world import Books, environment, furnish

MINUTES = 35
SESSIONS = 2
#: From the start of the processes to the open, and from the close to the last tick's end.
BEFORE = timedelta(minutes=2)
AFTER = timedelta(minutes=10, seconds=30)
SESSION_MINUTES_MIN = 2
FULL_SESSION = timedelta(minutes=390)
LATE_S_MAX = 10
BOOKS = Books(portfolios=3, symbols=tuple(f"LIV{n:02d}" for n in range(20)))
#: Of these one has no midnight within the next hours.
EXCHANGES = {"XNYS": "America/New_York", "XLON": "Europe/London", "XASX": "Australia/Sydney"}
SETTLED_S = 120

_FIRST_OPS = """
    SELECT run_id, min(timestamp) AS at FROM event_logs WHERE dagster_event_type = 'STEP_START'
    GROUP BY run_id"""
_TICKS = "SELECT value, run_id FROM run_tags WHERE key = 'trading/tick'"
_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True)
class Traded:
    """What one session told."""

    session: Session
    lateness: Mapping[JobType, list[float]]
    usage: Usage
    growth_mb: Mapping[str, float]
    problems: list[str]


def run(minutes: float = MINUTES) -> Iterator[Figure]:
    """Trade two sessions one after the other; figures of both, the worse of the two where it is one."""
    open_for = timedelta(minutes=minutes) / SESSIONS - BEFORE - AFTER
    open_for = max(
        timedelta(minutes=int(open_for.total_seconds() // 60)), timedelta(minutes=SESSION_MINUTES_MIN)
    )
    traded = []
    for number in range(SESSIONS):
        with tempfile.TemporaryDirectory(prefix="trading-live-", ignore_cleanup_errors=True) as folder:
            traded.append(_trade(Path(folder) / "home", open_for, seed=number))
    return _figures(traded)


def _trade(home: Path, open_for: timedelta, *, seed: int) -> Traded:
    now = system_clock()
    opens_at = (now + BEFORE).replace(second=0, microsecond=0)
    exchange = _exchange(now, opens_at + open_for + AFTER)
    hours = home / "hours.yaml"
    home.mkdir(parents=True)
    hours.write_text(_special_hours(ZoneInfo(EXCHANGES[exchange]), opens_at, opens_at + open_for))
    settings = Settings(
        trading_home=home, trading_exchange=exchange, trading_hours_file=hours, database_url=None
    )
    minutes = (BEFORE + open_for + AFTER) / timedelta(minutes=1)
    furnish(settings, minutes=minutes, chance=random.Random(seed), books=BOOKS)
    session = open_calendar(settings).session_at(opens_at)
    assert session is not None
    assert (session.opens_at, session.closes_at) == (opens_at, opens_at + open_for)
    with price_vendor(seed) as prices:
        own = {"TRADING_EXCHANGE": exchange, "TRADING_HOURS_FILE": str(hours)}
        system = LiveSystem(home, environment(home, prices.url) | own)
        try:
            system.start()
            return _watch(system, session)
        finally:
            system.stop()


def _exchange(now: datetime, until: datetime) -> str:
    """One that has the same date now and then: a session of special hours lies within its day."""
    zones = {name: ZoneInfo(zone) for name, zone in EXCHANGES.items()}
    return next(
        n for n, zone in zones.items() if now.astimezone(zone).date() == until.astimezone(zone).date()
    )


def _special_hours(zone: ZoneInfo, opens_at: datetime, closes_at: datetime) -> str:
    opens, closes = (instant.astimezone(zone) for instant in (opens_at, closes_at))
    return f'{opens:%Y-%m-%d}: {{opens: "{opens:%H:%M}", closes: "{closes:%H:%M}", reason: benchmark}}\n'


def _watch(system: LiveSystem, session: Session) -> Traded:
    for job_type in JobType:
        again(partial(system.switch_on, job_type), for_s=60)
    # The first reading of the market at rest: what starting up took is not the session's.
    _sleep_until(session.opens_at - timedelta(seconds=5))
    before = _sizes(system)
    with measured(system) as usage:
        _sleep_until(session.closes_at + AFTER)
        for job_type in JobType:
            again(partial(system.switch_off, job_type), for_s=60)
    growth = {name: (size - before[name]) / 1e6 for name, size in _sizes(system).items()}
    urls = system.database_url("trading"), system.database_url("dagster")
    deadline = time.monotonic() + SETTLED_S
    while not read_record(*urls).is_settled() and time.monotonic() < deadline:
        time.sleep(1)
    late = _lateness(urls[1], session)
    missed = [
        f"{job_type}: {len(late.get(job_type, []))} of {len(due)} ticks ran"
        for job_type in JobType
        if len(late.get(job_type, [])) != len(due := ticks(job_type, session))
    ]
    return Traded(session, late, usage, growth, [*wrong(read_record(*urls)), *missed])


def _lateness(dagster_url: str, session: Session) -> dict[JobType, list[float]]:
    """Seconds from each tick of the session to the first op of its run, where it came to one.

    Snapshots of earlier sessions are filled in meanwhile; those are not late.
    """
    found: dict[JobType, list[float]] = {}
    with psycopg.connect(dagster_url) as connection:
        jobs: dict[str, str] = dict(connection.execute("SELECT run_id, pipeline_name FROM runs").fetchall())
        at: dict[str, datetime] = dict(connection.execute(_FIRST_OPS).fetchall())
        ran = (row for row in connection.execute(_TICKS).fetchall() if row[1] in at)
        for text, run_id in ran:
            tick, job_type = datetime.fromisoformat(text), JobType(jobs[run_id])
            if tick in ticks(job_type, session):
                late = at[run_id] - tick.replace(tzinfo=None)
                found.setdefault(job_type, []).append(late.total_seconds())
    return found


def _sizes(system: LiveSystem) -> dict[str, int]:
    return {name: system.look(_SIZE, database=name)[0][0] for name in ("trading", "dagster")}


def _sleep_until(instant: datetime) -> None:
    time.sleep(max(0.0, (instant - system_clock()).total_seconds()))


def _figures(traded: list[Traded]) -> Iterator[Figure]:
    sessions = [one.session for one in traded]
    full = Session(sessions[0].date, sessions[0].opens_at, sessions[0].opens_at + FULL_SESSION)
    runs, of_full = (sum(len(ticks(job, of)) for job in JobType) for of in (sessions[0], full))
    minutes = (sessions[0].closes_at - sessions[0].opens_at) / timedelta(minutes=1)
    yield Figure(f"live: {len(traded)} sessions of {minutes:.0f} min; runs each", runs, "")
    problems = [problem for one in traded for problem in one.problems]
    yield Figure(
        "live: what is wrong with the record" + "".join(f"; {p}" for p in problems), len(problems), "", "0"
    )
    for job_type in JobType:
        late = [seconds for one in traded for seconds in one.lateness.get(job_type, [])]
        if late:
            yield Figure(f"live: {job_type}, tick to first op, median of {len(late)}", median(late), "s")
            yield Figure(f"live: {job_type}, tick to first op, max", max(late), "s", f"≤ {LATE_S_MAX}")
    lasted_s = (sessions[0].closes_at - sessions[0].opens_at + AFTER).total_seconds()
    for name in sorted(traded[0].usage.cpu_s):
        cpu = max(one.usage.cpu_s.get(name, 0.0) for one in traded)
        yield Figure(f"live: {name}, CPU a session", cpu, f"s ({cpu / lasted_s:.1%} of one core)")
        yield Figure(f"live: {name}, peak memory", max(one.usage.peak_mb[name] for one in traded), "MB")
    for name in ("trading", "dagster"):
        grown = max(one.growth_mb[name] for one in traded)
        yield Figure(f"live: growth of database {name} a session", grown, "MB")
        label = f"live: growth of {name} in a session of 390 min, by its {of_full} runs"
        yield Figure(label, grown * of_full / runs, "MB")
