"""What a portfolio is worth and what it earned: cash effects of fills, valuation, time-weighted returns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from trading_orchestration.domain.money import EXACT, ZERO, product
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import Fill
from trading_orchestration.errors import InvalidInputError

_RETURN_QUANTUM = Decimal("1e-12")
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valuation:
    """A portfolio at one set of prices. `total` is cash + positions_value; flat positions do not count."""

    cash: Decimal
    positions_value: Decimal
    total: Decimal
    unrealised_pnl: Decimal
    position_count: int


def cash_effect(fill: Fill) -> Decimal:
    """What a fill does to cash: the notional, in for a sell and out for a buy, less the fee."""
    return product(-fill.side.sign * fill.quantity, fill.price) - fill.fee


def unpriced(positions: Iterable[Position], prices: Mapping[str, Decimal]) -> list[str]:
    """The held symbols that have no positive price, sorted."""
    return sorted(p.symbol for p in positions if not p.is_flat and prices.get(p.symbol, ZERO) <= 0)


def positions_value(positions: Iterable[Position], prices: Mapping[str, Decimal]) -> Decimal:
    """What the held positions are worth, each rounded to nine places; every one of them needs a price."""
    return sum((p.market_value(prices[p.symbol]) for p in positions if not p.is_flat), ZERO)


def value(cash: Decimal, positions: Iterable[Position], prices: Mapping[str, Decimal]) -> Valuation:
    """Value cash and positions, each position rounded to nine places as the database does.

    Raises InvalidInputError that names every held symbol without a positive price.
    """
    held = [position for position in positions if not position.is_flat]
    if missing := unpriced(held, prices):
        raise InvalidInputError(
            f"No price is known for {', '.join(missing)}, which the portfolio holds; "
            "bring in a price before valuing it."
        )
    worth = positions_value(held, prices)
    return Valuation(
        cash=cash,
        positions_value=worth,
        total=cash + worth,
        unrealised_pnl=sum((p.unrealised_pnl(prices[p.symbol]) for p in held), ZERO),
        position_count=len(held),
    )


def daily_return(total: Decimal, previous_total: Decimal | None, net_deposits: Decimal) -> Decimal | None:
    """The session's time-weighted return as a fraction, 12 places: total / (previous + net deposits) − 1.

    Deposits and withdrawals count as made at the start of the session. None where there is no earlier total
    or nothing was invested; a portfolio that was opened this session has an earlier total of 0.
    """
    if previous_total is None or previous_total + net_deposits <= 0:
        return None
    invested = previous_total + net_deposits
    return _rounded_return(EXACT.divide(total - invested, invested))


def chained_return(previous_total_return: Decimal | None, daily: Decimal | None) -> Decimal | None:
    """The return since the start after one more session: (1 + previous) × (1 + daily) − 1, 12 places.

    A session without a return changes nothing; None until there is a first one.
    """
    if previous_total_return is None or daily is None:
        return daily if previous_total_return is None else previous_total_return
    return _rounded_return(EXACT.multiply(_ONE + previous_total_return, _ONE + daily) - _ONE)


def _rounded_return(fraction: Decimal) -> Decimal:
    return EXACT.plus(fraction.quantize(_RETURN_QUANTUM, ROUND_HALF_UP, EXACT))
