"""Entering corporate actions: what a person or a vendor says is checked before it may touch any book."""

from dataclasses import dataclass
from datetime import datetime

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import ZERO, plain
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.corporate_actions import undo
from trading_orchestration.store import corporate_actions, portfolios, prices
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin

#: Two vendors' days of one action differ by less, and two dividends of a symbol are further apart.
SAME_DIVIDEND_DAYS = 4
SAME_ACTION_DAYS = 10


@dataclass(frozen=True, slots=True)
class Entered:
    """An action on record, and whether it was new; entering the same again changes nothing."""

    id: int
    action: CorporateAction
    is_new: bool


def enter_action(
    begin: Begin,
    new: NewAction,
    *,
    calendar: MarketCalendar,
    source: str,
    actor: str,
    is_from_vendor: bool = False,
) -> Entered:
    """Put an action on record; the same again is left as it is.

    What a vendor tells is also the same where it leaves out what is known, and is refused where it may be
    what was told before in other words: vendors differ in days, and correct them. Raises InvalidInputError,
    with nothing changed: an unknown symbol, a day that is no session, numbers that cannot be, another action
    of that kind and day, a new symbol that is somebody's already, a delisting of what is held that does not
    say what it pays.
    """
    action = new.action(calendar)
    with begin() as connection:
        prices.require_instruments(connection, [action.symbol])
        known = corporate_actions.known_action(connection, action)
        if known is None and is_from_vendor:
            known = _told_before(connection, action, source)
        if known is not None:
            return _again(known, action, calendar, is_from_vendor=is_from_vendor)
        _check_against_books(connection, action)
        if action.new_symbol is not None:
            prices.ensure_instruments(connection, [action.new_symbol])
        added = corporate_actions.add_action(connection, action, source=source, actor=actor)
        if added is not None:
            return Entered(added, action, is_new=True)
        known = corporate_actions.known_action(connection, action)
    if known is None:
        raise InvalidInputError(f"{action.sentence}: it was withdrawn at the same moment; enter it again.")
    return _again(known, action, calendar, is_from_vendor=is_from_vendor)


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


def _again(
    known: RecordedAction, action: CorporateAction, calendar: MarketCalendar, *, is_from_vendor: bool
) -> Entered:
    differences = _differences(known.action, action, calendar, is_from_vendor=is_from_vendor)
    if not differences:
        return Entered(known.id, known.action, is_new=False)
    raise InvalidInputError(
        f"{action.symbol} has a {action.kind.replace('_', ' ')} on {action.session} already, and it differs: "
        f"{known.action.sentence} (action {known.id}, from {known.source}), here {', '.join(differences)}; "
        "withdraw that one first if it is wrong."
    )


def _differences(
    known: CorporateAction, action: CorporateAction, calendar: MarketCalendar, *, is_from_vendor: bool
) -> list[str]:
    """What an action says otherwise than a known one; what a vendor leaves out is no difference."""
    found = []
    if known.ratio != action.ratio:  # 3:2 is 1.5:1
        found.append(f"{plain(action.new_units or ZERO)}:{plain(action.old_units or ZERO)}")
    if known.new_symbol != action.new_symbol:
        found.append(f"{action.new_symbol}")
    amounts = {
        "a unit": (known.cash_per_unit, action.cash_per_unit),
        "for the fraction of a unit": (known.fraction_price, action.fraction_price),
    }
    for what, (before, now) in amounts.items():
        if before != now and not (is_from_vendor and now is None):
            found.append(f"{'nothing' if now is None else plain(now)} {what}")
    if known.paid_at != action.paid_at:
        day = "its own day" if action.paid_at is None else calendar.local(action.paid_at).date()
        found.append(f"paid on {day}")
    return found


def _told_before(connection: Connection, action: CorporateAction, source: str) -> RecordedAction | None:
    """What was told before in other words: a dividend that one vendor calls special and the other does not.

    Raises InvalidInputError where one of that kind lies so near that a person must say whether it is another.
    """
    days = SAME_DIVIDEND_DAYS if action.kind is ActionKind.DIVIDEND else SAME_ACTION_DAYS
    near = corporate_actions.similar_action(connection, action, days=days, source=source)
    if near is None:
        return None
    if near.action.session == action.session and near.action.cash_per_unit == action.cash_per_unit:
        return near
    raise InvalidInputError(
        f"{action.sentence}: it may be what {near.source} told of before, {near.action.sentence} (action "
        f"{near.id}); withdraw that one if it is wrong, or enter this one by hand if there are two."
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
