"""The paper broker's tables (schema `paper`): its accounts, orders, executions, holdings and prices.

Every function works in the connection's transaction and changes one account; `writing` is that transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from trading_orchestration.domain.matching import (
    BookExecution,
    BookOrder,
    Match,
    OrderState,
    PriceTick,
    cash_change,
    holdings_after,
)
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.order_acceptance import SHORT_MARGIN, Circumstances
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import Fill, OrderTerms, OrderType, Side, TimeInForce
from trading_orchestration.errors import DatabaseUnavailableError, TradingError
from trading_orchestration.store.database import Connection, Engine, query, transaction

#: What a short holds back of the cash, as a multiple of its value.
_SHORT_RESERVE_RATIO = 1 + SHORT_MARGIN
_OPEN_STATES = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)


class UnknownAccountError(TradingError):
    """The paper market has no account of that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMoney:
    """An account's money, in `currency`."""

    account_number: str
    currency: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """An open order that a price may meet, and what the account holds of its symbol."""

    order: BookOrder
    holding: Position


@lru_cache(maxsize=4)
def without_transactions(engine: Engine) -> Engine:
    """An engine on the same pool on which each statement stands alone: one round trip."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A connection, and the transaction on it unless the engine is `without_transactions`.

    Raises DatabaseUnavailableError when the call may work later; whether it took effect is then unknown.
    """
    with _may_work_later(), transaction(engine) as connection:
        yield connection


@contextmanager
def writing(engine: Engine, account_number: str) -> Iterator[Connection]:
    """One transaction that holds the account against other writers.

    Raises UnknownAccountError, and otherwise as `connected`.
    """
    with connected(engine) as connection:
        if not _rows(connection, "paper_lock_account", {"account_number": account_number}):
            raise _unknown(account_number)
        yield connection


def open_account(connection: Connection, account_number: str, *, cash: Decimal) -> bool:
    """Make an account with its first cash; False where it exists already."""
    parameters = {"account_number": account_number, "cash": cash}
    return bool(_rows(connection, "paper_open_account", parameters))


def transfer_amount(connection: Connection, account_number: str, reference: str) -> Decimal | None:
    """What was transferred under a reference; None where nothing was."""
    parameters = {"account_number": account_number, "reference": reference}
    rows = _rows(connection, "paper_transfer_amount", parameters)
    return rows[0]["amount"] if rows else None


def book_transfer(connection: Connection, account_number: str, reference: str, *, amount: Decimal) -> None:
    """Move money into the account, or out of it when `amount` is negative."""
    _execute(
        connection,
        "paper_book_transfer",
        {"account_number": account_number, "reference": reference, "amount": amount},
    )


def account_money(connection: Connection, account_number: str, *, now: datetime) -> AccountMoney:
    """The account's money. Raises UnknownAccountError."""
    parameters = {"account_number": account_number, "now": now, "short_reserve_ratio": _SHORT_RESERVE_RATIO}
    rows = _rows(connection, "paper_account", parameters)
    if not rows:
        raise _unknown(account_number)
    return AccountMoney(**rows[0])


def circumstances(
    connection: Connection, account_number: str, client_order_id: str, symbol: str, *, now: datetime
) -> Circumstances:
    """What decides whether an order is taken. One round trip. Raises UnknownAccountError."""
    parameters = {
        "account_number": account_number,
        "client_order_id": client_order_id,
        "symbol": symbol,
        "now": now,
        "short_reserve_ratio": _SHORT_RESERVE_RATIO,
    }
    rows = _rows(connection, "paper_circumstances", parameters)
    if not rows:
        raise _unknown(account_number)
    return Circumstances(**rows[0])


