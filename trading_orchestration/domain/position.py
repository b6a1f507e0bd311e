"""What a portfolio holds of one symbol, and the one place where a fill changes it.

Average cost, with the sign of the quantity saying long or short. Buying 10 at 100 and 10 at 110 holds 20 at
105; selling 15 at 120 realises 15 × (120 − 105) = 225 and leaves 5 at 105; selling 8 more at 90 closes those
5 for 5 × (90 − 105) = −75 and opens a short of 3 at 90. Fees lower the realised P&L, never the average cost.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading_orchestration.domain.money import EXACT, ZERO, is_on_grid, plain, product, rounded
from trading_orchestration.domain.trade import Fill
from trading_orchestration.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Position:
    """A holding: `quantity` in units, negative when short; `average_cost` a unit, 0 when flat."""

    symbol: str
    quantity: Decimal = ZERO
    average_cost: Decimal = ZERO
    realised_pnl: Decimal = ZERO

    @property
    def is_flat(self) -> bool:
        """Nothing is held."""
        return self.quantity == 0

    def market_value(self, price: Decimal) -> Decimal:
        """Quantity × price; negative when short."""
        return product(self.quantity, price)

    def unrealised_pnl(self, price: Decimal) -> Decimal:
        """Quantity × (price − average cost): what closing at that price would realise before fees."""
        return product(self.quantity, price - self.average_cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A change of a quantity without a trade. `quantity` is signed; `occurred_at` is UTC.

    `unit_cost` is what one added unit cost; it may be None only where the adjustment just reduces. With
    `keeps_cost` (a split) there are more or fewer units, and what was paid for all of them stays.
    """

    symbol: str
    quantity: Decimal
    unit_cost: Decimal | None
    occurred_at: datetime
    keeps_cost: bool = False


def apply_fill(position: Position, fill: Fill) -> Position:
    """The position after one more fill.

    Raises LedgerError for another symbol's fill, for a quantity or price that is not positive, and for more
    than nine places, which the ledger could not store as given.
    """
    _check_fill(position, fill)
    signed = fill.side.sign * fill.quantity
    closed = _closed_by(position, signed)
    realised = EXACT.fma(closed, fill.price - position.average_cost, position.realised_pnl - fill.fee)
    return Position(
        symbol=position.symbol,
        quantity=position.quantity + signed,
        average_cost=_average_cost(position, signed, fill.price),
        realised_pnl=rounded(realised),
    )


def apply_adjustment(position: Position, adjustment: Adjustment) -> Position:
    """The position after a repair: units come at their unit cost and go at the average cost, without P&L.

    A split spreads what was paid over the units there are then. Raises LedgerError for another symbol's
    adjustment, for more than nine places, and where units are added without a unit cost.
    """
    _check_adjustment(position, adjustment)
    if adjustment.keeps_cost:
        average_cost = _spread_cost(position, adjustment.quantity)
    else:
        average_cost = _average_cost(position, adjustment.quantity, adjustment.unit_cost or ZERO)
    return Position(
        symbol=position.symbol,
        quantity=position.quantity + adjustment.quantity,
        average_cost=average_cost,
        realised_pnl=position.realised_pnl,
    )


def fold(symbol: str, entries: Iterable[Fill | Adjustment]) -> Position:
    """The position that fills and adjustments in execution order make; equal instants keep their order.

    Raises LedgerError for an entry that is older than the one before it, and as the two functions above.
    """
    position, latest = Position(symbol), None
    for entry in entries:
        at = entry.executed_at if isinstance(entry, Fill) else entry.occurred_at
        if latest is not None and at < latest:
            raise LedgerError(
                f"An entry of {symbol} at {at.isoformat()} came after one at {latest.isoformat()}; "
                "fold the ledger in execution order."
            )
        latest = at
        position = (
            apply_fill(position, entry) if isinstance(entry, Fill) else apply_adjustment(position, entry)
        )
    return position


def _closed_by(position: Position, signed: Decimal) -> Decimal:
    """How much of the position a signed quantity takes away, with the position's sign."""
    if position.quantity * signed >= 0:
        return ZERO
    return position.quantity if abs(signed) >= abs(position.quantity) else -signed


def _average_cost(position: Position, signed: Decimal, unit_cost: Decimal) -> Decimal:
    quantity = position.quantity + signed
    if quantity == 0:
        return ZERO
    if position.quantity * signed < 0:
        flips = (quantity > 0) != (position.quantity > 0)
        return unit_cost if flips else position.average_cost
    held = EXACT.multiply(position.quantity, position.average_cost)
    return rounded(EXACT.divide(EXACT.fma(signed, unit_cost, held), quantity))


def _spread_cost(position: Position, signed: Decimal) -> Decimal:
    quantity = position.quantity + signed
    if quantity == 0:
        return ZERO
    return rounded(abs(EXACT.divide(EXACT.multiply(position.quantity, position.average_cost), quantity)))


def _check_fill(position: Position, fill: Fill) -> None:
    _check_symbol(position, fill.symbol)
    for name, value in (("quantity", fill.quantity), ("price", fill.price), ("fee", fill.fee)):
        _check_grid(fill.symbol, f"fill's {name}", value)
    if fill.quantity <= 0 or fill.price <= 0:
        raise LedgerError(
            f"A fill of {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)} was refused; "
            "quantity and price must be above 0."
        )


def _check_adjustment(position: Position, adjustment: Adjustment) -> None:
    symbol, signed, unit_cost = adjustment.symbol, adjustment.quantity, adjustment.unit_cost
    _check_symbol(position, symbol)
    _check_grid(symbol, "adjustment's quantity", signed)
    if unit_cost is not None:
        _check_grid(symbol, "adjustment's unit cost", unit_cost)
        if unit_cost < 0:
            raise LedgerError(f"An adjustment of {symbol} had the unit cost {unit_cost}; give 0 or more.")
    elif not adjustment.keeps_cost and _closed_by(position, signed) != -signed:
        raise LedgerError(
            f"An adjustment of {plain(signed)} {symbol} adds to a holding of {plain(position.quantity)} "
            "without a unit cost; give what one unit cost."
        )


def _check_symbol(position: Position, symbol: str) -> None:
    if symbol != position.symbol:
        raise LedgerError(f"An entry of {symbol} was applied to the position of {position.symbol}.")


def _check_grid(symbol: str, name: str, value: Decimal) -> None:
    if not is_on_grid(value):
        raise LedgerError(f"The {name} in {symbol} was {value}; round it to 9 places before it is booked.")
