"""Corporate actions as they were entered, and what they changed in the books."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction, PastAction
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAction:
    """An action with what is on record of it; instants are UTC."""

    id: int
    action: CorporateAction
    source: str
    actor: str
    recorded_at: datetime
    applied_at: datetime | None
    withdrawn_at: datetime | None
    withdrawn_by: str | None
    withdrawn_reason: str | None


@dataclass(frozen=True, slots=True)
class Booked:
    """What an action changed in a portfolio's units of a symbol so far; `cost` is what its units came at."""

    quantity: Decimal
    cash: Decimal
    cost: Decimal
    revision: int


@dataclass(frozen=True, slots=True)
class ActionEntries:
    """What an action changed in an account's units of a symbol, and in its cash."""

    corporate_action_id: int
    symbol: str
    quantity: Decimal
    cash: Decimal


@dataclass(frozen=True, slots=True)
class FormerSymbol:
    """What a symbol was called before an instant (UTC)."""

    symbol: str
    until: datetime


def add_action(connection: Connection, action: CorporateAction, *, source: str, actor: str) -> int | None:
    """The id of the new action; None where one of that kind stands for the symbol and session."""
    added = run(
        connection,
        "insert_corporate_action",
        kind=action.kind.value,
        symbol=action.symbol,
        session=action.session,
        effective_at=action.effective_at,
        paid_at=action.paid_at,
        new_units=action.new_units,
        old_units=action.old_units,
        fraction_price=action.fraction_price,
        cash_per_unit=action.cash_per_unit,
        is_special=action.is_special,
        new_symbol=action.new_symbol,
        source=source,
        actor=actor,
    )
    return added.scalar()


def known_action(connection: Connection, action: CorporateAction) -> RecordedAction | None:
    """The action of that kind, symbol and session that stands."""
    row = run(
        connection,
        "known_corporate_action",
        symbol=action.symbol,
        kind=action.kind.value,
        session=action.session,
        is_special=action.is_special,
    )
    found = row.mappings().one_or_none()
    return None if found is None else _recorded(found)


def similar_action(
    connection: Connection, action: CorporateAction, *, days: int, source: str
) -> RecordedAction | None:
    """The standing action of that kind and symbol that is nearest to its session, within so many days.

    On the very session only what another source told counts.
    """
    row = run(
        connection,
        "similar_corporate_action",
        symbol=action.symbol,
        kind=action.kind.value,
        session=action.session,
        days=days,
        source=source,
    )
    found = row.mappings().one_or_none()
    return None if found is None else _recorded(found)


def list_actions(connection: Connection, symbol: str | None = None) -> list[RecordedAction]:
    """Every action, withdrawn ones too, by session; of one symbol or of all."""
    return [_recorded(row) for row in run(connection, "corporate_actions", symbol=symbol).mappings()]


def hold_action(connection: Connection, action_id: int) -> RecordedAction | None:
    """One action, locked until the transaction ends; None where there is none of that id."""
    row = run(connection, "hold_corporate_action", id=action_id).mappings().one_or_none()
    return None if row is None else _recorded(row)


def due_actions(connection: Connection, at: datetime) -> list[RecordedAction]:
    """What should have changed the books by an instant and has not, in the order of the days."""
    return [_recorded(row) for row in run(connection, "due_corporate_actions", at=at).mappings()]


def next_due(connection: Connection) -> datetime | None:
    """When the next action is due that has not changed the books."""
    return run(connection, "next_corporate_action").scalar()


def set_applied(connection: Connection, action_id: int, *, at: datetime) -> None:
    """The books hold what the action did."""
    run(connection, "set_corporate_action_applied", id=action_id, at=at)


def withdraw(connection: Connection, action_id: int, *, actor: str, reason: str, at: datetime) -> None:
    """Note that a person took the action back."""
    run(connection, "withdraw_corporate_action", id=action_id, actor=actor, reason=reason, at=at)


def applied_after(connection: Connection, symbols: Collection[str], after: datetime) -> list[RecordedAction]:
    """Actions of some symbols that changed the books and became effective after an instant, in order."""
    rows = run(connection, "applied_actions_after", symbols=sorted(symbols), after=after)
    return [_recorded(row) for row in rows.mappings()]


def booked_of(connection: Connection, action_id: int) -> dict[tuple[int, str, bool], Booked]:
    """What an action has changed so far, by portfolio, symbol and whether the cost was kept."""
    rows = run(connection, "booked_of_action", id=action_id)
    return {
        (row.portfolio_id, row.symbol, row.keeps_cost): Booked(row.quantity, row.cash, row.cost, row.revision)
        for row in rows
    }


def guessed_splits(
    connection: Connection, symbol: str, *, since: datetime, until: datetime
) -> dict[int, Decimal]:
    """What each portfolio's units were changed by where a split was taken for granted without an action."""
    rows = run(connection, "guessed_splits", symbol=symbol, since=since, until=until)
    return {row.portfolio_id: row.quantity for row in rows}


def guessed_dividends(
    connection: Connection, account_id: int, *, since: datetime, until: datetime
) -> list[Decimal]:
    """What an account's cash was repaired by, each time, where a dividend or nothing known was the cause."""
    rows = run(connection, "guessed_dividends", broker_account_id=account_id, since=since, until=until)
    return list(rows.scalars())


