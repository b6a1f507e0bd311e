"""Which accounts may trade real money: a row each, typed by hand, kept for good."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping

from trading_orchestration.store.database import run


def is_permitted(connection: Connection, broker: str, account_number: str) -> bool:
    """Whether an account may trade real money now."""
    found = run(connection, "is_live_permitted", broker=broker, account_number=account_number)
    return bool(found.scalar_one())


def permit(
    connection: Connection, broker: str, account_number: str, *, reason: str, actor: str, at: datetime
) -> bool:
    """Let an account trade real money; False where it may already."""
    added = run(
        connection,
        "insert_live_permission",
        broker=broker,
        account_number=account_number,
        reason=reason,
        actor=actor,
        at=at,
    )
    return added.scalar() is not None


def revoke(
    connection: Connection, broker: str, account_number: str, *, reason: str, actor: str, at: datetime
) -> bool:
    """Let it trade no real money any more; False where it may not."""
    ended = run(
        connection,
        "revoke_live_permission",
        broker=broker,
        account_number=account_number,
        reason=reason,
        actor=actor,
        at=at,
    )
    return ended.scalar() is not None


def list_permissions(connection: Connection) -> list[RowMapping]:
    """All there are and were, the newest first."""
    return list(run(connection, "live_permissions").mappings())


def live_accounts(connection: Connection) -> list[tuple[str, str]]:
    """Broker and number of every account whose portfolios trade real money."""
    return [(row.broker, row.account_number) for row in run(connection, "live_accounts")]
