"""`trading up`: every process of a running system, until Ctrl-C or SIGTERM."""

from trading_orchestration.cli.output import note


def up() -> None:
    """Start PostgreSQL, Dagster (code server, daemon, UI) and the price stream, and keep them running."""
    from trading_orchestration.cli.system import run_up
    from trading_orchestration.settings import read_settings

    run_up(read_settings(), tell=note)