def adjust_for_split(connection: Connection, action: CorporateAction) -> list[int]:
    """Bring quotes and active alerts from before a split into its new units; answers the alerts' ids."""
    units = {"symbol": action.symbol, "new_units": action.new_units, "old_units": action.old_units}
    run(connection, "split_quote", **units, effective_at=action.effective_at)
    return list(run(connection, "split_alerts", **units, effective_at=action.effective_at).scalars())


def rename(connection: Connection, action: CorporateAction) -> list[int]:
    """Let active alerts follow a symbol and nothing be traded under the old one; answers the alerts' ids."""
    run(connection, "end_instrument", symbol=action.symbol)
    renamed = run(connection, "rename_alerts", symbol=action.symbol, new_symbol=action.new_symbol)
    return list(renamed.scalars())


def end(connection: Connection, symbol: str, *, action_id: int) -> list[int]:
    """Let nothing be traded or waited for under a symbol any more; answers the ids of its alerts."""
    run(connection, "end_instrument", symbol=symbol)
    return list(run(connection, "end_alerts", symbol=symbol, id=action_id).scalars())


def revive(connection: Connection, symbol: str, *, action_id: int) -> None:
    """Let a symbol be traded again, and the alerts that an action ended wait for it."""
    run(connection, "revive_instrument", symbol=symbol)
    run(connection, "restart_alerts", id=action_id)


def open_trades_before(connection: Connection, symbol: str, before: datetime) -> list[RowMapping]:
    """Trades decided before an instant that the broker may still fill."""
    return list(run(connection, "open_trades_of_symbol", symbol=symbol, before=before).mappings())


def strategies_on(connection: Connection, symbol: str) -> list[RowMapping]:
    """Enabled strategies (`name`, `portfolio`) whose universe holds a symbol."""
    return list(run(connection, "strategies_on", symbol=symbol).mappings())


def uses_of(connection: Connection, symbol: str, before: date) -> RowMapping:
    """Whether a symbol `has_bars` before a session, `has_fills`, or `is_held`."""
    return run(connection, "uses_of_symbol", symbol=symbol, session=before).mappings().one()


def close_before(connection: Connection, symbol: str, session: date) -> Decimal | None:
    """The last official close of a symbol before a session."""
    return run(connection, "close_before", symbol=symbol, session=session).scalar()


def holders_of(connection: Connection, symbol: str) -> dict[str, Decimal]:
    """The portfolios that hold a symbol now, and how much."""
    return {row.name: row.quantity for row in run(connection, "holders_of", symbol=symbol)}


def past_actions(
    connection: Connection,
    first_sessions: Mapping[str, date],
    timeframe: Timeframe,
    *,
    at: datetime,
    count: int,
) -> dict[str, list[PastAction]]:
    """Splits and dividends, effective by `at`, inside histories of `count` bars from `first_sessions` on."""
    rows = run(
        connection,
        "past_actions",
        symbols=list(first_sessions),
        first_sessions=list(first_sessions.values()),
        timeframe=timeframe.value,
        at=at,
        count=count,
    )
    found: dict[str, list[PastAction]] = {}
    for row in rows.mappings():
        past = PastAction(_action(row), row["bars_since"], row["previous_close"])
        found.setdefault(row["symbol"], []).append(past)
    return found


def former_symbols(connection: Connection, symbols: Collection[str], at: datetime) -> dict[str, FormerSymbol]:
    """What some symbols were called before, of those that had another name; by an instant."""
    rows = run(connection, "former_symbols", symbols=sorted(symbols), at=at)
    return {row.symbol: FormerSymbol(row.former_symbol, row.effective_at) for row in rows}


def splits_between(
    connection: Connection, symbols: Collection[str], since: datetime, until: datetime
) -> dict[str, list[CorporateAction]]:
    """Splits of some symbols that became effective after `since` and by `until`."""
    rows = run(connection, "splits_since", symbols=sorted(symbols), since=since, until=until)
    found: dict[str, list[CorporateAction]] = {}
    for row in rows.mappings():
        found.setdefault(row["symbol"], []).append(_action(row))
    return found


def recent_entries(connection: Connection, account_id: int, since: datetime) -> list[ActionEntries]:
    """What actions changed in an account after an instant."""
    found = run(connection, "recent_action_entries", broker_account_id=account_id, since=since)
    return [ActionEntries(**row) for row in found.mappings()]


def _recorded(row: Mapping[Any, Any]) -> RecordedAction:
    names = (
        "id",
        "source",
        "actor",
        "recorded_at",
        "applied_at",
        "withdrawn_at",
        "withdrawn_by",
        "withdrawn_reason",
    )
    return RecordedAction(action=_action(row), **{name: row[name] for name in names})


def _action(row: Mapping[Any, Any]) -> CorporateAction:
    return CorporateAction(
        kind=ActionKind(row["kind"]),
        symbol=row["symbol"],
        session=row["session"],
        effective_at=row["effective_at"],
        paid_at=row["paid_at"],
        new_units=row["new_units"],
        old_units=row["old_units"],
        fraction_price=row["fraction_price"],
        cash_per_unit=row["cash_per_unit"],
        is_special=row["is_special"],
        new_symbol=row["new_symbol"],
    )
