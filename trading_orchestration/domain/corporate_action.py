"""Corporate actions: what a split, dividend, new symbol or delisting does to holdings and to old prices.

A 7:1 split of 100 shares at a cost of 645.57 leaves 700 at 92.224285714: what was paid stays. What an
account holds as a whole is what its broker rounds; the portfolios that share it get their parts of that, so
that their sum is the broker's to the last digit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from trading_orchestration.domain.money import EXACT, QUANTUM, ZERO, plain, product, rounded, whole
from trading_orchestration.domain.position import Position

_CENT = Decimal("0.01")


class ActionKind(StrEnum):
    """The words of `corporate_action_kind`."""

    SPLIT = "split"
    DIVIDEND = "dividend"
    SYMBOL_CHANGE = "symbol_change"
    DELISTING = "delisting"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorporateAction:
    """One action of one symbol.

    `effective_at` (UTC) is before the open of `session`, the first one that trades without what the action
    took away; `paid_at` is when a dividend's cash comes. A split makes `new_units` of each `old_units`;
    `fraction_price` is what one new unit pays where the broker keeps whole ones only. `cash_per_unit` is a
    dividend's amount, or what a delisting pays (None: not known).
    """

    kind: ActionKind
    symbol: str
    session: date
    effective_at: datetime
    paid_at: datetime | None = None
    new_units: Decimal | None = None
    old_units: Decimal | None = None
    fraction_price: Decimal | None = None
    cash_per_unit: Decimal | None = None
    is_special: bool = False
    new_symbol: str | None = None

    @property
    def due_at(self) -> datetime:
        """When it changes the books (UTC)."""
        return self.paid_at or self.effective_at

    @property
    def ratio(self) -> Decimal:
        """What one unit becomes: 7 for a 7:1 split, 1 for what is no split; to 60 digits."""
        return self.after_split(Decimal(1))

    def after_split(self, quantity: Decimal) -> Decimal:
        """quantity × new / old units, to 60 digits; the quantity itself where it is no split."""
        if self.new_units is None or self.old_units is None:
            return quantity
        return EXACT.divide(EXACT.multiply(quantity, self.new_units), self.old_units)

    def price_after_split(self, price: Decimal) -> Decimal:
        """price × old / new units, to nine places and never 0."""
        if self.new_units is None or self.old_units is None:
            return price
        return max(rounded(EXACT.divide(EXACT.multiply(price, self.old_units), self.new_units)), QUANTUM)

    @property
    def sentence(self) -> str:
        """What happens, for a person: `AAPL is split 7:1 on 2014-06-09`."""
        amount = None if self.cash_per_unit is None else plain(self.cash_per_unit)
        match self.kind:
            case ActionKind.SPLIT:
                ratio = f"{plain(self.new_units or ZERO)}:{plain(self.old_units or ZERO)}"
                return f"{self.symbol} is split {ratio} on {self.session}"
            case ActionKind.DIVIDEND:
                special = "special dividend" if self.is_special else "dividend"
                return f"{self.symbol} trades without its {special} of {amount} from {self.session} on"
            case ActionKind.SYMBOL_CHANGE:
                return f"{self.symbol} becomes {self.new_symbol} on {self.session}"
            case ActionKind.DELISTING:
                paid = f", at {amount} a unit" if amount else ""
                return f"{self.symbol} is no longer listed from {self.session} on{paid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an action does to one portfolio's books.

    `quantity` of `symbol` comes or goes, and `cash` with it. With `keeps_cost` what was paid stays as it is;
    otherwise units that come cost `unit_cost` each.
    """

    portfolio_id: int
    symbol: str
    quantity: Decimal = ZERO
    cash: Decimal = ZERO
    unit_cost: Decimal | None = None
    keeps_cost: bool = False


def effects(action: CorporateAction, held: Mapping[int, Position]) -> list[Effect]:
    """What an action does to the portfolios of one account.

    `held` is what each portfolio held of the symbol just before `effective_at`; flat ones get nothing. A
    delisting that does not say what it pays does nothing.
    """
    holders = {portfolio_id: one for portfolio_id, one in sorted(held.items()) if not one.is_flat}
    if not holders:
        return []
    match action.kind:
        case ActionKind.SPLIT:
            return _split(action, holders)
        case ActionKind.DIVIDEND:
            paid = _cash(holders, action.cash_per_unit or ZERO)
            found = [Effect(portfolio_id=i, symbol=action.symbol, cash=cash) for i, cash in paid.items()]
            return [effect for effect in found if effect.cash]
        case ActionKind.SYMBOL_CHANGE:
            return [effect for i, one in holders.items() for effect in _renamed(action, i, one)]
        case ActionKind.DELISTING:
            if action.cash_per_unit is None:
                return []
            paid = _cash(holders, action.cash_per_unit)
            return [
                Effect(
                    portfolio_id=i,
                    symbol=action.symbol,
                    quantity=-one.quantity,
                    cash=paid[i],
                    unit_cost=one.average_cost,
                )
                for i, one in holders.items()
            ]