def insert_order(connection: Connection, account_number: str, order: BookOrder) -> None:
    """Add an order that was taken. The table's unique key refuses an id that was used before."""
    terms = order.terms
    _execute(
        connection,
        "paper_insert_order",
        {
            "account_number": account_number,
            "order_id": order.order_id,
            "client_order_id": order.client_order_id,
            "symbol": terms.symbol,
            "side": terms.side,
            "order_type": terms.order_type,
            "time_in_force": terms.time_in_force,
            "quantity": terms.quantity,
            "limit_price": terms.limit_price,
            "stop_price": terms.stop_price,
            "unit_reserve": order.unit_reserve,
            "state": order.state,
            "submitted_at": order.submitted_at,
            "active_from": order.active_from,
            "expires_at": order.expires_at,
            "updated_at": order.updated_at,
        },
    )


def move_prices(
    connection: Connection,
    account_number: str,
    ticks: Sequence[PriceTick],
    *,
    at: datetime,
    is_trading: bool,
) -> list[RestingOrder]:
    """Record prices that are newer than the last, expire day orders, and lock the orders they may meet."""
    rows = _rows(
        connection,
        "paper_move_prices",
        {
            "account_number": account_number,
            "symbols": [tick.symbol for tick in ticks],
            "prices": [tick.price for tick in ticks],
            "at": at,
            "is_trading": is_trading,
        },
    )
    return [RestingOrder(_order(row), _holding(row)) for row in rows]


def apply_matches(
    connection: Connection,
    account_number: str,
    matches: Sequence[Match],
    holdings: Mapping[str, Position],
    *,
    at: datetime,
) -> None:
    """Book what prices did to orders, in one statement: orders, executions, holdings and cash."""
    orders = [matched.order for matched in matches]
    executions = [matched.execution for matched in matches if matched.execution is not None]
    fills = [execution.fill for execution in executions]
    changed = list(holdings_after(holdings, fills).values())
    _execute(
        connection,
        "paper_apply_matches",
        {
            "account_number": account_number,
            "at": at,
            "order_ids": [order.order_id for order in orders],
            "states": [str(order.state) for order in orders],
            "triggered": [order.is_stop_triggered for order in orders],
            "filled_quantities": [order.filled_quantity for order in orders],
            "filled_average_prices": [order.filled_average_price for order in orders],
            "execution_ids": [execution.execution_id for execution in executions],
            "executed_order_ids": [execution.order_id for execution in executions],
            "cumulative_quantities": [execution.cumulative_quantity for execution in executions],
            "symbols": [fill.symbol for fill in fills],
            "sides": [str(fill.side) for fill in fills],
            "quantities": [fill.quantity for fill in fills],
            "prices": [fill.price for fill in fills],
            "fees": [fill.fee for fill in fills],
            "held_symbols": [holding.symbol for holding in changed],
            "held_quantities": [holding.quantity for holding in changed],
            "average_entry_prices": [holding.average_cost for holding in changed],
            "cash_change": sum((cash_change(fill) for fill in fills), ZERO),
        },
    )


def cancel_order(connection: Connection, account_number: str, order_id: str, *, now: datetime) -> bool:
    """Close an order that is still open; False where it is not, or is unknown."""
    parameters = {"account_number": account_number, "order_id": order_id, "now": now}
    return bool(_rows(connection, "paper_cancel_order", parameters))


def order_by_id(
    connection: Connection, account_number: str, order_id: str, *, now: datetime
) -> BookOrder | None:
    """One order by the broker's id."""
    parameters = {"account_number": account_number, "order_id": order_id}
    found = _orders(connection, "paper_order", parameters, now)
    return found[0] if found else None


def order_by_client_id(
    connection: Connection, account_number: str, client_order_id: str, *, now: datetime
) -> BookOrder | None:
    """One order by the id its sender gave it."""
    parameters = {"account_number": account_number, "client_order_id": client_order_id}
    found = _orders(connection, "paper_order_by_client_id", parameters, now)
    return found[0] if found else None


def open_orders(connection: Connection, account_number: str, *, now: datetime) -> list[BookOrder]:
    """Every order that may still be filled, oldest first."""
    return _orders(connection, "paper_open_orders", {"account_number": account_number, "now": now}, now)


