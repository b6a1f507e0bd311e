"""Dagster's own storage: in the database that the installation names, or in the embedded PostgreSQL.

Any Dagster command in this project finds it, with or without `trading` around it. The URL comes from the
environment or the embedded server when it is needed, and never stands in a configuration.
"""

import atexit
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self

from dagster import EventLogEntry, Field, Noneable, StringSource
from dagster._core.events import DagsterEventType
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_shared.record import copy

from trading_orchestration.store.database import refuse_stale_connections

URL_VARIABLE = "DAGSTER_POSTGRES_URL"
_STATEMENT_TIMEOUT_MS = 60_000
_POOL_RECYCLE_S = 3_600
_POOL_OVERFLOW = 20
#: Dagster's own switch for writing events of many partitions together, and how many at once.
_BATCH_VARIABLE, _BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", "500"
_PLANNED = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}

_lock = threading.Lock()
_found: dict[str, str] = {}


class EventLog(PostgresEventLogStorage):
    """Dagster's event log, in which a range of partitions is announced at once.

    A run of ten years announces 2,500 partitions before it starts. One by one, each in transactions of its
    own, they take longer than a run may take to start where the machine is busy.
    """

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events together; materialisations are so already in Dagster's own."""
        kinds = {event.get_dagster_event().event_type for event in events}
        if not kinds <= _PLANNED:
            super().store_event_batch(events)
            return
        announced = [
            e for e in events if e.dagster_event_type is DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        ]
        if announced:
            self._announce(announced)
        for event in events:
            if event.dagster_event_type is DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self.store_event(event)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; a check that a run of a range plans is one of the whole asset, as ours are.

        Dagster would plan it for each partition, with all partitions in each, and leave that so for good.
        """
        super().store_event(_of_whole_asset(event))

    def _announce(self, events: Sequence[EventLogEntry]) -> None:
        with self._connect() as connection:
            inserted = self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
            ids = connection.execute(inserted).scalars().all()
        last = {event.get_dagster_event().asset_key: number for number, event in enumerate(events)}
        with self.index_transaction() as connection:
            for number in last.values():
                self._store_asset_event(connection, events[number], ids[number])


def _of_whole_asset(event: EventLogEntry) -> EventLogEntry:
    if event.dagster_event_type is not DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return event
    planned = event.get_dagster_event()
    whole = copy(planned.asset_check_planned_data, partitions_subset=None)
    return event._replace(dagster_event=planned._replace(event_specific_data=whole))


class TradingStorage(DagsterPostgresStorage):
    """PostgreSQL storage at `DAGSTER_POSTGRES_URL` when that is set, else where the settings lead."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        os.environ.setdefault(_BATCH_VARIABLE, _BATCH_SIZE)
        super().__init__(postgres_url, inst_data=inst_data)
        self._event_log_storage = EventLog(postgres_url, should_autocreate_tables=False)

    @classmethod
    def config_type(cls) -> dict[str, Field]:
        """Nothing has to be configured; `postgres_url` is there for a file of a person's own."""
        return {"postgres_url": Field(Noneable(StringSource), is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Open the storage; its tables are made on first use.

        Every process holds its connections: a run makes some thirty statements of Dagster's, and a new
        connection for each costs more than all of them.
        """
        storage = cls(config_value.get("postgres_url") or _url(), inst_data=inst_data)
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            part.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
            # Dagster offers no other way to the pool it has just made.
            refuse_stale_connections(vars(part)["_engine"])
        return storage


def _url() -> str:
    given = os.environ.get(URL_VARIABLE)
    return given or _url_of_installation()


def _url_of_installation() -> str:
    from trading_orchestration.settings import read_settings
    from trading_orchestration.store.database import dagster_storage_url, ensure_database
    from trading_orchestration.store.installed import open_databases

    settings = read_settings()
    key = str(settings.home)
    with _lock:
        if key not in _found:
            held = ExitStack()
            urls = held.enter_context(open_databases(settings))
            atexit.register(held.close)
            ensure_database(urls.dagster)
            _found[key] = dagster_storage_url(urls.dagster)
        return _found[key]
