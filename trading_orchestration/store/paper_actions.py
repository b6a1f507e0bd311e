"""What corporate actions do to an account of the paper market; in the transaction that holds the account."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction, effects
from trading_orchestration.domain.position import Adjustment, fold
from trading_orchestration.domain.trade import Fill, Side
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import Connection, run

_ALONE = 0  # an account of the paper market is one holder


def unapplied(
    connection: Connection, account_number: str, actions: Sequence[RecordedAction]
) -> list[RecordedAction]:
    """The actions that the account has not been through."""
    ids = [one.id for one in actions]
    rows = run(connection, "paper_applied_actions", account_number=account_number, ids=ids)
    applied = set(rows.scalars())
    return [one for one in actions if one.id not in applied]


def apply_action(
    connection: Connection, account_number: str, recorded: RecordedAction, *, at: datetime
) -> None:
    """Bring the account through an action: units, cash, prices; orders from before it are cancelled."""
    action = recorded.action
    entries = _entries(connection, account_number, action.symbol)
    is_of_the_day_before = action.kind is ActionKind.DIVIDEND
    before = fold(
        action.symbol,
        [
            entry
            for entry in entries
            if _at(entry) < action.effective_at
            or (_at(entry) == action.effective_at and not is_of_the_day_before)
        ],
    )
    found = effects(action, {_ALONE: before})
    run(connection, "paper_apply_action", account_number=account_number, id=recorded.id, at=at)
    run(
        connection,
        "paper_action_entries",
        account_number=account_number,
        id=recorded.id,
        occurred_at=action.due_at,
        symbols=[effect.symbol for effect in found],
        quantities=[effect.quantity for effect in found],
        unit_costs=[None if effect.keeps_cost else effect.unit_cost for effect in found],
        keep_costs=[effect.keeps_cost for effect in found],
        cash=[effect.cash for effect in found],
    )
    _refold(connection, account_number, {effect.symbol for effect in found if effect.quantity})
    if action.kind is not ActionKind.DIVIDEND:
        _set_prices(connection, account_number, action)
        run(
            connection,
            "paper_cancel_orders_before",
            account_number=account_number,
            symbol=action.symbol,
            before=action.effective_at,
            at=at,
        )


def withdraw_action(connection: Connection, account_number: str, recorded: RecordedAction) -> None:
    """Take back what an action did to the account; nothing where it has not been through it."""
    gone = run(connection, "paper_withdraw_action", account_number=account_number, id=recorded.id)
    symbols = set(gone.scalars())
    if symbols:
        _refold(connection, account_number, symbols)
        action = recorded.action
        _set_prices(
            connection,
            account_number,
            replace(action, new_units=action.old_units, old_units=action.new_units),
        )


def _set_prices(connection: Connection, account_number: str, action: CorporateAction) -> None:
    run(
        connection,
        "paper_set_price",
        account_number=account_number,
        symbol=action.symbol,
        new_symbol=action.new_symbol or action.symbol,
        new_units=action.new_units or 1,
        old_units=action.old_units or 1,
        before=action.effective_at,
    )


def _refold(connection: Connection, account_number: str, symbols: Collection[str]) -> None:
    for symbol in sorted(symbols):
        position = fold(symbol, _entries(connection, account_number, symbol))
        run(
            connection,
            "paper_set_position",
            account_number=account_number,
            symbol=symbol,
            quantity=position.quantity,
            average_entry_price=position.average_cost,
        )


def _entries(connection: Connection, account_number: str, symbol: str) -> list[Fill | Adjustment]:
    rows = run(connection, "paper_symbol_entries", account_number=account_number, symbol=symbol)
    return [_entry(symbol, row) for row in rows]


def _entry(symbol: str, row: Any) -> Fill | Adjustment:
    if row.side is None:
        return Adjustment(
            symbol=symbol,
            quantity=row.quantity,
            unit_cost=row.price,
            occurred_at=row.at,
            keeps_cost=row.keeps_cost,
        )
    return Fill(
        symbol=symbol,
        side=Side(row.side),
        quantity=row.quantity,
        price=row.price,
        fee=row.fee,
        executed_at=row.at,
    )


def _at(entry: Fill | Adjustment) -> datetime:
    return entry.executed_at if isinstance(entry, Fill) else entry.occurred_at
