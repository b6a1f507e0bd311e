"""What Dagster loads: assets, six jobs, six schedules, the sensor, the checks."""

import gc

import dagster as dg

from trading_orchestration.domain.job import JobType
from trading_orchestration.orchestration.assets import portfolio_snapshots_asset, positions, quotes
from trading_orchestration.orchestration.calendar import exchange_calendar
from trading_orchestration.orchestration.checks import CHECKS, asset_checks_sensor
from trading_orchestration.orchestration.daily_bars import daily_bars_asset, daily_bars_sensor
from trading_orchestration.orchestration.jobs import JOBS
from trading_orchestration.orchestration.performance_assets import (
    portfolio_performance,
    strategy_attribution,
)
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.orchestration.schedules import market_hours_schedule
from trading_orchestration.orchestration.sensors import job_executions_sensor
from trading_orchestration.orchestration.upkeep import upkeep_sensor
from trading_orchestration.orchestration.watch import job_watch_sensor

# What is imported by now stays for good: no collection of garbage need walk through it in any short run.
gc.freeze()


def build_definitions() -> dg.Definitions:
    """All definitions, on the calendar that `TRADING_EXCHANGE` names."""
    calendar = exchange_calendar()
    return dg.Definitions(
        assets=[
            quotes,
            positions,
            daily_bars_asset(calendar),
            portfolio_snapshots_asset(calendar),
            portfolio_performance,
            strategy_attribution,
        ],
        asset_checks=CHECKS,
        jobs=list(JOBS.values()),
        schedules=[market_hours_schedule(job_type, calendar) for job_type in JobType],
        sensors=[
            job_executions_sensor,
            asset_checks_sensor,
            job_watch_sensor,
            daily_bars_sensor,
            upkeep_sensor,
        ],
        resources={"trading": TradingResource()},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
