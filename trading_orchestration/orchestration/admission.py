"""The first and the last thing every job does: ask for admission, and record how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

import dagster as dg

from trading_orchestration.domain.job import JOB_DEFAULTS, ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import MarketCalendar, ticks
from trading_orchestration.errors import TradingError
from trading_orchestration.orchestration import tags

if TYPE_CHECKING:
    from trading_orchestration.services.job_monitoring import Admitted
    from trading_orchestration.services.tick import Tick
    from trading_orchestration.store.jobs import Begin, RunKey
    from trading_orchestration.wiring import Trading

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Work:
    """What an admitted run works with."""

    trading: "Trading"
    tick: "Tick"
    begin: "Begin"


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """What a run counted, what it made, and what went wrong in part of it."""

    counts: Mapping[str, int]
    result: Result
    problems: tuple[str, ...] = ()


def run_admitted(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    trading: "Trading",
    job_type: JobType,
    work: "Callable[[Work], Done[Result]]",
) -> "Done[Result] | None":
    """Do the work if this run is admitted; None, with the reason in the log and the record, if it is not.

    Raises dagster.Failure with one sentence when the work failed, wholly or in part.
    """
    from trading_orchestration.services.job_monitoring import Skipped

    key = run_key(context.run.run_id, dict(context.run.tags), job_type, trading.calendar, trading.clock())
    if key.trigger is ExecutionTrigger.REPLAY:
        trading = trading.at(lambda: key.tick)
    admission = trading.monitoring.log_job_start(key)
    if isinstance(admission, Skipped):
        context.log.warning(f"Skipped: {admission.reason}")
        context.instance.add_run_tags(key.run_id, {tags.OUTCOME: "skipped"})
        return None
    _tag(context, key, is_probe=admission.is_probe)
    return _work_and_record(context, trading, admission, work)


def run_key(
    run_id: str, run_tags: Mapping[str, str], job_type: JobType, calendar: MarketCalendar, now: datetime
) -> "RunKey":
    """Which execution a run is, from its tags; by hand it is for now, in a backfill for its session."""
    from trading_orchestration.services.job_monitoring import session_of_run
    from trading_orchestration.store.jobs import RunKey

    trigger = tags.trigger_of(run_tags)
    if trigger is ExecutionTrigger.BACKFILL:
        session = calendar.session(datetime.fromisoformat(tags.last_partition(run_tags) or "").date())
        tick = ticks(job_type, session)[-1]
        return RunKey(job_type=job_type, run_id=run_id, trigger=trigger, tick=tick, session=session.date)
    tick = now if trigger is ExecutionTrigger.MANUAL else tags.tick_of(run_tags)
    found = session_of_run(calendar, job_type, trigger, tick)
    return RunKey(
        job_type=job_type,
        run_id=run_id,
        trigger=trigger,
        tick=tick,
        session=found.date if found else None,
    )


def _work_and_record(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    trading: "Trading",
    admitted: "Admitted",
    work: "Callable[[Work], Done[Result]]",
) -> "Done[Result]":
    from trading_orchestration.errors import JobFailedError
    from trading_orchestration.services.tick import Tick

    key = admitted.key
    if key.session is None:
        raise TradingError(f"{key.tick:%Y-%m-%d %H:%M} UTC lies in no session.")
    tick = Tick(key.tick, trading.calendar.session(key.session), key.run_id)
    counts: Mapping[str, int] | None = None
    try:
        done = work(Work(trading, tick, admitted.lease.transaction))
        counts = done.counts
        if done.problems:
            raise JobFailedError("; ".join(done.problems))  # noqa: TRY301 (the same record is due)
    except Exception as error:
        trading.monitoring.log_job_error(key.run_id, error, counts)
        if isinstance(error, TradingError):
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
        raise
    trading.monitoring.log_job_complete(key.run_id, _complete(key.job_type, done.counts))
    context.log.info(", ".join(f"{name} {count}" for name, count in done.counts.items()))
    return done


def _complete(job_type: JobType, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts a job reports, with those that stayed at zero."""
    return {name: counts.get(name, 0) for name in JOB_DEFAULTS[job_type].counts} | dict(counts)


def _tag(context: dg.OpExecutionContext | dg.AssetExecutionContext, key: "RunKey", *, is_probe: bool) -> None:
    """Let the UI show what a run that was not launched for a tick is about."""
    added = {tags.JOB: key.job_type.value, tags.TRIGGER: key.trigger.value}
    if key.session is not None:
        added[tags.SESSION] = key.session.isoformat()
    if is_probe:
        added["trading/probe"] = "true"
    new = {name: value for name, value in added.items() if context.run.tags.get(name) != value}
    if new:
        context.instance.add_run_tags(key.run_id, new)
