"""Corporate actions that our books have been through and a broker has yet to: no difference to repair."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.reconciliation import Discrepancy
from trading_orchestration.store import corporate_actions
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.corporate_actions import ActionEntries
from trading_orchestration.store.database import Connection

#: For so long after its day a broker may take to apply an action.
GRACE = timedelta(days=4)


def unexplained(
    connection: Connection,
    account_id: int,
    found: Sequence[Discrepancy],
    *,
    cash_tolerance: Decimal,
    now: datetime,
) -> list[Discrepancy]:
    """What no action of the last days accounts for; of those that it does account for, people are told."""
    if not found:
        return []
    entries = corporate_actions.recent_entries(connection, account_id, now - GRACE)
    left: list[Discrepancy] = []
    for discrepancy in found:
        awaited = _awaited(discrepancy, entries, cash_tolerance)
        if not awaited:
            left.append(discrepancy)
        told = [_message(connection, i) for i in sorted({one.corporate_action_id for one in awaited})]
        add_notifications(connection, told, at=now)
    return left


def _awaited(
    discrepancy: Discrepancy, entries: Sequence[ActionEntries], cash_tolerance: Decimal
) -> Sequence[ActionEntries]:
    """The actions without which the sides would agree; empty where that is not so."""
    if discrepancy.symbol is not None:
        of_symbol = [one for one in entries if one.symbol == discrepancy.symbol]
        return [one for one in of_symbol if one.quantity == -discrepancy.difference]
    paid = [one for one in entries if one.cash]
    for candidates in (*([one] for one in paid), paid):
        difference = discrepancy.difference + sum((one.cash for one in candidates), ZERO)
        if candidates and abs(difference) <= cash_tolerance:
            return candidates
    return []


def _message(connection: Connection, action_id: int) -> Notification:
    recorded = corporate_actions.hold_action(connection, action_id)
    assert recorded is not None, "the ledger's entries refer to it"
    return Notification(
        severity=Severity.WARNING,
        kind="corporate_action",
        title=f"The broker has not applied an action yet: {recorded.action.sentence}",
        body=f"Our books have. The difference is left alone for {GRACE.days} days from its day.",
        dedupe_key=f"corporate_action:{action_id}:awaited",
    )
