"""The whole ledger at once, for those who follow it from session to session."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from trading_orchestration.store.database import run

#: How far the ledger was written: the newest fill, cash movement and adjustment.
Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CashHistory:
    """What moved a portfolio's cash, in the order in which it happened.

    `flows` are deposits and withdrawals, `movements` the instants (UTC) of all cash movements.
    """

    amounts: list[tuple[datetime, Decimal]] = field(default_factory=list)
    flows: list[tuple[datetime, Decimal]] = field(default_factory=list)
    movements: list[datetime] = field(default_factory=list)

    @property
    def opened_at(self) -> datetime | None:
        """When cash was first moved by other than trading."""
        return self.movements[0] if self.movements else None


def ledger_version(connection: Connection) -> Version:
    """Whether anything was booked since; exact while all portfolios are held."""
    row = run(connection, "ledger_version").one()
    return row.fill, row.movement, row.adjustment


def cash_histories(connection: Connection) -> defaultdict[int, CashHistory]:
    """What moved the cash of each portfolio."""
    found: defaultdict[int, CashHistory] = defaultdict(CashHistory)
    for row in run(connection, "cash_entries"):
        history = found[row.portfolio_id]
        history.amounts.append((row.at, row.amount))
        if row.kind == "flow":
            history.flows.append((row.at, row.amount))
        if row.kind in ("flow", "movement"):
            history.movements.append(row.at)
    return found
