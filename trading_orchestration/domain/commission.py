"""What a broker charges for an order, and what an order may cost beyond the price it is planned at.

    fee of an order = max(minimum, per_order + per_share × quantity + rate × quantity × price)

A part fill pays what the order owes by then, less what it has paid: the parts of an order cost what the whole
does at their average price. Fees are exact to nine places and not rounded to cents, as back-testing engines
keep them.
"""

from dataclasses import dataclass
from decimal import Decimal

from trading_orchestration.domain.money import EXACT, QUANTUM, ZERO, is_on_grid, product, rounded, truncated
from trading_orchestration.errors import SettingsError

RATE_MAX = Decimal("0.5")

#: Alpaca values a market buy 2.5 to 4 % above the price when it checks the account's cash; an order that is
#: not covered with the upper end is refused there.
MARKET_BUY_BUFFER = Decimal("0.04")

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """What an order pays: an amount a share, an amount an order, a share of its value, and a minimum.

    Amounts are in the account's currency, `rate` is a fraction (0.001 is 0.1 %). Raises SettingsError for
    what is negative, finer than nine places, or a rate above a half.
    """

    per_share: Decimal = ZERO
    per_order: Decimal = ZERO
    rate: Decimal = ZERO
    minimum: Decimal = ZERO

    def __post_init__(self) -> None:
        for name in ("per_share", "per_order", "rate", "minimum"):
            value: Decimal = getattr(self, name)
            if not is_on_grid(value) or value < 0:
                raise SettingsError(f"The commission {name} was {value}; give at least 0, to 9 places.")
        if self.rate > RATE_MAX:
            raise SettingsError(f"The commission rate was {self.rate}; give at most {RATE_MAX}.")

    def fee(self, quantity: Decimal, price: Decimal) -> Decimal:
        """What an order owes once so much of it is filled at that average price."""
        if not quantity:
            return ZERO
        shares = EXACT.multiply(self.per_share, quantity)
        value = EXACT.multiply(self.rate, EXACT.multiply(quantity, price))
        return max(self.minimum, rounded(self.per_order + shares + value))


NO_COMMISSION = Commission()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCosts:
    """What a market order is expected to cost beyond its quantity times the price it is planned at.

    `buffer` is the part of the price by which it may be filled, or is valued, against the order.
    """

    buffer: Decimal = MARKET_BUY_BUFFER
    commission: Commission = NO_COMMISSION

    def needed(self, quantity: Decimal, price: Decimal) -> Decimal:
        """The cash that an entry takes, or a short one sets aside."""
        worst = EXACT.multiply(price, _ONE + self.buffer)
        return product(quantity, worst) + self.commission.fee(quantity, worst)

    def affordable(self, cash: Decimal, price: Decimal) -> Decimal:
        """The largest quantity, to nine places, that `needed` does not put above the cash; never negative."""
        worst, fee = EXACT.multiply(price, _ONE + self.buffer), self.commission
        unit = EXACT.multiply(worst, _ONE + fee.rate) + fee.per_share
        most = min(
            EXACT.divide(cash - fee.minimum, worst), EXACT.divide(EXACT.subtract(cash, fee.per_order), unit)
        )
        quantity = truncated(max(most, ZERO))
        return quantity if self.needed(quantity, price) <= cash else max(quantity - QUANTUM, ZERO)

    def after_closing(self, quantity: Decimal, price: Decimal) -> Decimal:
        """What closing a holding (negative: a short one) brings in, or costs, at that price."""
        side = -1 if quantity > 0 else 1
        filled_at = EXACT.multiply(price, _ONE + side * self.buffer)
        return rounded(EXACT.multiply(quantity, filled_at)) - self.commission.fee(abs(quantity), filled_at)


#: What an order is expected to cost where nothing else is known.
USUAL_COSTS = EntryCosts()
