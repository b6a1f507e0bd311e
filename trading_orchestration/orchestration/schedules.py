"""Six market-hours schedules. Cron bounds the search; the exchange's calendar has the last word."""

from datetime import UTC

import dagster as dg

from trading_orchestration.domain.job import JOB_DEFAULTS, ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import MarketCalendar, NotATick, cron_strings, verdict
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.descriptions import cadence_of, link_to_job
from trading_orchestration.orchestration.jobs import JOBS
from trading_orchestration.orchestration.resources import TradingResource


def market_hours_schedule(job_type: JobType, calendar: MarketCalendar) -> dg.ScheduleDefinition:
    """The schedule of one job, stopped until a person switches it on in the UI."""

    @dg.schedule(
        name=f"{job_type.value}_schedule",
        description=f"{cadence_of(job_type)} {JOB_DEFAULTS[job_type].description} Exchange: {calendar.name}.",
        job=JOBS[job_type],
        cron_schedule=cron_strings(job_type, calendar),
        execution_timezone=calendar.timezone.key,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        tags={tags.JOB: job_type.value},
        metadata=link_to_job(job_type),
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, trading: TradingResource
    ) -> dg.RunRequest | dg.SkipReason:
        from trading_orchestration.store.jobs import RunKey

        tick = context.scheduled_execution_time.astimezone(UTC)
        session = verdict(job_type, tick, calendar)
        if isinstance(session, NotATick):
            return dg.SkipReason(session.reason)
        key = RunKey(
            job_type=job_type,
            run_id="",
            trigger=ExecutionTrigger.SCHEDULE,
            tick=tick,
            session=session.date,
        )
        skipped = trading.open().monitoring.should_job_run(key)
        if skipped is not None:
            return dg.SkipReason(skipped.reason)
        day = session.date.isoformat()
        return dg.RunRequest(
            run_key=tick.isoformat(),
            tags=tags.tick_tags(job_type, tick, day, ExecutionTrigger.SCHEDULE),
            partition_key=day if job_type is JobType.PORTFOLIO_SNAPSHOT else None,
        )

    return schedule
