"""Which processes a running system has, and how each is started."""

import sys
from collections.abc import Mapping
from pathlib import Path

from trading_orchestration.cli.processes import Program, accepts_connections, free_port
from trading_orchestration.settings import Settings

_MODULE = "trading_orchestration.definitions"
_LOCATION = "trading_orchestration"
_BIN = Path(sys.executable).parent


def programs(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    """Code server, daemon, UI and price stream, in the order in which they are started."""
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
        _daemon(workspace),
        _web_server(settings.trading_ui_port, workspace),
        _stream(settings.trading_stream_port),
    ]


def _code_server(port: int) -> Program:
    command = [
        *(sys.executable, "-m", "dagster", "api", "grpc"),
        *("--module-name", _MODULE, "--host", "127.0.0.1", "--port", str(port)),
        *("--location-name", _LOCATION),
    ]
    return Program(name="code-server", command=command, is_ready=lambda: accepts_connections(port))


def _daemon(workspace: Path) -> Program:
    return Program(
        name="daemon", command=[str(_BIN / "dagster-daemon"), "run", "--workspace", str(workspace)]
    )


def _web_server(port: int, workspace: Path) -> Program:
    command = [
        *(sys.executable, "-m", "trading_orchestration.orchestration.webserver"),
        *("--host", "127.0.0.1", "--port", str(port), "--workspace", str(workspace)),
    ]
    return Program(name="web-server", command=command, is_ready=lambda: accepts_connections(port))


def _stream(port: int) -> Program:
    return Program(
        name="stream",
        command=[str(_BIN / "trading"), "stream", "--port", str(port)],
        is_ready=lambda: accepts_connections(port),
    )
