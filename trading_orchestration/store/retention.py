"""Removing what was kept long enough; the ledger, decisions, snapshots and audit trails are kept for good."""

from typing import Any

from trading_orchestration.domain.job import JobType
from trading_orchestration.store.database import run
from trading_orchestration.store.jobs import Begin

#: Rows removed by one statement, and statements by one call; what is left goes the next time.
BATCH = 2_000
BATCHES_MAX = 10


def purge_executions(begin: Begin, *, keep_days: int) -> int:
    """Remove executions that old, in transactions of `BATCH` rows; answers how many.

    The newest success of each job stays, and every execution that a discrepancy or a breaker's event names.
    """
    return sum(
        _in_batches(begin, "purge_executions", job_type=job_type.value, keep_days=keep_days)
        for job_type in JobType
    )


def purge_notifications(begin: Begin, *, keep_days: int) -> int:
    """Remove messages that old which are not under way, in transactions of `BATCH`; answers how many."""
    return _in_batches(begin, "purge_notifications", keep_days=keep_days)


def _in_batches(begin: Begin, name: str, **parameters: Any) -> int:
    removed = 0
    for _ in range(BATCHES_MAX):
        with begin() as connection:
            number = run(connection, name, limit=BATCH, **parameters).rowcount
        removed += number
        if number < BATCH:
            break
    return removed
