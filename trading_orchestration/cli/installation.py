"""The installation as a command opens it: its database, migrated; no price source, no broker.

The embedded database is brought up to date by whatever command comes first. A server that `DATABASE_URL`
names belongs to someone: only `trading db upgrade` changes its schema.
"""

import os
import pwd
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.services.job_monitoring import JobMonitoringService
from trading_orchestration.settings import Settings, read_settings
from trading_orchestration.store import migrations
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.store.installed import DatabaseUrls, open_databases, upgrade_database
from trading_orchestration.store.jobs import Begin
from trading_orchestration.wiring import open_calendar, system_clock


@dataclass(frozen=True)
class Installation:
    """An open database with its settings."""

    settings: Settings
    urls: DatabaseUrls
    engine: Engine

    @property
    def begin(self) -> Begin:
        """Opens a transaction."""
        return partial(transaction, self.engine)

    @cached_property
    def calendar(self) -> MarketCalendar:
        """The exchange's sessions."""
        return open_calendar(self.settings)

    @property
    def monitoring(self) -> JobMonitoringService:
        """The job record and the breakers."""
        return JobMonitoringService(self.engine, self.calendar, system_clock, jitter=random.random)


@contextmanager
def open_installation(settings: Settings | None = None) -> Iterator[Installation]:
    """Open the database, migrated.

    Raises SettingsError, DatabaseUnavailableError, and SchemaError when `trading db upgrade` is due.
    """
    settings = settings or read_settings()
    with open_databases(settings) as urls:
        engine = create_engine(urls.trading, application_name="trading")
        try:
            if settings.database_url is None:
                upgrade_database(urls)
            migrations.check(engine)
            yield Installation(settings, urls, engine)
        finally:
            engine.dispose()


def actor() -> str:
    """Who runs this command, for the audit trail: the operating system's user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
