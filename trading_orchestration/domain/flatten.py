"""Closing everything, for a portfolio whose halt says so."""

from collections.abc import Collection
from decimal import Decimal

from trading_orchestration.domain.commission import MARKET_BUY_BUFFER
from trading_orchestration.domain.money import ZERO, product, whole
from trading_orchestration.domain.risk import Approved, Holdings
from trading_orchestration.domain.trade import OrderTerms, Side


def plan_flattening(holdings: Holdings, *, fractionable: Collection[str], reason: str) -> list[Approved]:
    """Market orders that close what no open order closes already, by symbol, at any price or none.

    Of what does not trade in fractions (`fractionable` names what does) only whole shares are closed.
    """
    orders = []
    for symbol, position in sorted(holdings.positions.items()):
        side = Side.SELL if position.quantity > 0 else Side.BUY
        closing = holdings.open_sells if side is Side.SELL else holdings.open_buys
        free = abs(position.quantity) - closing.get(symbol, ZERO)
        quantity = free if symbol in fractionable else whole(free)
        if quantity > 0:
            terms = OrderTerms(symbol=symbol, side=side, quantity=quantity)
            orders.append(Approved(terms=terms, reserved_cash=_reserve(terms, holdings), reason=reason))
    return orders


def _reserve(terms: OrderTerms, holdings: Holdings) -> Decimal:
    price = holdings.price(terms.symbol)
    if terms.side is Side.SELL or price is None:
        return ZERO
    return product(terms.quantity, price * (1 + MARKET_BUY_BUFFER))
