"""How amounts, limits and dates are given on the command line."""

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from trading_orchestration.domain.money import parse_amount
from trading_orchestration.errors import InvalidInputError

if TYPE_CHECKING:
    from trading_orchestration.domain.market_time import MarketCalendar, Session


def fraction(text: str, *, what: str) -> Decimal:
    """A fraction as 0.05 or as 5%; raises InvalidInputError."""
    number, is_percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = parse_amount(number, what=what)
    except InvalidInputError:
        raise InvalidInputError(f"{what} was '{text}'; give a fraction such as 0.05, or 5%.") from None
    return value / 100 if is_percent else value


def fraction_or_none(text: str, *, what: str) -> Decimal | None:
    """A fraction, or None for the word none, which is no limit."""
    return None if text.strip().lower() == "none" else fraction(text, what=what)


def day(text: str, *, what: str) -> date:
    """A date as 2024-07-03; raises InvalidInputError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{what} was '{text}'; give a date such as 2024-07-03.") from None


def past_session(text: str, calendar: "MarketCalendar", *, now: datetime) -> "Session":
    """The session of that date, begun or over.

    Raises InvalidInputError for what is no date, a date without a session, and a session in the future.
    """
    session = calendar.session(day(text, what="--session"))
    if session.opens_at > now:
        raise InvalidInputError(
            f"{session.date} is in the future: that session opens at {session.opens_at:%Y-%m-%d %H:%M} UTC."
        )
    return session
