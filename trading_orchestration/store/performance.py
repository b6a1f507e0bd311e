"""What performance is measured on: snapshots, ledger entries with the strategies behind them, closes."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from trading_orchestration.domain.position import Adjustment
from trading_orchestration.domain.round_trip import Owner
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store.database import run
from trading_orchestration.store.ledger import ledger_entry

OwnedEntry = tuple[Fill | Adjustment, Owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionValue:
    """A portfolio at a session's close; `gross_value` is Σ |position value|. Returns are fractions.

    `previous_…` is of the snapshot before, all None for the first one; `old_closes` are holdings valued at
    the close of an earlier session.
    """

    portfolio_id: int
    session: date
    cash: Decimal
    total_value: Decimal
    daily_return: Decimal | None
    total_return: Decimal | None
    previous_session: date | None
    previous_total: Decimal | None
    previous_return: Decimal | None
    gross_value: Decimal
    is_stale: bool = False
    old_closes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A position in a snapshot; `value` is quantity × close."""

    portfolio_id: int
    symbol: str
    quantity: Decimal
    average_cost: Decimal
    close: Decimal
    value: Decimal


@dataclass(frozen=True, slots=True)
class Close:
    """The official close of a session."""

    session: date
    price: Decimal


def session_values(
    connection: Connection, portfolio_ids: Collection[int], *, first: date | None, last: date | None
) -> dict[int, list[SessionValue]]:
    """The snapshots of some portfolios between two dates (inclusive; None: unbounded), oldest first."""
    rows = run(
        connection, "session_values", portfolio_ids=list(portfolio_ids), first=first, last=last
    ).mappings()
    found: dict[int, list[SessionValue]] = defaultdict(list)
    for row in rows:
        found[row["portfolio_id"]].append(SessionValue(**row))
    return dict(found)


def holdings_of_sessions(connection: Connection, sessions: Mapping[int, date]) -> dict[int, list[Holding]]:
    """What portfolios hold, each in the snapshot of the session that `sessions` names for it."""
    rows = run(
        connection,
        "holdings_of_sessions",
        portfolio_ids=list(sessions),
        sessions=list(sessions.values()),
    ).mappings()
    found: dict[int, list[Holding]] = defaultdict(list)
    for row in rows:
        found[row["portfolio_id"]].append(Holding(**row))
    return dict(found)


def owned_entries(
    connection: Connection, portfolio_ids: Collection[int], *, until: datetime
) -> dict[int, dict[str, list[OwnedEntry]]]:
    """The entries of each portfolio and symbol up to an instant (inclusive), in the order they count in.

    Each comes with the name of the strategy that decided it; None for a stop loss, a take profit or an
    adjustment. Two statements.
    """
    ids = list(portfolio_ids)
    strategies = {
        row.fill_id: row.strategy for row in run(connection, "strategies_of_fills", portfolio_ids=ids)
    }
    rows = run(connection, "position_entries", portfolio_ids=ids, symbols=None, until=until).mappings()
    found: dict[int, dict[str, list[OwnedEntry]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        owned = (ledger_entry(row), strategies.get(row["fill_id"]))
        found[row["portfolio_id"]][row["symbol"]].append(owned)
    return found


def daily_closes(
    connection: Connection, symbols: Collection[str], first: date, last: date
) -> dict[str, Sequence[Close]]:
    """The official closes of some symbols between two dates (inclusive), oldest first."""
    rows = run(connection, "daily_closes", symbols=list(symbols), first=first, last=last)
    found: dict[str, list[Close]] = {symbol: [] for symbol in symbols}
    for row in rows:
        found[row.symbol].append(Close(row.session, row.close))
    return dict(found)
