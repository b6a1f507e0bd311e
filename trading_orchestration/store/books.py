"""The books as a whole, read at one instant: what `check_books` compares with itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.position import Adjustment, Position
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store.database import run
from trading_orchestration.store.ledger import position_entries
from trading_orchestration.store.ledger_history import cash_histories
from trading_orchestration.store.portfolios import hold_all_portfolios

#: A row as the query of the same name gives it.
Row = RowMapping


@dataclass(frozen=True, slots=True)
class PortfolioCash:
    """A portfolio with its cached cash; None where the cache has no row."""

    id: int
    name: str
    amount: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The ledger, the caches that are folded from it, the snapshots, and the rows that break a rule."""

    portfolios: Sequence[PortfolioCash]
    entries: Mapping[tuple[int, str], Sequence[Fill | Adjustment]]  # by portfolio and symbol
    positions: Mapping[tuple[int, str], Position]
    cash_entries: Mapping[int, Sequence[tuple[datetime, Decimal]]]
    snapshots: Sequence[Row]
    snapshot_lines: Sequence[Row]
    trades_adrift: Sequence[Row]
    trades_misplaced: Sequence[Row]
    discrepancies_unrepaired: Sequence[Row]


def read_books(connection: Connection) -> Books:
    """Everything, in ten statements, while nobody can book."""
    hold_all_portfolios(connection)
    histories = cash_histories(connection)
    return Books(
        portfolios=[PortfolioCash(**row) for row in _rows(connection, "books_cash")],
        entries=position_entries(connection),
        positions={
            (row["portfolio_id"], row["symbol"]): Position(
                row["symbol"], row["quantity"], row["average_cost"], row["realised_pnl"]
            )
            for row in _rows(connection, "books_positions")
        },
        cash_entries={portfolio_id: history.amounts for portfolio_id, history in histories.items()},
        snapshots=_rows(connection, "books_snapshots"),
        snapshot_lines=_rows(connection, "books_snapshot_lines"),
        trades_adrift=_rows(connection, "books_trades_adrift"),
        trades_misplaced=_rows(connection, "books_trades_misplaced"),
        discrepancies_unrepaired=_rows(connection, "books_discrepancies_unrepaired"),
    )


def _rows(connection: Connection, name: str) -> Sequence[RowMapping]:
    return run(connection, name).mappings().all()
