"""Which orders the paper broker refuses on arrival, and how much cash it holds back for one it takes.

The refusals are those that Alpaca gives. An id that is taken comes first, so that a second order is always
told from a bad one.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading_orchestration.domain.matching import PaperSettings, with_slippage
from trading_orchestration.domain.money import EXACT, ZERO, is_on_grid, plain, product, truncated, whole
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce

CLIENT_ORDER_ID_MAX_LENGTH = 128
#: What the book's columns hold; no real order comes near.
AMOUNT_LIMIT = Decimal(10) ** 11
#: Regulation T: a short sale needs half of its value beside the proceeds.
SHORT_MARGIN = Decimal("0.5")
_ONE_DOLLAR = Decimal(1)

_PRICES_OF_TYPE = {
    OrderType.MARKET: (False, False),
    OrderType.LIMIT: (True, False),
    OrderType.STOP: (False, True),
    OrderType.STOP_LIMIT: (True, True),
}


class RefusalReason(StrEnum):
    """Why an order was refused, for a caller that must tell the cases apart."""

    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    BAD_CLIENT_ORDER_ID = "bad_client_order_id"
    BAD_TERMS = "bad_terms"
    SUB_PENNY_PRICE = "sub_penny_price"
    UNKNOWN_SYMBOL = "unknown_symbol"
    NOT_TRADABLE = "not_tradable"
    NOT_FRACTIONABLE = "not_fractionable"
    FRACTION_NEEDS_DAY = "fraction_needs_day"
    INSUFFICIENT_QUANTITY = "insufficient_quantity"
    INSUFFICIENT_BUYING_POWER = "insufficient_buying_power"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A definite no, as a reason and as a sentence."""

    reason: RefusalReason
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the broker knows when an order arrives. `last_price` is None where the symbol never had one.

    `held_quantity` is negative when short; `selling_quantity` and `buying_quantity` are what open orders may
    still sell and buy.
    """

    is_client_order_id_taken: bool
    is_symbol_known: bool
    is_tradable: bool
    is_fractionable: bool
    last_price: Decimal | None
    priced_at: datetime | None
    held_quantity: Decimal
    average_entry_price: Decimal
    selling_quantity: Decimal
    buying_quantity: Decimal
    buying_power: Decimal

    def closable_quantity(self, side: Side) -> Decimal:
        """How much an order of that side can take off the holding, with open orders counted."""
        if side is Side.SELL:
            return max(self.held_quantity - self.selling_quantity, ZERO)
        return max(-self.held_quantity - self.buying_quantity, ZERO)


def malformed(client_order_id: str, terms: OrderTerms) -> Refusal | None:
    """Why the order cannot even be looked up, or None when it can."""
    if not 0 < len(client_order_id) <= CLIENT_ORDER_ID_MAX_LENGTH or not client_order_id.isprintable():
        return Refusal(
            RefusalReason.BAD_CLIENT_ORDER_ID,
            f"The client_order_id {client_order_id[:200]!r} has {len(client_order_id)} characters; "
            f"give 1 to {CLIENT_ORDER_ID_MAX_LENGTH} printable ones.",
        )
    if not terms.symbol.isprintable():
        return Refusal(RefusalReason.UNKNOWN_SYMBOL, f"asset not found for {terms.symbol!r}.")
    return None


def refusal(
    client_order_id: str, terms: OrderTerms, circumstances: Circumstances, settings: PaperSettings
) -> Refusal | None:
    """Why a well-formed order is refused, or None when it is taken."""
    if circumstances.is_client_order_id_taken:
        return Refusal(
            RefusalReason.DUPLICATE_CLIENT_ORDER_ID,
            f"client_order_id must be unique: {client_order_id} was used before.",
        )
    return (
        _refused_for_its_terms(terms)
        or _refused_for_its_symbol(terms, circumstances)
        or _refused_for_the_account(terms, circumstances, settings)
    )


def unit_reserve(terms: OrderTerms, circumstances: Circumstances, settings: PaperSettings) -> Decimal:
    """The cash held back for each unit of an order: `reserve` spread over them, never more in sum."""
    return truncated(EXACT.divide(reserve(terms, circumstances, settings), terms.quantity))


def reserve(terms: OrderTerms, circumstances: Circumstances, settings: PaperSettings) -> Decimal:
    """The cash that an order holds back until it is filled or closed.

    A buy holds back its limit, or else the higher of its stop and the last price with slippage, and the fee.
    A short sale holds back half of its value. What takes a holding off needs nothing.
    """
    opening = max(terms.quantity - circumstances.closable_quantity(terms.side), ZERO)
    if not opening:
        return ZERO
    bounds = (terms.limit_price, terms.stop_price, circumstances.last_price)
    price = max(bound for bound in bounds if bound is not None)
    if terms.side is Side.BUY:
        price = terms.limit_price or with_slippage(terms, price, settings.slippage_bps)
        return product(price, opening) + settings.commission.fee(terms.quantity, price)
    return product(EXACT.multiply(price, opening), SHORT_MARGIN)


def _refused_for_its_terms(terms: OrderTerms) -> Refusal | None:
    if not _is_amount(terms.quantity):
        return _bad_terms(terms, f"a quantity of {terms.quantity}; give more than 0, to 9 places")
    for name, price, is_needed in _prices_with_need(terms):
        if (price is not None) is not is_needed:
            need = "needs" if is_needed else "takes no"
            return _bad_terms(terms, f"the type {terms.order_type}, which {need} {name}")
        if price is not None and not _is_amount(price):
            return _bad_terms(terms, f"a {name} of {price}; give more than 0, to 9 places")
        if price is not None and not _is_on_price_grid(price):
            return Refusal(
                RefusalReason.SUB_PENNY_PRICE,
                f"The {name} of {plain(price)} for {terms.symbol} is sub-penny; give at most 2 places from "
                "1 dollar on and 4 below.",
            )
    return None


def _refused_for_its_symbol(terms: OrderTerms, circumstances: Circumstances) -> Refusal | None:
    symbol = terms.symbol
    if not circumstances.is_symbol_known:
        return Refusal(RefusalReason.UNKNOWN_SYMBOL, f"asset not found for {symbol}.")
    if not circumstances.is_tradable:
        return Refusal(RefusalReason.NOT_TRADABLE, f'asset "{symbol}" is not tradable.')
    if circumstances.last_price is None:
        return Refusal(RefusalReason.UNKNOWN_SYMBOL, f"asset {symbol} has never had a price.")
    if whole(terms.quantity) == terms.quantity:
        return None
    if not circumstances.is_fractionable:
        return Refusal(RefusalReason.NOT_FRACTIONABLE, f'asset "{symbol}" is not fractionable.')
    if terms.time_in_force is not TimeInForce.DAY:
        return Refusal(
            RefusalReason.FRACTION_NEEDS_DAY,
            f"fractional orders must be DAY orders; this one in {symbol} is {terms.time_in_force}.",
        )
    return None


def _refused_for_the_account(
    terms: OrderTerms, circumstances: Circumstances, settings: PaperSettings
) -> Refusal | None:
    available = circumstances.closable_quantity(terms.side)
    if terms.side is Side.SELL and terms.quantity > available and not settings.allow_short:
        return Refusal(
            RefusalReason.INSUFFICIENT_QUANTITY,
            f"insufficient qty available for order of {terms.symbol} "
            f"(requested: {plain(terms.quantity)}, available: {plain(available)}).",
        )
    needed = reserve(terms, circumstances, settings)
    if needed > circumstances.buying_power:
        return Refusal(
            RefusalReason.INSUFFICIENT_BUYING_POWER,
            f"insufficient buying power for {terms.side} of {plain(terms.quantity)} {terms.symbol} "
            f"(buying_power: {plain(circumstances.buying_power)}, cost_basis: {plain(needed)}).",
        )
    return None


def _bad_terms(terms: OrderTerms, what: str) -> Refusal:
    return Refusal(RefusalReason.BAD_TERMS, f"The order in {terms.symbol} has {what}.")


def _prices_with_need(terms: OrderTerms) -> tuple[tuple[str, Decimal | None, bool], ...]:
    needs_limit, needs_stop = _PRICES_OF_TYPE[terms.order_type]
    return (("limit_price", terms.limit_price, needs_limit), ("stop_price", terms.stop_price, needs_stop))


def _is_amount(value: Decimal) -> bool:
    return value.is_finite() and 0 < value < AMOUNT_LIMIT and is_on_grid(value)


def _is_on_price_grid(price: Decimal) -> bool:
    places = Decimal("0.01") if price >= _ONE_DOLLAR else Decimal("0.0001")
    return price.quantize(places, context=EXACT) == price
