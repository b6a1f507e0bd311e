"""Dagster's web server behind the guard: `python -m trading_orchestration.orchestration.webserver`."""

import argparse
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from trading_orchestration.orchestration.web_guard import WebGuard

_STATEMENT_TIMEOUT_MS = 15_000
_POOL_RECYCLE_S = 3_600
_POOL_OVERFLOW = 20
_SHUTDOWN_S = 3


def main() -> None:
    """Serve the UI of the workspace file on one address until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--allow-host", action="append", default=[])
    given = parser.parse_args()
    hosts = {f"{name}:{given.port}" for name in ("127.0.0.1", "localhost", "[::1]", given.host)}
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        target = WorkspaceFileTarget(paths=[str(given.workspace)])
        with WorkspaceProcessContext(
            instance, workspace_load_target=target, version=__version__
        ) as workspace:
            app = create_app_from_workspace_process_context(workspace)
            uvicorn.run(
                WebGuard(app, hosts | set(given.allow_host)),
                host=given.host,
                port=given.port,
                log_level="warning",
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )


if __name__ == "__main__":
    main()
