"""How the system halts itself: the halt and the message to people, in the transaction of what led to it."""

from datetime import datetime

from trading_orchestration.store import portfolios
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.portfolios import HaltLevel


def halt(connection: Connection, portfolio_id: int | None, *, reason: str, actor: str, at: datetime) -> None:
    """Let a portfolio, or all with None, take on nothing new until a person has looked.

    Where a halt is in force already it stays as it is, and the message still goes out, once for each reason
    as long as that halt lasts.
    """
    portfolios.add_halt(
        connection, portfolio_id=portfolio_id, level=HaltLevel.NO_NEW, reason=reason, actor=actor, at=at
    )
    in_force = next(h.id for h in portfolios.read_halts(connection) if h.portfolio_id == portfolio_id)
    message = Notification(
        severity=Severity.CRITICAL,
        kind="halt",
        title="Trading was halted",
        body=reason,
        portfolio_id=portfolio_id,
        dedupe_key=f"halt:{in_force}:{reason}",
    )
    add_notifications(connection, [message], at=at)
