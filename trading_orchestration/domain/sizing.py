"""How large a position a strategy asks for, and on which side of the market."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_orchestration.errors import InvalidInputError


class Direction(StrEnum):
    """Which positions a strategy opens; a signal against the one that is held closes it first."""

    LONG = "long"  # BUY opens, SELL closes
    SHORT = "short"  # SELL opens, BUY closes
    BOTH = "both"  # BUY turns a short position into a long one, SELL a long one into a short one

    def opens(self, *, is_long: bool) -> bool:
        """Whether such a position is opened."""
        return self is Direction.BOTH or (self is Direction.LONG) is is_long


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """The size of one position: a percentage of the portfolio's equity, or a number of shares; never both.

    `percent` counts in percent: 10 is a tenth of equity. Without `fractional` a quantity is rounded down to
    whole shares. Without `top_up` nothing is added to a position that is there, however far from its size.
    """

    percent: Decimal | None = None
    shares: Decimal | None = None
    fractional: bool = False
    top_up: bool = True

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.shares is None):
            raise InvalidInputError("sizing takes either percent or shares, one of the two.")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise InvalidInputError(f"sizing.percent was {self.percent}; it is above 0 and at most 100.")
        if self.shares is not None and not 0 < self.shares < Decimal("Infinity"):
            raise InvalidInputError(f"sizing.shares was {self.shares}; it is above 0.")
        if self.shares is not None and not self.fractional and self.shares != self.shares.to_integral_value():
            raise InvalidInputError(
                f"sizing.shares was {self.shares}, which is not whole; set fractional to true to allow it."
            )
