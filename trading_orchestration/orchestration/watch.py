"""The sensor that watches the jobs: alarms for what did not run, runs for snapshots missing or stale."""

from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.jobs import JOBS
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.services.missing_snapshots import WantedSnapshots

_INTERVAL_S = 30


@dg.sensor(
    name="job_watch_sensor",
    description="Raises an alarm for a job that did not run; has snapshots taken that are missing or stale.",
    tags={tags.KEEPS: "alarms"},
    job=JOBS[JobType.PORTFOLIO_SNAPSHOT],
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_watch_sensor(_context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SensorResult:
    """One look at all jobs; sessions are asked for as one backfill, a few times an hour apart."""
    from trading_orchestration.services.job_alarms import watch_jobs
    from trading_orchestration.services.missing_snapshots import wanted_snapshots

    opened = trading.open()
    told = watch_jobs(opened.begin, opened.calendar, opened.clock())
    wanted = wanted_snapshots(opened.begin, opened.calendar, opened.clock())
    if wanted:
        return dg.SensorResult(run_requests=[_request(one) for one in wanted])
    return dg.SensorResult(skip_reason="; ".join(told) or "Every job ran when it should have.")


def _request(wanted: "WantedSnapshots") -> dg.RunRequest:
    """A run of one session, or of all from the first to the last."""
    first, last = wanted.first.date.isoformat(), wanted.last.date.isoformat()
    since = "" if wanted.stale_since is None else f"/{wanted.stale_since.isoformat()}"
    run_key = f"{first}/{wanted.attempt}" if first == last else f"{first}/{last}/{wanted.attempt}"
    if first == last:
        return dg.RunRequest(run_key=run_key + since, partition_key=first, tags={tags.SESSION: first})
    of_range = tags.partition_range(first, last)
    return dg.RunRequest(run_key=run_key + since, tags={tags.SESSION: last, **of_range})
