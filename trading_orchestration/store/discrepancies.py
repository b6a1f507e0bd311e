"""Where our books and a broker's did not agree, with both sides, a cause and what became of it."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.reconciliation import Discrepancy
from trading_orchestration.store.database import run


def last_discrepancies(connection: Connection, account_id: int) -> dict[str | None, RowMapping]:
    """The newest difference of each symbol (None: cash): `difference`, and whether it `halted` trading."""
    rows = run(connection, "last_discrepancies", broker_account_id=account_id).mappings()
    return {row["symbol"]: row for row in rows}


def add_discrepancy(
    connection: Connection,
    account_id: int,
    discrepancy: Discrepancy,
    *,
    resolution: str,
    run_id: str,
    at: datetime,
) -> int:
    """Keep two sides that did not agree; answers the row's id."""
    inserted = run(
        connection,
        "insert_discrepancy",
        broker_account_id=account_id,
        symbol=discrepancy.symbol,
        ours=discrepancy.ours,
        brokers=discrepancy.brokers,
        cause=discrepancy.cause.value,
        evidence=list(discrepancy.evidence),
        resolution=resolution,
        run_id=run_id,
        found_at=at,
    )
    return int(inserted.scalar_one())


def settled_by(
    connection: Connection, account_id: int, evidence: Collection[str]
) -> set[tuple[str | None, str]]:
    """Which of these executions and activities have led to an adjustment already, by symbol (None: cash)."""
    rows = run(connection, "settled_by", broker_account_id=account_id, evidence=sorted(evidence)).mappings()
    return {(row["symbol"], row["evidence"]) for row in rows}
