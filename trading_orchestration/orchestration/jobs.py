"""The six jobs. Three materialise assets; three act and keep their results in tables of their own."""

import time
from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import JOB_DEFAULTS, ExecutionTrigger, JobType
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.admission import Done, Work, run_admitted
from trading_orchestration.orchestration.descriptions import cadence_of, job_metadata
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.run_keys import ASSET_OF_JOB

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

#: How long an alert check waits for the prices of its tick.
_PRICES_WAIT_S = 90
_PRICES_POLL_S = 0.5
#: A run that hangs for longer is ended by the daemon, in times of its lease.
_MAX_RUNTIME_IN_LEASES = 2


@dg.op(name="execute_strategies", tags={"kind": "strategy"})
def execute_strategies(context: dg.OpExecutionContext, trading: TradingResource) -> None:
    """Signals of every enabled strategy → risk and sizing → trades sent to the broker."""

    def work(work: Work) -> Done[None]:
        report = work.trading.execute_strategies(work.tick, work.begin)
        return Done(report.counts, None, tuple(report.problems))

    _report(context, run_admitted(context, trading, JobType.STRATEGY_EXECUTION, work))


@dg.op(name="check_orders", tags={"kind": "broker"})
def check_orders(context: dg.OpExecutionContext, trading: TradingResource) -> None:
    """Ask the broker about every trade that is not final; book fills, cancels, expiries and rejections."""

    def work(work: Work) -> Done[None]:
        report = work.trading.check_orders(work.begin)
        return Done(report.counts, None, tuple(report.problems))

    _report(context, run_admitted(context, trading, JobType.ORDER_STATUS_CHECK, work))


@dg.op(name="check_alerts", tags={"kind": "alerts"})
def check_alerts(context: dg.OpExecutionContext, trading: TradingResource) -> None:
    """Fire the alerts that the prices of this tick meet, once these are in."""

    def work(work: Work) -> Done[None]:
        _wait_for_prices(context, work)
        return Done(work.trading.check_alerts(work.tick, work.begin), None)

    _report(context, run_admitted(context, trading, JobType.ALERT_PRICE_CHECK, work))


def _wait_for_prices(context: dg.OpExecutionContext, work: Work) -> None:
    """Wait for the price update of a scheduled tick; without it the check goes by the prices there are."""
    if work.trigger is not ExecutionTrigger.SCHEDULE:
        return
    deadline = time.monotonic() + _PRICES_WAIT_S
    while work.trading.monitoring.is_awaited(JobType.PRICE_UPDATE, work.tick.at):
        if time.monotonic() > deadline:
            context.log.warning(f"No price update of {work.tick.at:%H:%M} UTC; the newest prices are used.")
            return
        time.sleep(_PRICES_POLL_S)


def _report(context: dg.OpExecutionContext, done: Done[None] | None) -> None:
    from trading_orchestration.orchestration import metadata

    if done is not None:
        context.add_output_metadata(metadata.of_counts(done.counts))


def _tags(job_type: JobType) -> dict[str, str]:
    max_runtime_s = _MAX_RUNTIME_IN_LEASES * JOB_DEFAULTS[job_type].lease_s
    return {tags.JOB: job_type.value, "dagster/max_runtime": str(max_runtime_s)}


def _op_job(job_type: JobType, op: dg.OpDefinition) -> dg.JobDefinition:
    @dg.job(
        name=job_type.value,
        description=f"{JOB_DEFAULTS[job_type].description} {cadence_of(job_type)}",
        tags=_tags(job_type),
        metadata=job_metadata(job_type),
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        op()

    return job


def _asset_job(job_type: JobType) -> "UnresolvedAssetJobDefinition":
    return dg.define_asset_job(
        name=job_type.value,
        # Checks are looked at by a sensor, not by every run.
        selection=dg.AssetSelection.assets(ASSET_OF_JOB[job_type]).without_checks(),
        description=f"{JOB_DEFAULTS[job_type].description} {cadence_of(job_type)}",
        tags=_tags(job_type),
        metadata=job_metadata(job_type),
        executor_def=dg.in_process_executor,
    )


JOBS: "dict[JobType, dg.JobDefinition | UnresolvedAssetJobDefinition]" = {
    JobType.STRATEGY_EXECUTION: _op_job(JobType.STRATEGY_EXECUTION, execute_strategies),
    JobType.ORDER_STATUS_CHECK: _op_job(JobType.ORDER_STATUS_CHECK, check_orders),
    JobType.POSITION_SYNC: _asset_job(JobType.POSITION_SYNC),
    JobType.PRICE_UPDATE: _asset_job(JobType.PRICE_UPDATE),
    JobType.PORTFOLIO_SNAPSHOT: _asset_job(JobType.PORTFOLIO_SNAPSHOT),
    JobType.ALERT_PRICE_CHECK: _op_job(JobType.ALERT_PRICE_CHECK, check_alerts),
}
