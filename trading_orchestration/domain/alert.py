"""A price alert: a condition on a symbol's price that fires once and then rests."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_orchestration.domain.money import EXACT, plain
from trading_orchestration.errors import InvalidInputError


class AlertCondition(StrEnum):
    """What a price must do."""

    ABOVE = "above"
    BELOW = "below"
    PERCENT_CHANGE = "percent_change"  # either way, from the reference price


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One row of `price_alerts`.

    `threshold` is a price for above and below, a fraction (0.05 is 5 %) for percent_change, which alone has
    a `reference_price`. Raises InvalidInputError where they do not fit or are not positive.
    """

    id: int
    symbol: str
    condition: AlertCondition
    threshold: Decimal
    reference_price: Decimal | None = None

    def __post_init__(self) -> None:
        if not _is_positive(self.threshold):
            raise InvalidInputError(
                f"The threshold of an alert on {self.symbol} was {self.threshold}; give a number above 0."
            )
        if (self.condition is AlertCondition.PERCENT_CHANGE) != (self.reference_price is not None):
            raise InvalidInputError(
                f"An alert '{self.condition}' on {self.symbol} had the reference price "
                f"{self.reference_price}; give one for percent_change and for nothing else."
            )
        if self.reference_price is not None and not _is_positive(self.reference_price):
            raise InvalidInputError(
                f"The reference price of an alert on {self.symbol} was {self.reference_price}; "
                "give a price above 0."
            )


def is_triggered(alert: Alert, price: Decimal) -> bool:
    """Whether the price meets the condition; reaching the threshold exactly does."""
    if alert.condition is AlertCondition.ABOVE:
        return price >= alert.threshold
    if alert.condition is AlertCondition.BELOW:
        return price <= alert.threshold
    reference = alert.reference_price or price
    return abs(price - reference) >= EXACT.multiply(alert.threshold, reference)


def describe(alert: Alert, price: Decimal) -> str:
    """One sentence on the price and the condition, for a notification."""
    now = f"{alert.symbol} is at {plain(price)}"
    if alert.reference_price is None:
        return f"{now}, which is at or {alert.condition} the alert's {plain(alert.threshold)}."
    change = EXACT.divide(price - alert.reference_price, alert.reference_price)
    return (
        f"{now}, a change of {change:+.2%} from {plain(alert.reference_price)}; "
        f"the alert was set for {plain(alert.threshold * 100)} % either way."
    )


def _is_positive(value: Decimal) -> bool:
    return value.is_finite() and value > 0
