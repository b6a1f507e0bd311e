"""Entering corporate actions: what a person or a vendor says is checked before it may touch any book."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.money import plain
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.corporate_actions import undo
from trading_orchestration.store import corporate_actions, portfolios, prices
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin

#: Which kinds of action have a field, and which need it.
_FIELDS = {
    "ratio": (ActionKind.SPLIT,),
    "fraction_price": (ActionKind.SPLIT,),
    "cash_per_unit": (ActionKind.DIVIDEND, ActionKind.DELISTING),
    "pays_on": (ActionKind.DIVIDEND,),
    "is_special": (ActionKind.DIVIDEND,),
    "new_symbol": (ActionKind.SYMBOL_CHANGE,),
}
_NEEDED = {
    ActionKind.SPLIT: ("ratio",),
    ActionKind.DIVIDEND: ("cash_per_unit",),
    ActionKind.SYMBOL_CHANGE: ("new_symbol",),
}


@dataclass(frozen=True, slots=True)
class Entered:
    """An action on record, and whether it was new; entering the same again changes nothing."""

    id: int
    action: CorporateAction
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAction:
    """What somebody says of an action; `on` is the first session that trades without what it took away."""

    kind: ActionKind
    symbol: str
    on: date
    pays_on: date | None = None
    ratio: tuple[Decimal, Decimal] | None = None
    fraction_price: Decimal | None = None
    cash_per_unit: Decimal | None = None
    is_special: bool = False
    new_symbol: str | None = None

    def action(self, calendar: MarketCalendar) -> CorporateAction:
        """The action on the exchange's days; raises InvalidInputError, which names what is wrong with it."""
        session = calendar.session(self.on)
        self._check()
        new_units, old_units = self.ratio or (None, None)
        effective_at = before_open(session, calendar)
        return CorporateAction(
            kind=self.kind,
            symbol=self.symbol,
            session=session.date,
            effective_at=effective_at,
            paid_at=max(_midnight(self.pays_on, calendar), effective_at) if self.pays_on else None,
            new_units=new_units,
            old_units=old_units,
            fraction_price=self.fraction_price,
            cash_per_unit=self.cash_per_unit,
            is_special=self.is_special,
            new_symbol=self.new_symbol,
        )

    def _check(self) -> None:
        for name, kinds in _FIELDS.items():
            value, is_needed = getattr(self, name), name in _NEEDED.get(self.kind, ())
            is_given = value is not None and value is not False
            if is_needed and not is_given:
                raise InvalidInputError(f"A {self.kind.replace('_', ' ')} of {self.symbol} needs its {name}.")
            if is_given and self.kind not in kinds:
                raise InvalidInputError(
                    f"A {self.kind.replace('_', ' ')} of {self.symbol} has no {name}; leave it out."
                )
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.ratio is not None and (min(self.ratio) <= 0 or self.ratio[0] == self.ratio[1]):
            raise InvalidInputError(
                f"The ratio of {self.symbol} was {plain(self.ratio[0])}:{plain(self.ratio[1])}; give two "
                "different numbers above 0, new units first (7:1, or 1:10 for a reverse split)."
            )
        if self.fraction_price is not None and self.fraction_price <= 0:
            raise InvalidInputError(
                f"The price of a fraction was {plain(self.fraction_price)}; give more than 0, or none."
            )
        if self.kind is ActionKind.DIVIDEND and self.cash_per_unit is not None and self.cash_per_unit <= 0:
            raise InvalidInputError(
                f"The dividend of {self.symbol} was {plain(self.cash_per_unit)}; it is above 0."
            )
        if self.cash_per_unit is not None and self.cash_per_unit < 0:
            raise InvalidInputError(
                f"{self.symbol} was to pay {plain(self.cash_per_unit)} a unit; give 0 or more."
            )
        if self.pays_on is not None and self.pays_on < self.on:
            raise InvalidInputError(
                f"The dividend of {self.symbol} is paid on {self.pays_on}, before its ex-date {self.on}; "
                "swap them."
            )
        if self.new_symbol == self.symbol:
            raise InvalidInputError(f"{self.symbol} was to become {self.symbol}; give the new symbol.")


def before_open(session: Session, calendar: MarketCalendar) -> datetime:
    """When an action of a session counts (UTC): its midnight at the exchange, and always before it opens."""
    return min(_midnight(session.date, calendar), session.opens_at - datetime.resolution)


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


def _midnight(day: date, calendar: MarketCalendar) -> datetime:
    return datetime.combine(day, time(), calendar.timezone).astimezone(UTC)
