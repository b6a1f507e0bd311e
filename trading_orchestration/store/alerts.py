"""Price alerts, and the outbox of notifications."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, get_args

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.alert import Alert, AlertCondition
from trading_orchestration.store.database import run


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


#: What messages are about; a channel may take some kinds only.
Kind = Literal[
    "trade",
    "fill",
    "rejection",
    "halt",
    "broker",
    "corporate_action",
    "market_hours",
    "prices",
    "system",
    "discrepancy",
    "breaker",
    "missed_run",
    "slow_run",
    "failure_rate",
    "price_alert",
    "strategy",
    "check",
    "test",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message to people. Two with the same `dedupe_key` are one."""

    severity: Severity
    kind: Kind
    title: str
    dedupe_key: str
    body: str = ""
    portfolio_id: int | None = None


@dataclass(frozen=True, slots=True)
class PricedAlert:
    """An active alert with its symbol's newest price."""

    alert: Alert
    note: str | None
    price: Decimal
    quoted_at: datetime


def add_alert(
    connection: Connection,
    *,
    symbol: str,
    condition: AlertCondition,
    threshold: Decimal,
    reference_price: Decimal | None,
    note: str | None,
) -> int:
    """The id of a new alert."""
    inserted = run(
        connection,
        "insert_alert",
        symbol=symbol,
        condition=condition.value,
        threshold=threshold,
        reference_price=reference_price,
        note=note,
    )
    return int(inserted.scalar_one())


def list_alerts(connection: Connection) -> list[RowMapping]:
    """Every alert, for people."""
    return list(run(connection, "alerts").mappings())


def hold_active_alerts(connection: Connection) -> list[PricedAlert]:
    """Alerts that have not fired and have a price, locked until the transaction ends."""
    rows = run(connection, "active_alerts").mappings()
    return [
        PricedAlert(
            Alert(
                id=row["id"],
                symbol=row["symbol"],
                condition=AlertCondition(row["condition"]),
                threshold=row["threshold"],
                reference_price=row["reference_price"],
            ),
            row["note"],
            row["price"],
            row["quoted_at"],
        )
        for row in rows
    ]


def trigger_alerts(connection: Connection, triggered: Sequence[tuple[int, Decimal]], *, at: datetime) -> None:
    """Mark alerts (id, price) as fired."""
    run(
        connection,
        "trigger_alerts",
        at=at,
        alert_ids=[alert_id for alert_id, _ in triggered],
        prices=[price for _, price in triggered],
    )


def add_notifications(
    connection: Connection, notifications: Sequence[Notification], *, at: datetime
) -> list[str]:
    """Put messages into the outbox, in the transaction of what they tell of; answers the new ones' titles."""
    if not notifications:
        return []
    added = run(
        connection,
        "insert_notifications",
        occurred_at=at,
        severities=[n.severity.value for n in notifications],
        kinds=[n.kind for n in notifications],
        titles=[n.title for n in notifications],
        bodies=[n.body for n in notifications],
        portfolio_ids=[n.portfolio_id for n in notifications],
        dedupe_keys=[n.dedupe_key for n in notifications],
    )
    return list(added.scalars())
