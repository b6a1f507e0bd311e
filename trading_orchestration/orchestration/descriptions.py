"""What the Dagster UI says about jobs and schedules."""

from datetime import timedelta

from trading_orchestration.domain.job import JOB_DEFAULTS, JobType
from trading_orchestration.domain.market_time import MarketCalendar

OWNERS = ["team:trading"]


def cadence_of(job_type: JobType, calendar: MarketCalendar) -> str:
    """When a job runs, as a sentence."""
    cadence = JOB_DEFAULTS[job_type].cadence
    after = cadence.after_close // timedelta(minutes=1)
    if cadence.every is None:
        return f"Once a session of {calendar.name}, {after} minutes after its close."
    minutes = cadence.every // timedelta(minutes=1)
    every = "Every minute" if minutes == 1 else f"Every {minutes} minutes"
    until = f", to {after} minutes past its close" if after else ""
    return f"{every} of every session of {calendar.name}{until}."