def _split(action: CorporateAction, holders: Mapping[int, Position]) -> list[Effect]:
    """Units by the ratio, to nine places; then, where the broker pays for it, the account's fraction."""
    exact = {i: action.after_split(one.quantity) for i, one in holders.items()}
    after = parts(rounded(sum(exact.values(), ZERO)), exact)
    found = [
        Effect(portfolio_id=i, symbol=action.symbol, quantity=after[i] - one.quantity, keeps_cost=True)
        for i, one in holders.items()
        if after[i] != one.quantity
    ]
    if action.fraction_price is None:
        return found
    total = sum(after.values(), ZERO)
    for i, fraction in _fractions(total - whole(total), after).items():
        unit_cost = action.price_after_split(holders[i].average_cost)
        cash = product(fraction, action.fraction_price)
        found.append(
            Effect(portfolio_id=i, symbol=action.symbol, quantity=-fraction, cash=cash, unit_cost=unit_cost)
        )
    return found


def _fractions(fraction: Decimal, after: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """Who gives up how much of the account's fraction: the largest fraction first."""
    own = {i: quantity - whole(quantity) for i, quantity in after.items()}
    found: dict[int, Decimal] = {}
    for i in sorted(own, key=lambda i: (-abs(own[i]), i)):
        if fraction == 0:
            break
        if own[i] * fraction > 0:
            found[i] = min(own[i], fraction, key=abs)
            fraction -= found[i]
    return found


def _cash(holders: Mapping[int, Position], per_unit: Decimal) -> dict[int, Decimal]:
    """What each gets: the account's sum to the cent, as brokers pay it; a short position pays."""
    exact = {i: EXACT.multiply(one.quantity, per_unit) for i, one in holders.items()}
    return parts(sum(exact.values(), ZERO).quantize(_CENT, ROUND_HALF_UP, EXACT), exact)


def parts(total: Decimal, exact: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """The exact parts on the grid; the largest takes what rounding leaves over, so that they add up."""
    found = {i: rounded(part) for i, part in exact.items()}
    largest = min(found, key=lambda i: (-abs(found[i]), i))
    found[largest] += rounded(total) - sum(found.values(), ZERO)
    return found


def _renamed(action: CorporateAction, portfolio_id: int, held: Position) -> tuple[Effect, Effect]:
    assert action.new_symbol is not None, "the table demands it of a symbol change"
    cost = held.average_cost
    return (
        Effect(portfolio_id=portfolio_id, symbol=held.symbol, quantity=-held.quantity, unit_cost=cost),
        Effect(portfolio_id=portfolio_id, symbol=action.new_symbol, quantity=held.quantity, unit_cost=cost),
    )


@dataclass(frozen=True, slots=True)
class PastAction:
    """A split or dividend inside a history: `bars_since` of its last bars are of its session or later.

    `previous_close` is the raw close before its session, which a dividend is measured by.
    """

    action: CorporateAction
    bars_since: int
    previous_close: Decimal | None


def price_factor(action: CorporateAction, previous_close: Decimal | None) -> float:
    """What prices before the action are multiplied by, to be compared with those after it.

    A split: old / new units. A dividend: 1 − amount / previous close, which is known before the session
    opens; CRSP and Quandl take close / (close + amount) of the session itself, which is not. 1 for all
    others, and for a dividend that is not below a known close.
    """
    if action.kind is ActionKind.SPLIT:
        return float(EXACT.divide(Decimal(1), action.ratio))
    if action.kind is not ActionKind.DIVIDEND or action.cash_per_unit is None:
        return 1.0
    if previous_close is None or previous_close <= action.cash_per_unit:
        return 1.0
    return 1.0 - float(EXACT.divide(action.cash_per_unit, previous_close))


def session_return(close: Decimal, previous_close: Decimal, actions: Iterable[CorporateAction]) -> float:
    """What one unit held over a session's open earned, from raw closes, as a fraction.

    (close × what it became by splits + the session's dividends) / previous close − 1: the holding period
    return of CRSP's data descriptions. A dividend counts for each unit there was before the session's split.
    """
    worth = close
    dividends = ZERO
    for action in actions:
        if action.kind is ActionKind.SPLIT:
            worth = action.after_split(worth)
        elif action.kind is ActionKind.DIVIDEND:
            dividends += action.cash_per_unit or ZERO
    return float(EXACT.divide(worth + dividends, previous_close)) - 1
