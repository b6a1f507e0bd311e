"""The sensor that watches the jobs: alarms for what did not run, runs for sessions without a snapshot."""

import dagster as dg

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.jobs import JOBS
from trading_orchestration.orchestration.resources import TradingResource

_INTERVAL_S = 30


@dg.sensor(
    name="job_watch_sensor",
    description="Raises an alarm for a job that did not run, and fills in snapshots that are missing.",
    job=JOBS[JobType.PORTFOLIO_SNAPSHOT],
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_watch_sensor(_context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SensorResult:
    """One look at all jobs; a session is asked for as a backfill, a few times an hour apart."""
    from trading_orchestration.services.job_alarms import watch_jobs
    from trading_orchestration.services.missing_snapshots import wanted_snapshots

    opened = trading.open()
    told = watch_jobs(opened.begin, opened.calendar, opened.clock())
    wanted = wanted_snapshots(opened.begin, opened.calendar, opened.clock())
    requests = [
        dg.RunRequest(
            run_key=f"{one.session.date}/{one.attempt}",
            partition_key=one.session.date.isoformat(),
            tags={tags.SESSION: one.session.date.isoformat()},
        )
        for one in wanted
    ]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(skip_reason="; ".join(told) or "Every job ran when it should have.")
