"""Removing what was kept long enough; the ledger, decisions, snapshots and audit trails are kept for good."""

from sqlalchemy import Connection

from trading_orchestration.store.database import run


def purge_executions(connection: Connection, *, keep_days: int) -> int:
    """Remove executions that ended so long ago; answers how many. The newest success of each job stays."""
    return run(connection, "purge_executions", keep_days=keep_days).rowcount


def purge_notifications(connection: Connection, *, keep_days: int) -> int:
    """Remove messages that old; answers how many."""
    return run(connection, "purge_notifications", keep_days=keep_days).rowcount