def orders_after(
    connection: Connection, account_number: str, *, after: datetime, now: datetime
) -> list[BookOrder]:
    """Every order sent after an instant (exclusive), oldest first."""
    return _orders(connection, "paper_orders_after", {"account_number": account_number, "after": after}, now)


def executions_after(connection: Connection, account_number: str, *, after: datetime) -> list[BookExecution]:
    """Every execution after an instant (exclusive), oldest first."""
    rows = _rows(connection, "paper_executions_after", {"account_number": account_number, "after": after})
    return [_execution(row) for row in rows]


def positions(connection: Connection, account_number: str) -> list[Position]:
    """What the account holds, by symbol."""
    rows = _rows(connection, "paper_positions", {"account_number": account_number})
    return [Position(**row) for row in rows]


def _unknown(account_number: str) -> UnknownAccountError:
    return UnknownAccountError(
        f"The paper broker has no account {account_number}; open it, or correct its number."
    )


@contextmanager
def _may_work_later() -> Iterator[None]:
    """Lock and statement timeouts and deadlocks are answers of a busy server, as a lost connection is."""
    try:
        yield
    except (sa.exc.OperationalError, psycopg.OperationalError) as error:
        raise DatabaseUnavailableError(f"The paper broker's database did not answer: {error}") from error


def _rows(connection: Connection, name: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    # Straight from the driver: SQLAlchemy's handling of a result takes thrice as long as the query itself.
    with _driver(connection).cursor(row_factory=dict_row) as cursor:
        cursor.execute(_statement(name), parameters)
        return cursor.fetchall()


def _execute(connection: Connection, name: str, parameters: Mapping[str, object]) -> None:
    _driver(connection).execute(_statement(name), parameters)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@cache
def _statement(name: str) -> bytes:
    dialect = psycopg_dialect()  # type: ignore[no-untyped-call]
    return str(query(name).compile(dialect=dialect)).encode()


def _orders(
    connection: Connection, name: str, parameters: Mapping[str, object], now: datetime
) -> list[BookOrder]:
    return [_order(row, now=now) for row in _rows(connection, name, parameters)]


def _order(row: Mapping[Any, Any], *, now: datetime | None = None) -> BookOrder:
    state, expires_at = OrderState(row["status"]), row["expires_at"]
    # Nothing runs at the close: a day order is over once the clock says so, written down or not.
    has_expired = now is not None and expires_at is not None and expires_at < now and state in _OPEN_STATES
    return BookOrder(
        order_id=str(row["id"]),
        client_order_id=row["client_order_id"],
        terms=OrderTerms(
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            order_type=OrderType(row["order_type"]),
            time_in_force=TimeInForce(row["time_in_force"]),
            limit_price=row["limit_price"],
            stop_price=row["stop_price"],
        ),
        state=OrderState.EXPIRED if has_expired else state,
        submitted_at=row["submitted_at"],
        active_from=row["active_from"],
        expires_at=expires_at,
        updated_at=expires_at if has_expired else row["updated_at"],
        unit_reserve=row["unit_reserve"],
        is_stop_triggered=row["is_stop_triggered"],
        filled_quantity=row["filled_quantity"],
        filled_average_price=row["filled_average_price"],
    )


def _execution(row: Mapping[Any, Any]) -> BookExecution:
    return BookExecution(
        execution_id=row["id"],
        order_id=str(row["order_id"]),
        cumulative_quantity=row["cumulative_quantity"],
        fill=Fill(
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            price=row["price"],
            executed_at=row["executed_at"],
            fee=row["fee"],
        ),
    )


def _holding(row: Mapping[Any, Any]) -> Position:
    if row["held_quantity"] is None:
        return Position(row["symbol"])
    return Position(row["symbol"], row["held_quantity"], row["average_entry_price"])
