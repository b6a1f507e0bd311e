"""How amounts are read, rounded and shown: Decimals on a grid of nine places, as PostgreSQL keeps them.

Products and quotients are worked out exactly (`EXACT`) and rounded once, so that the result here and the
result of the same expression in SQL are the same to the last digit.
"""

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow

from trading_orchestration.errors import InvalidInputError, LedgerError

QUANTUM = Decimal("1e-9")
ZERO = Decimal(0)

#: numeric(20,9) holds eleven digits before the point; a product of two such numbers has forty.
EXACT = Context(prec=60, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])

_MAX_INTEGER_DIGITS = 11
_MAX_PLACES = 9
_PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+)(?:\.([0-9]+))?")


def rounded(value: Decimal) -> Decimal:
    """The value on the grid, halves away from zero, as SQL rounds NUMERIC; never a negative zero.

    Raises LedgerError for NaN and infinities.
    """
    return _on_grid(value, ROUND_HALF_UP)


def truncated(value: Decimal) -> Decimal:
    """The value on the grid, towards zero: never more than there is. Raises as `rounded`."""
    return _on_grid(value, ROUND_DOWN)


def product(first: Decimal, second: Decimal) -> Decimal:
    """The exact product, rounded once."""
    return rounded(EXACT.multiply(first, second))


def whole(quantity: Decimal) -> Decimal:
    """The whole shares in a quantity; the fraction is dropped."""
    return EXACT.plus(quantity.to_integral_value(ROUND_DOWN))


def is_on_grid(value: Decimal) -> bool:
    """Whether the value is finite and has at most nine places, so that storing it changes nothing."""
    return value.is_finite() and rounded(value) == value


def parse_amount(text: str, *, what: str) -> Decimal:
    """Read what a person or a file wrote as plain digits, with a point and at most nine places.

    Raises InvalidInputError, which names `what`, the text, the limit and the mend.
    """
    found = _PLAIN_NUMBER.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError(
            f"{what} was {text!r}, which is not a plain number; write digits with a point for the fraction "
            "and nothing between thousands, as in 1000.50."
        )
    if len(found[2] or "") > _MAX_PLACES:
        raise InvalidInputError(
            f"{what} was {text!r}, which has {len(found[2])} decimal places; give at most {_MAX_PLACES}."
        )
    if len(found[1].lstrip("0")) > _MAX_INTEGER_DIGITS:
        raise InvalidInputError(
            f"{what} was {text!r}, which has more than {_MAX_INTEGER_DIGITS} digits before the point; "
            "give an amount below 100000000000."
        )
    return Decimal(text.strip())


def plain(value: Decimal) -> str:
    """The value as a person writes it: no exponent and no trailing zeros ('10', '0.5')."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _on_grid(value: Decimal, rounding: str) -> Decimal:
    if not value.is_finite():
        raise LedgerError(f"An amount was {value}; the ledger holds finite numbers only.")
    return EXACT.plus(value.quantize(QUANTUM, rounding, EXACT))
