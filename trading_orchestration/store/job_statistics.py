"""What the jobs did so far, for people: history, rates, durations."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.job import JobType
from trading_orchestration.store.database import run


def job_history(connection: Connection, job_type: JobType | None, *, limit: int) -> list[RowMapping]:
    """Executions of one job or all, newest first."""
    rows = run(connection, "job_history", job_type=job_type.value if job_type else None, limit=limit)
    return list(rows.mappings())


def job_stats(connection: Connection, *, since: datetime | None) -> list[RowMapping]:
    """Outcomes and durations of each job since an instant."""
    return list(run(connection, "job_stats", since=since).mappings())
