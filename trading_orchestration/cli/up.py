"""`trading up`: every process of a running system, until Ctrl-C or SIGTERM."""

import os
from collections.abc import Callable
from contextlib import suppress

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.cli.processes import Supervisor, require_free_port, stopping_on_signals
from trading_orchestration.cli.system import programs
from trading_orchestration.settings import Settings
from trading_orchestration.store import migrations
from trading_orchestration.store.database import create_engine, ensure_database
from trading_orchestration.wiring import open_calendar, open_databases


def run_up(settings: Settings, *, tell: Callable[[str], None]) -> None:
    """Bring the databases up to date, start all processes and keep them running.

    Raises SettingsError for a port in use or a home that cannot be written, DatabaseUnavailableError,
    SchemaError, and TradingError naming the log of a process that does not start.
    """
    require_free_port(settings.trading_ui_port, "TRADING_UI_PORT")
    require_free_port(settings.trading_stream_port, "TRADING_STREAM_PORT")
    with open_databases(settings) as urls:
        ensure_database(urls.trading)
        ensure_database(urls.dagster)
        engine = create_engine(urls.trading, application_name="trading up")
        try:
            applied = migrations.upgrade(engine)
        finally:
            engine.dispose()
        if applied:
            tell(f"Applied {', '.join(applied)}.")
        open_calendar(settings)  # made once here, so that no run has to
        environment = {**os.environ, **dagster_environment(settings, urls)}
        supervisor = Supervisor(
            programs(settings, environment), environment, settings.home / "logs", tell
        )
        with stopping_on_signals(supervisor):
            try:
                supervisor.start()
                tell(f"Dagster UI: http://127.0.0.1:{settings.trading_ui_port}")
                tell(f"Price stream: ws://127.0.0.1:{settings.trading_stream_port}")
                tell(f"Logs: {settings.home / 'logs'}. Ctrl-C ends it.")
                with suppress(KeyboardInterrupt):
                    supervisor.watch()
            finally:
                tell("Stopping.")
                supervisor.stop()
