"""The first and the last thing every job does: ask for admission, and record how it ended."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date
from typing import TYPE_CHECKING, Generic, Never, TypeVar

import dagster as dg

from trading_orchestration.domain.job import (
    JOB_DEFAULTS,
    ExecutionStatus,
    ExecutionTrigger,
    JobStatus,
    JobType,
)
from trading_orchestration.errors import DatabaseError, JobFailedError, TradingError
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.run_keys import run_key

if TYPE_CHECKING:
    from trading_orchestration.services.job_monitoring import Admitted
    from trading_orchestration.services.tick import Tick
    from trading_orchestration.store.jobs import Begin, RunKey
    from trading_orchestration.wiring import Trading

Result = TypeVar("Result")
#: A tag is read in a list of runs; the whole reason is in the run's log and in the record.
_REASON_MAX = 200
_BREAKERS = {
    JobStatus.ENABLED: "closed",
    JobStatus.PROBING: "half open",
    JobStatus.ERROR: "open",
    JobStatus.DISABLED: "paused",
}
Context = dg.OpExecutionContext | dg.AssetExecutionContext


@dataclass(frozen=True, slots=True)
class Work:
    """What an admitted run works with."""

    trading: "Trading"
    tick: "Tick"
    begin: "Begin"
    trigger: ExecutionTrigger


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """What a run counted, what it made, and what went wrong in part of it."""

    counts: Mapping[str, int]
    result: Result
    problems: tuple[str, ...] = ()


def run_admitted(
    context: Context,
    resource: TradingResource,
    job_type: JobType,
    work: "Callable[[Work], Done[Result]]",
) -> "Done[Result] | None":
    """Do the work if this run is admitted; None, with the reason in the log and the record, if it is not.

    Raises dagster.Failure with one sentence when the work failed, wholly or in part; with the reason, when
    sessions that a person chose are refused: green would say that they were done.
    """
    from trading_orchestration.services.job_monitoring import Skipped

    with _told_in_a_sentence(context):
        trading = resource.open()
        run = context.run
        key = run_key(run.run_id, dict(run.tags), job_type, trading.calendar, trading.clock())
        if key.trigger is ExecutionTrigger.REPLAY:
            _require_paper_money(trading)
            trading = trading.at(lambda: key.tick)
        admission = trading.monitoring.log_job_start(key)
        if isinstance(admission, Skipped):
            context.log.warning(f"Skipped: {admission.reason}")
            _tag(context, key, ExecutionStatus.SKIPPED, reason=admission.reason)
            if key.trigger is ExecutionTrigger.BACKFILL and not tags.is_of_sensor(context.run.tags):
                raise dg.Failure(admission.reason, allow_retries=False)
            return None
        return _work_and_record(context, trading, admission, work)


def _work_and_record(
    context: Context,
    trading: "Trading",
    admitted: "Admitted",
    work: "Callable[[Work], Done[Result]]",
) -> "Done[Result]":
    from trading_orchestration.services.tick import Tick

    key, counts = admitted.key, None
    try:
        tick = Tick(key.tick, trading.calendar.session(_session(key)), key.run_id)
        done = work(Work(trading, tick, admitted.lease.transaction, key.trigger))
        counts = _complete(key.job_type, done.counts)
        if done.problems:
            _fail(done.problems)
        breaker = trading.monitoring.log_job_complete(key, counts)
    except Exception as error:
        _record_error(context, trading, key, error, counts)
        is_probe = admitted.is_probe
        _tag(context, key, ExecutionStatus.FAILED, is_probe=is_probe, counts=counts, reason=str(error))
        raise
    _tag(context, key, ExecutionStatus.COMPLETED, is_probe=admitted.is_probe, counts=counts)
    context.log.info(_sentence(counts))
    if admitted.is_probe:
        _tell_of_breaker(context, key.job_type, _BREAKERS[breaker])
    return done


def _tell_of_breaker(context: Context, job_type: JobType, state: str) -> None:
    """What a probe that succeeded did to the breaker, where a person looks who launched it by hand."""
    context.log.info(f"This run was a probe, and it succeeded: the breaker of {job_type} is {state}.")
    context.instance.add_run_tags(context.run.run_id, {tags.BREAKER: state})


def _record_error(
    context: Context,
    trading: "Trading",
    key: "RunKey",
    error: Exception,
    counts: Mapping[str, int] | None,
) -> None:
    """Where the record cannot be reached either, the error itself is told and the sensor closes the row."""
    try:
        trading.monitoring.log_job_error(key, error, counts)
    except DatabaseError as unrecorded:
        context.log.warning(f"The failure is not on record yet: {unrecorded}")


@contextmanager
def _told_in_a_sentence(context: Context) -> Iterator[None]:
    """An error of ours ends the run with its sentence; a defect keeps its stack.

    Dagster writes where it was itself below any failure: the sentence stands in a line of its own before.
    """
    try:
        yield
    except TradingError as error:
        context.log.error(str(error))  # noqa: TRY400 (the sentence, and no stack)
        name = type(error).__name__
        raise dg.Failure(str(error), metadata={"error": name}, allow_retries=False) from None


def _require_paper_money(trading: "Trading") -> None:
    """A replay decides on past prices; at a broker outside they would be orders of today."""
    strangers = sorted({account.broker for account in trading.accounts()} - {"paper"})
    if strangers:
        raise TradingError(
            f"A replay trades at the paper broker only, and there are accounts at {', '.join(strangers)}."
        )


def _fail(problems: tuple[str, ...]) -> Never:
    from trading_orchestration.services.tick import listed

    raise JobFailedError(listed(problems))


def _session(key: "RunKey") -> date:
    assert key.session is not None, "a run without a session is refused at admission"
    return key.session


def _complete(job_type: JobType, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts a job reports, with those that stayed at zero."""
    return {name: counts.get(name, 0) for name in JOB_DEFAULTS[job_type].counts} | dict(counts)


def _sentence(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _tag(
    context: Context,
    key: "RunKey",
    outcome: ExecutionStatus,
    *,
    is_probe: bool = False,
    counts: Mapping[str, int] | None = None,
    reason: str | None = None,
) -> None:
    """Let the UI show what the run was about and how it ended, whatever tags it was launched with."""
    tags_of_run = {
        tags.TRIGGER: key.trigger.value,
        tags.TICK: key.tick.astimezone(UTC).isoformat(timespec="seconds"),
        tags.OUTCOME: outcome.value,
    }
    if counts is not None:
        tags_of_run[tags.COUNTS] = _sentence(counts)
    if reason:
        tags_of_run[tags.REASON] = textwrap.shorten(reason, _REASON_MAX, placeholder=" …")
    if key.session is not None:
        tags_of_run[tags.SESSION] = key.session.isoformat()
    if is_probe or tags.PROBE in context.run.tags:
        tags_of_run[tags.PROBE] = str(is_probe).lower()
    context.instance.add_run_tags(context.run.run_id, tags_of_run)
