"""Which processes a running system has, how each is started, and how all of them are kept running."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.cli.probes import (
    CodeServer,
    DaemonWork,
    notifier_fault,
    stream_fault,
    web_server_fault,
)
from trading_orchestration.cli.process_logs import ProcessLogs
from trading_orchestration.cli.processes import (
    Program,
    Supervisor,
    accepts_connections,
    free_port,
    require_free_port,
    stopping_on_signals,
)
from trading_orchestration.cli.service_manager import ALIVE, READY, STOPPING, VARIABLE, tell_service_manager
from trading_orchestration.cli.system_upkeep import DatabaseKeeper, HoursWatch, Reporter
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.settings import Settings
from trading_orchestration.store.database import Engine, create_engine, ensure_database
from trading_orchestration.store.installed import DatabaseUrls, open_databases, upgrade_database
from trading_orchestration.wiring import open_calendar, open_routing

_MODULE = "trading_orchestration.definitions"
_LOCATION = "trading_orchestration"
_CODE_SERVER, _NOTIFIER = "code-server", "notifier"
#: What has read the calendar when it began, and would go on by it.
_ON_THE_CALENDAR = (_CODE_SERVER, _NOTIFIER)
_BIN = Path(sys.executable).parent


def run_up(
    settings: Settings,
    *,
    tell: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> None:
    """Bring the databases up to date, start all processes and keep them running.

    `tell` gets each event as a sentence, `warn` those that are faults, `log` what the processes log, as JSON.

    Raises SettingsError for a port in use or a home that cannot be written, DatabaseUnavailableError,
    SchemaError, and TradingError naming the log of a process that does not start.
    """
    require_ports(settings)
    with open_databases(settings) as urls:
        ensure_database(urls.owner or urls.trading)
        ensure_database(urls.dagster)
        applied = upgrade_database(urls)
        engine = create_engine(urls.trading, application_name="trading up")
        try:
            if applied:
                tell(f"Applied {', '.join(applied)}.")
            calendar = open_calendar(settings)  # made once here, so that no run has to
            open_routing(settings, calendar)  # channels that cannot be are told at once
            with closing(Reporter(engine, warn or tell)) as reporter:
                _supervise(settings, urls, calendar, engine, reporter, tell=tell, log=log)
        finally:
            engine.dispose()


def _supervise(
    settings: Settings,
    urls: DatabaseUrls,
    calendar: MarketCalendar,
    engine: Engine,
    reporter: Reporter,
    *,
    tell: Callable[[str], None],
    log: Callable[[str], None] | None,
) -> None:
    environment = {**os.environ, **dagster_environment(settings, urls)}
    environment.pop(VARIABLE, None)  # the service manager is told by this process alone
    hours = HoursWatch(
        settings=settings,
        calendar=calendar,
        changed=lambda: supervisor.renew(_ON_THE_CALENDAR, "the special hours have changed."),
        report=reporter.report,
    )
    supervisor = Supervisor(
        programs(settings, environment, lambda: hours.calendar, engine),
        environment,
        ProcessLogs(settings.home / "logs", log),
        tell=tell,
        report=reporter.report,
    )
    with stopping_on_signals(supervisor):
        try:
            supervisor.start()
            tell(f"Dagster UI: http://127.0.0.1:{settings.trading_ui_port}")
            tell(f"Price stream: ws://127.0.0.1:{settings.trading_stream_port}")
            tell(f"Logs: {settings.home / 'logs'}. Ctrl-C ends it.")
            tell_service_manager(READY)
            with closing(DatabaseKeeper(urls.ensure_running, reporter.report)):
                supervisor.watch(partial(_look_after, hours))
        finally:
            tell("Stopping.")
            tell_service_manager(STOPPING)
            supervisor.stop()


def _look_after(hours: HoursWatch) -> None:
    tell_service_manager(ALIVE)
    hours.look()


def require_ports(settings: Settings) -> None:
    """Raise SettingsError when something listens where the UI or the price stream should be."""
    require_free_port(settings.trading_ui_port, "TRADING_UI_PORT")
    require_free_port(settings.trading_stream_port, "TRADING_STREAM_PORT")


def programs(
    settings: Settings,
    environment: Mapping[str, str],
    calendar: Callable[[], MarketCalendar],
    engine: Engine,
) -> list[Program]:
    """Code server, daemon, UI, price stream and notifier, in the order in which they are started."""
    code_port = free_port()
    workspace = Path(environment["DAGSTER_HOME"]) / "workspace.yaml"
    workspace.write_text(
        "load_from:\n"
        "  - grpc_server:\n"
        "      host: 127.0.0.1\n"
        f"      port: {code_port}\n"
        f"      location_name: {_LOCATION}\n",
        encoding="utf-8",
    )
    return [
        _code_server(code_port),
        _daemon(workspace, DaemonWork(settings, calendar)),
        _web_server(settings, workspace),
        _stream(settings.trading_stream_port),
        _notifier(engine),
    ]


def _code_server(port: int) -> Program:
    command = [
        *(sys.executable, "-m", "dagster", "api", "grpc"),
        *("--module-name", _MODULE, "--host", "127.0.0.1", "--port", str(port)),
        *("--location-name", _LOCATION),
    ]
    server = CodeServer(port)
    return Program(
        name=_CODE_SERVER,
        command=command,
        is_ready=lambda: accepts_connections(port),
        fault=lambda _: server.fault(),
        at_work=server.runs_at_work,
    )


def _daemon(workspace: Path, work: DaemonWork) -> Program:
    return Program(
        name="daemon",
        command=[str(_BIN / "dagster-daemon"), "run", "--workspace", str(workspace)],
        fault=work.fault,
        needs=_CODE_SERVER,
    )


def _web_server(settings: Settings, workspace: Path) -> Program:
    port = settings.trading_ui_port
    hosts = [name.strip().lower() for name in settings.trading_ui_hosts.split(",") if name.strip()]
    command = [
        *(sys.executable, "-m", "trading_orchestration.orchestration.webserver"),
        *("--host", "127.0.0.1", "--port", str(port), "--workspace", str(workspace)),
        *(part for host in hosts for part in ("--allow-host", host)),
    ]
    return Program(
        name="web-server",
        command=command,
        is_ready=lambda: accepts_connections(port),
        fault=lambda _: web_server_fault(port),
    )


def _stream(port: int) -> Program:
    return Program(
        name="stream",
        command=[str(_BIN / "trading"), "stream", "--port", str(port)],
        is_ready=lambda: accepts_connections(port),
        fault=lambda _: stream_fault(port),
    )


def _notifier(engine: Engine) -> Program:
    return Program(
        name=_NOTIFIER,
        command=[str(_BIN / "trading"), "notify", "run"],
        fault=partial(notifier_fault, engine),
    )
