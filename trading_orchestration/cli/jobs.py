"""`trading jobs`: the six jobs, what they did, and their breakers."""

from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from trading_orchestration.cli import job_control
from trading_orchestration.cli.output import (
    Column,
    Json,
    milliseconds,
    minute,
    on_or_off,
    second,
    show,
)
from trading_orchestration.domain.job import JobType

app = typer.Typer(help="The six jobs: status, history, breakers.")


def _rate(value: Decimal | float) -> str:
    return f"{value:.1%}"


_STATUS = [
    Column("job_type", "job"),
    Column("job_status", "breaker"),
    Column("is_scheduled", "schedule", on_or_off),
    Column("last_run_at", "last run", minute),
    Column("last_status", "ended"),
    Column("average_duration_ms", "average", milliseconds),
    Column("next_tick", write=minute),
    Column("note"),
]
_HISTORY = [
    Column("started_at", "started", second),
    Column("tick", write=minute),
    Column("triggered_by", "by"),
    Column("execution_status", "status"),
    Column("duration_ms", "duration", milliseconds),
    Column("counts", write=lambda counts: " ".join(f"{name}={count}" for name, count in counts.items())),
    Column("why"),
]
_STATS = [
    Column("job_type", "job"),
    Column("runs"),
    Column("failed"),
    Column("skipped"),
    Column("failure_rate", "failures", _rate),
    Column("failure_rate_1h", "1 h", _rate),
    Column("failure_rate_1d", "1 day", _rate),
    Column("failure_rate_7d", "7 days", _rate),
    Column("average_duration_ms", "average", milliseconds),
    Column("deviation_ms", "deviation", milliseconds),
    Column("median_ms", "median", milliseconds),
    Column("p95_ms", "95 %", milliseconds),
    Column("p99_ms", "99 %", milliseconds),
]


@app.callback(invoke_without_command=True)
def jobs(context: typer.Context, as_json: Json = False) -> None:
    """Status of the six jobs: breaker, last run, average duration, next tick."""
    if context.invoked_subcommand is not None:
        return
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.job_overview import job_overviews
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        found = job_overviews(opened.begin, opened.calendar, now=system_clock())
    rows = [asdict(overview) for overview in found]
    show(rows if as_json else [_with_note(row) for row in rows], _STATUS, as_json=as_json, empty="No jobs.")


@app.command()
def history(
    job: JobType,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Executions of a job, the newest first."""
    from trading_orchestration.cli.installation import open_installation

    with open_installation() as opened:
        rows = opened.monitoring.get_job_history(job, limit=limit)
    shown = rows if as_json else [row | {"why": row["skip_reason"] or row["error_message"]} for row in rows]
    show(shown, _HISTORY, as_json=as_json, empty=f"{job} has not run yet.")


@app.command()
def stats(
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="Of the last so many days; else of all that is kept.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How often each job ran and failed, and how long its successes took."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.wiring import system_clock

    since = None if days is None else system_clock() - timedelta(days=days)
    with open_installation() as opened:
        rows = opened.monitoring.get_job_stats(since=since)
    show(
        rows if as_json else [_with_deviation(row) for row in rows], _STATS, as_json=as_json, empty="No jobs."
    )


for command in (
    job_control.reset,
    job_control.trip,
    job_control.pause,
    job_control.resume,
    job_control.trail,
):
    app.command()(command)
app.command("set")(job_control.change)


def _with_deviation(row: dict[str, Any]) -> dict[str, Any]:
    variance = row["duration_variance"]
    return row | {"deviation_ms": None if variance is None else variance.sqrt()}


def _with_note(row: dict[str, Any]) -> dict[str, Any]:
    note = None
    if row["job_status"] == "error":
        waits = f"until {minute(row['retry_at'])}" if row["retry_at"] else "for a person"
        note = f"waits {waits}: {row['last_error']}"
    elif row["consecutive_failures"]:
        note = f"{row['consecutive_failures']} failures in a row: {row['last_error']}"
    return row | {"note": note}
