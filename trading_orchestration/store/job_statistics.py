"""What the jobs did so far, for people: history, rates, durations."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.job import JobType
from trading_orchestration.store.database import run


def job_history(connection: Connection, job_type: JobType | None, *, limit: int) -> list[RowMapping]:
    """Executions of one job or all, newest first."""
    rows = run(connection, "job_history", job_type=job_type.value if job_type else None, limit=limit)
    return list(rows.mappings())


def job_stats(connection: Connection, *, since: datetime | None, now: datetime) -> list[RowMapping]:
    """Outcomes and durations of each job since an instant, and its rates of failure up to another."""
    return list(run(connection, "job_stats", since=since, now=now).mappings())


def last_counts(connection: Connection, job_type: JobType) -> dict[str, int] | None:
    """What the newest completed execution of a job counted; None where there is none."""
    counts: dict[str, int] | None = run(connection, "last_counts", job_type=job_type.value).scalar()
    return counts


def newest_completed_run(connection: Connection, job_type: JobType) -> str | None:
    """The run of the newest completed execution of a job; None where there is none."""
    run_id: str | None = run(connection, "newest_completed_run", job_type=job_type.value).scalar()
    return run_id
