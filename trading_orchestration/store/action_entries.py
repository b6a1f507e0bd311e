"""What corporate actions do to the ledger: holdings just before one, and the entries it makes.

Whoever books holds the portfolios first, as with everything else in the ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from sqlalchemy import Connection

from trading_orchestration.domain.corporate_action import Effect
from trading_orchestration.domain.position import Position, fold
from trading_orchestration.domain.reconciliation import AdjustmentCause
from trading_orchestration.store import ledger
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """What a corporate action does to one portfolio, and how often it was corrected before."""

    effect: Effect
    revision: int


def add_action_entries(
    connection: Connection,
    action_id: int,
    entries: Sequence[ActionEntry],
    *,
    cause: AdjustmentCause,
    note: str,
    actor: str,
    at: datetime,
) -> None:
    """Book what a corporate action does as of `at` (UTC) and bring the caches up to it."""
    effects = [entry.effect for entry in entries]
    run(
        connection,
        "insert_action_adjustments",
        corporate_action_id=action_id,
        cause=cause.value,
        note=note,
        actor=actor,
        occurred_at=at,
        portfolio_ids=[effect.portfolio_id for effect in effects],
        symbols=[effect.symbol for effect in effects],
        quantities=[effect.quantity for effect in effects],
        cash_amounts=[effect.cash for effect in effects],
        unit_costs=[None if effect.keeps_cost else effect.unit_cost for effect in effects],
        keep_costs=[effect.keeps_cost for effect in effects],
        revisions=[entry.revision for entry in entries],
    )
    for portfolio_id in sorted({effect.portfolio_id for effect in effects}):
        mine = [effect for effect in effects if effect.portfolio_id == portfolio_id]
        symbols = sorted({effect.symbol for effect in mine if effect.quantity})
        if symbols:
            ledger.refold_positions(connection, portfolio_id, symbols)
        cash = sum((effect.cash for effect in mine), Decimal(0))
        if cash:
            ledger.move_cash(connection, portfolio_id, cash)


def holdings_before(
    connection: Connection, symbol: str, *, at: datetime, action_id: int | None
) -> dict[int, Position]:
    """What each portfolio held of a symbol just before an instant; with what earlier actions did at it.

    Earlier are those with a smaller id than `action_id`; with None no action of the instant counts.
    """
    rows = run(connection, "position_entries", portfolio_ids=None, symbols=[symbol], until=at).mappings()
    found: dict[int, Position] = {}
    for portfolio_id, group in groupby(rows, key=lambda row: row["portfolio_id"]):
        entries = [
            ledger.ledger_entry(row)
            for row in group
            if row["at"] < at
            or (action_id is not None and (row["corporate_action_id"] or action_id) < action_id)
        ]
        found[portfolio_id] = fold(symbol, entries)
    return found
