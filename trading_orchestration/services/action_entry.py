"""Entering corporate actions: what a person or a vendor says is checked before it may touch any book."""

from dataclasses import dataclass
from datetime import datetime

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.corporate_actions import undo
from trading_orchestration.store import corporate_actions, portfolios, prices
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin


@dataclass(frozen=True, slots=True)
class Entered:
    """An action on record, and whether it was new; entering the same again changes nothing."""

    id: int
    action: CorporateAction
    is_new: bool


def enter_action(
    begin: Begin, new: NewAction, *, calendar: MarketCalendar, source: str, actor: str
) -> Entered:
    """Put an action on record; the same again is left as it is.

    Raises InvalidInputError, with nothing changed: an unknown symbol, a day that is no session, numbers that
    cannot be, another action of that kind and day, a new symbol that is somebody's already, a delisting of
    what is held that does not say what it pays.
    """
    action = new.action(calendar)
    with begin() as connection:
        prices.require_instruments(connection, [action.symbol])
        known = corporate_actions.known_action(connection, action)
        if known is not None:
            return _again(known, action)
        _check_against_books(connection, action)
        if action.new_symbol is not None:
            prices.ensure_instruments(connection, [action.new_symbol])
        added = corporate_actions.add_action(connection, action, source=source, actor=actor)
        if added is not None:
            return Entered(added, action, is_new=True)
        known = corporate_actions.known_action(connection, action)
    if known is None:
        raise InvalidInputError(f"{action.sentence}: it was withdrawn at the same moment; enter it again.")
    return _again(known, action)


def withdraw_action(begin: Begin, action_id: int, *, actor: str, reason: str, at: datetime) -> RecordedAction:
    """Take an action back, with what it did to the books as of its day.

    Raises InvalidInputError for an action that is not there, was withdrawn before, or no reason.
    """
    if not reason.strip():
        raise InvalidInputError("Say why the action is withdrawn; the reason is kept.")
    with begin() as connection:
        portfolios.hold_all_portfolios(connection)
        recorded = corporate_actions.hold_action(connection, action_id)
        if recorded is None:
            raise InvalidInputError(
                f"There is no corporate action {action_id}; `trading actions list` has all."
            )
        if recorded.withdrawn_at is not None:
            raise InvalidInputError(
                f"Corporate action {action_id} was withdrawn by {recorded.withdrawn_by} before: "
                f"{recorded.withdrawn_reason}"
            )
        undo(connection, recorded, reason)
        corporate_actions.withdraw(connection, action_id, actor=actor, reason=reason, at=at)
    return recorded


def _again(known: RecordedAction, action: CorporateAction) -> Entered:
    if known.action == action:
        return Entered(known.id, action, is_new=False)
    raise InvalidInputError(
        f"{action.symbol} has a {action.kind.replace('_', ' ')} on {action.session} already, and it differs: "
        f"{known.action.sentence} (action {known.id}); withdraw that one first if it is wrong."
    )


def _check_against_books(connection: Connection, action: CorporateAction) -> None:
    if action.kind is ActionKind.DIVIDEND:
        _check_dividend(connection, action)
    if action.new_symbol is not None:
        uses = corporate_actions.uses_of(connection, action.new_symbol, action.session)
        if uses["has_bars"] or uses["has_fills"] or uses["is_held"]:
            what = "bars from before" if uses["has_bars"] else "trades or holdings"
            raise InvalidInputError(
                f"{action.symbol} cannot become {action.new_symbol} on {action.session}: there are {what} "
                f"under {action.new_symbol}, which is another company's; correct the symbol, or its bars."
            )
    if action.kind is ActionKind.DELISTING and action.cash_per_unit is None:
        held = corporate_actions.holders_of(connection, action.symbol)
        if held:
            told = ", ".join(f"{name} holds {plain(quantity)}" for name, quantity in held.items())
            raise InvalidInputError(
                f"{action.symbol} is held ({told}); say what a unit pays with --cash-per-share, 0 where "
                "nothing is left."
            )


def _check_dividend(connection: Connection, action: CorporateAction) -> None:
    assert action.cash_per_unit is not None, "checked before"
    close = corporate_actions.close_before(connection, action.symbol, action.session)
    if close is not None and action.cash_per_unit >= close:
        raise InvalidInputError(
            f"The dividend of {action.symbol} was {plain(action.cash_per_unit)}, and it closed at "
            f"{plain(close)} before {action.session}; give the amount of one share."
        )
