"""Which of the six jobs a Dagster run is, and which execution of it: read from its name, assets and tags.

Total: a run whose tags nobody can read has a key too, so that it can be refused, and recorded.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.orchestration import tags

if TYPE_CHECKING:
    from trading_orchestration.store.jobs import RunKey

ASSET_OF_JOB: Mapping[JobType, str] = {
    JobType.PRICE_UPDATE: "quotes",
    JobType.POSITION_SYNC: "positions",
    JobType.PORTFOLIO_SNAPSHOT: "portfolio_snapshots",
}
_JOB_NAMES = frozenset(job_type.value for job_type in JobType)


def job_types_of(run: dg.DagsterRun) -> tuple[JobType, ...]:
    """The jobs that a run does: one by its name, or those of the assets that a person materialises."""
    if run.job_name in _JOB_NAMES:
        return (JobType(run.job_name),)
    selected = {key.to_user_string() for key in run.asset_selection or ()}
    return tuple(job_type for job_type, asset in ASSET_OF_JOB.items() if asset in selected)


def run_key(
    run_id: str, run_tags: Mapping[str, str], job_type: JobType, calendar: MarketCalendar, now: datetime
) -> "RunKey":
    """Which execution a run is, from its tags; by hand it is for now, in a backfill for its session."""
    from trading_orchestration.store.jobs import RunKey

    unfit, session = None, None
    trigger, tick = ExecutionTrigger.MANUAL, now
    try:
        trigger = tags.trigger_of(run_tags)
        tick, session = _tick_and_session(run_tags, job_type, trigger, calendar, now)
    except InvalidInputError as error:
        unfit = str(error)
    return RunKey(job_type=job_type, run_id=run_id, trigger=trigger, tick=tick, session=session, unfit=unfit)


def _tick_and_session(
    run_tags: Mapping[str, str],
    job_type: JobType,
    trigger: ExecutionTrigger,
    calendar: MarketCalendar,
    now: datetime,
) -> tuple[datetime, date | None]:
    from trading_orchestration.services.job_admission import session_of_run

    if trigger is ExecutionTrigger.BACKFILL:
        session = _last_closed_of(run_tags, calendar, now)
        return ticks(job_type, session)[-1], session.date
    tick = now if trigger is ExecutionTrigger.MANUAL else tags.tick_of(run_tags)
    found = session_of_run(calendar, job_type, trigger, tick)
    return tick, found.date if found else None


def _last_closed_of(run_tags: Mapping[str, str], calendar: MarketCalendar, now: datetime) -> Session:
    """The last session of a backfill that has closed; its last one where none has, to be refused."""
    first, last = tags.partitions_of(run_tags)
    session = calendar.session(last)
    if session.closes_at <= now:
        return session
    closed = calendar.last_closed(now)
    return closed if closed.date >= first else session
