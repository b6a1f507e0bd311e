"""What somebody says of a corporate action, before it is one: checked, and put on the exchange's days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.money import plain
from trading_orchestration.errors import InvalidInputError

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


def _midnight(day: date, calendar: MarketCalendar) -> datetime:
    return datetime.combine(day, time(), calendar.timezone).astimezone(UTC)
