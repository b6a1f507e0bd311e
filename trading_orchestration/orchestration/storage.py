"""Dagster's own storage: in the database that the installation names, or in the embedded PostgreSQL.

Any Dagster command in this project finds it, with or without `trading` around it. The URL comes from the
environment or the embedded server when it is needed, and never stands in a configuration.
"""

import atexit
import os
import threading
from contextlib import ExitStack
from typing import Any, Self

from dagster import Field, Noneable, StringSource
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from trading_orchestration.store.database import refuse_stale_connections

URL_VARIABLE = "DAGSTER_POSTGRES_URL"
_STATEMENT_TIMEOUT_MS = 60_000
_POOL_RECYCLE_S = 3_600
_POOL_OVERFLOW = 20

_lock = threading.Lock()
_found: dict[str, str] = {}


class TradingStorage(DagsterPostgresStorage):
    """PostgreSQL storage at `DAGSTER_POSTGRES_URL` when that is set, else where the settings lead."""

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
    from trading_orchestration.wiring import open_databases

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
