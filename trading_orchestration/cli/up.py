"""`trading up`: every process of a running system, until Ctrl-C or SIGTERM."""

import json
import threading
from typing import Annotated

import typer

from trading_orchestration.cli.output import note


def up(
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="Print everything, all processes' logs too, as JSON lines.")
    ] = False,
) -> None:
    """Start PostgreSQL, Dagster (code server, daemon, UI) and the price stream, and keep them running."""
    from trading_orchestration.cli.system import run_up
    from trading_orchestration.settings import read_settings

    settings = read_settings()
    if not json_logs:
        run_up(settings, tell=note)
        return

    from trading_orchestration.cli.process_logs import json_line
    from trading_orchestration.cli.redaction import secrets, without_secrets

    # In a line of JSON a secret may stand escaped.
    hidden = [form for secret in secrets() for form in (secret, json.dumps(secret)[1:-1])]
    one_at_a_time = threading.Lock()

    def write(line: str) -> None:
        with one_at_a_time:
            print(without_secrets(line, hidden), flush=True)

    def tell(sentence: str, level: str = "info") -> None:
        write(json_line(process="trading", message=sentence, level=level))

    run_up(settings, tell=tell, warn=lambda sentence: tell(sentence, "warning"), log=write)
