"""A replay whose jobs are Dagster runs, in a Dagster database beside the replay's own.

The runs are real: admitted, recorded, tagged with job, session, tick and trigger, and their assets are
materialised. They are not among the installation's own runs, whose record and assets they would spoil.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Session
from trading_orchestration.settings import PriceSourceName, Settings, read_settings
from trading_orchestration.store.database import Engine
from trading_orchestration.store.installed import DatabaseUrls
from trading_orchestration.wiring import build_trading, system_clock

if TYPE_CHECKING:
    from trading_orchestration.services.replay import RunJob

#: A replay that is lost is run again.
_STORAGE_OPTIONS = "options=-csynchronous_commit%3Doff"


@contextmanager
def dagster_runs(
    settings: Settings, scratch: Engine, urls: DatabaseUrls, costs: Mapping[str, Decimal]
) -> "Iterator[RunJob]":
    """What runs a job of a replay as a Dagster run; raises JobFailedError for one that failed.

    This process is on the replay's databases for as long as it lasts.
    """
    import dagster as dg

    with _environment(replay_environment(settings, urls, costs)):
        from trading_orchestration.definitions import defs
        from trading_orchestration.orchestration.replay_runs import DagsterReplay
        from trading_orchestration.orchestration.sensors import record_runs

        trading = build_trading(read_settings(), scratch, system_clock)
        with dg.DagsterInstance.get() as instance:
            runs = DagsterReplay(defs, instance, trading.monitoring)

            def run_job(job_type: JobType, at: datetime, session: Session) -> None:
                runs.run_job(job_type, at, session)

            yield run_job
            record_runs(instance, trading, None)


def replay_environment(
    settings: Settings, urls: DatabaseUrls, costs: Mapping[str, Decimal]
) -> dict[str, str]:
    """The variables with which every command and every run is on the replay's databases."""
    found = dagster_environment(settings, urls)
    storage = found["DAGSTER_POSTGRES_URL"]
    return found | {
        "DATABASE_URL": urls.trading,
        "DATABASE_OWNER_URL": urls.trading,
        "DATABASE_READER_URL": urls.trading,
        "DAGSTER_DATABASE_URL": urls.dagster,
        "DAGSTER_POSTGRES_URL": f"{storage}{'&' if '?' in storage else '?'}{_STORAGE_OPTIONS}",
        "TRADING_PRICE_SOURCE": PriceSourceName.STORED.value,
        **{name.upper(): str(value) for name, value in costs.items()},
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
