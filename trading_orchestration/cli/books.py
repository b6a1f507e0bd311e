"""`trading trades`, `positions` and `snapshots`: what is in the books."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.amounts import past_session
from trading_orchestration.cli.output import Column, Json, minute, money, note, percent, show
from trading_orchestration.cli.rows import position_row

if TYPE_CHECKING:
    from trading_orchestration.cli.installation import Installation
    from trading_orchestration.domain.market_time import Session
    from trading_orchestration.store.database import Connection

Portfolio = Annotated[str | None, typer.Option("--portfolio", help="Of this portfolio.")]
Symbol = Annotated[str | None, typer.Option("--symbol", help="In this symbol.")]
SessionDate = Annotated[str | None, typer.Option("--session", help="Of this session, such as 2024-07-03.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")]

_DEFAULT_LIMIT = 100


def _portion(fraction: Decimal) -> str:
    return f"{fraction:.1%}"


def _age(sessions: int) -> str:
    """How old a close is that an earlier session gave; nothing for the session's own."""
    return f"{sessions} session{'' if sessions == 1 else 's'} before" if sessions else ""


_TRADES = [
    Column("session"),
    Column("portfolio"),
    Column("strategy"),
    Column("symbol"),
    Column("side"),
    Column("quantity"),
    Column("status"),
    Column("filled_quantity", "filled"),
    Column("average_price", "price", money),
    Column("reason"),
    Column("status_reason", "why"),
]
_POSITIONS = [
    Column("portfolio"),
    Column("symbol"),
    Column("quantity"),
    Column("average_cost", "cost", money),
    Column("market_price", "price", money),
    Column("market_value", "value", money),
    Column("unrealised_pnl", "unrealised", money),
    Column("realised_pnl", "realised", money),
    Column("marked_at", "priced", minute),
]
_POSITIONS_OF_SESSION = [
    Column("portfolio"),
    Column("symbol"),
    Column("quantity"),
    Column("average_cost", "cost", money),
    Column("close", write=money),
    Column("close_age", "close of", write=_age),
    Column("value", write=money),
]
_SNAPSHOTS = [
    Column("session"),
    Column("portfolio"),
    Column("total_value", "total", money),
    Column("cash", write=money),
    Column("positions_value", "positions", money),
    Column("position_count", "held"),
    Column("exposure", write=_portion),
    Column("net_deposits", "deposits", money),
    Column("daily_return", "day", percent),
    Column("total_return", "since start", percent),
    Column("stale_reason", "stale"),
]


def trades(
    portfolio: Portfolio = None,
    symbol: Symbol = None,
    session: SessionDate = None,
    limit: Limit = _DEFAULT_LIMIT,
    as_json: Json = False,
) -> None:
    """Trades: what was decided, and what became of it."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.trades import list_trades

    with open_installation() as opened:
        day = _session(opened, session)
        with opened.begin() as connection:
            _require_known(connection, portfolio, symbol)
            rows = list_trades(
                connection,
                portfolio=portfolio,
                symbol=symbol.upper() if symbol else None,
                session=day.date if day else None,
                limit=limit + 1,
            )
    show(_newest(rows, limit), _TRADES, as_json=as_json, empty="No trades.")


def positions(
    portfolio: Portfolio = None,
    symbol: Symbol = None,
    session: SessionDate = None,
    as_json: Json = False,
) -> None:
    """Positions now, at the newest prices; or at a session's close, as its snapshot holds them."""
    from trading_orchestration.cli.installation import open_installation

    with open_installation() as opened:
        day = _session(opened, session)
        with opened.begin() as connection:
            _require_known(connection, portfolio, symbol)
            rows = _positions(connection, day)
    wanted = [
        row
        for row in rows
        if portfolio in (None, row["portfolio"]) and (symbol is None or row["symbol"] == symbol.upper())
    ]
    columns = _POSITIONS_OF_SESSION if day else _POSITIONS
    show(wanted, columns, as_json=as_json, empty="No positions.")


def snapshots(
    portfolio: Portfolio = None,
    session: SessionDate = None,
    limit: Limit = _DEFAULT_LIMIT,
    is_stale: Annotated[
        bool, typer.Option("--stale", help="Only those that the ledger or a bar no longer bears out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What each portfolio was worth at each session's close.

    A stale one waits to be taken again, and says why.
    """
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.snapshots import list_snapshots

    with open_installation() as opened:
        day = _session(opened, session)
        with opened.begin() as connection:
            _require_known(connection, portfolio, None)
            rows = list_snapshots(
                connection,
                portfolio=portfolio,
                session=day.date if day else None,
                is_stale=is_stale,
                limit=limit + 1,
            )
    show(_newest(rows, limit), _SNAPSHOTS, as_json=as_json, empty="No snapshots.")


def _positions(connection: "Connection", session: "Session | None") -> list[dict[str, Any]]:
    from trading_orchestration.store.ledger import read_positions
    from trading_orchestration.store.snapshots import snapshot_positions

    if session is not None:
        return [dict(row) for row in snapshot_positions(connection, session.date)]
    return [position_row(held) for held in read_positions(connection)]


def _session(opened: "Installation", text: str | None) -> "Session | None":
    from trading_orchestration.wiring import system_clock

    return None if text is None else past_session(text, opened.calendar, now=system_clock())


def _require_known(connection: "Connection", portfolio: str | None, symbol: str | None) -> None:
    """A misspelt name is an error, not an empty answer."""
    from trading_orchestration.store.portfolios import find_portfolio
    from trading_orchestration.store.prices import require_instruments

    if portfolio is not None:
        find_portfolio(connection, portfolio)
    if symbol is not None:
        require_instruments(connection, [symbol.upper()])


def _newest(rows: Sequence[Any], limit: int) -> Sequence[Any]:
    if len(rows) <= limit:
        return rows
    note(f"These are the newest {limit}; --limit shows more.")
    return rows[-limit:]
