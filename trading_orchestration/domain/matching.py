"""The paper market's rules: whether a price fills an order, at what price, and how much of it.

An order is filled only where every way the price can have gone through open, high, low and close must have
filled it, and never at a price from before it arrived:

- a market order at the first price it meets: the price on its arrival, or the next open;
- a limit order at its limit when the price touched it, or at the open when that was already better;
- a stop order at its stop when the price touched it, or at the open when that was already past it;
- a stop-limit order becomes a limit order once its stop is touched. When that happens inside a bar, the bar's
  high and low may lie before the touch, so only the stop itself and the close count from there on.

Example: a buy with stop 105 and limit 103 in a bar of open 100, high 106, low 99, close 104 is triggered and
not filled (99 may have come first); with a close of 102 the price passed 103 on its way and filled it there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trading_orchestration.domain.commission import NO_COMMISSION, Commission
from trading_orchestration.domain.money import (
    EXACT,
    QUANTUM,
    ZERO,
    is_on_grid,
    plain,
    product,
    rounded,
    whole,
)
from trading_orchestration.domain.position import Position, apply_fill
from trading_orchestration.domain.price import Bar
from trading_orchestration.domain.trade import Fill, OrderTerms, OrderType, Side
from trading_orchestration.errors import InvalidInputError, SettingsError

SLIPPAGE_BPS_MAX = Decimal(5_000)
_BPS = Decimal(10_000)
_ONE = Decimal(1)


class OrderState(StrEnum):
    """Where an order of the paper market stands; the words of `paper.order_status`."""

    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """How the paper market treats orders.

    `partial_fill_fraction` is the share of an order that one price fills (0.1 is a tenth; None fills all of
    it); `commission` is what an order pays; `slippage_bps` moves the price of market and stop orders against
    the order (1 is a hundredth of a percent). Raises SettingsError when out of range.
    """

    partial_fill_fraction: Decimal | None = None
    commission: Commission = NO_COMMISSION
    slippage_bps: Decimal = ZERO
    allow_short: bool = False

    def __post_init__(self) -> None:
        fraction = self.partial_fill_fraction
        if fraction is not None and not 0 < fraction <= 1:
            raise SettingsError(f"partial_fill_fraction was {fraction}; give more than 0 and at most 1.")
        if not 0 <= self.slippage_bps <= SLIPPAGE_BPS_MAX:
            raise SettingsError(f"slippage_bps was {self.slippage_bps}; give 0 to {SLIPPAGE_BPS_MAX}.")


class PriceRange(NamedTuple):
    """Where a price began, how far it went and where it ended."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal

    @classmethod
    def at(cls, price: Decimal) -> "PriceRange":
        """One price alone."""
        return cls(price, price, price, price)


@dataclass(frozen=True, slots=True)
class PriceTick:
    """A symbol's price now and, where one has just ended, the bar up to now.

    At the border of two bars `price` is the open of the new one. Raises InvalidInputError for prices that are
    not positive or have more than nine places, and for a bar of another symbol or that contradicts itself.
    """

    symbol: str
    price: Decimal
    ended: Bar | None = None

    def __post_init__(self) -> None:
        bar = self.ended
        given = (self.price,) if bar is None else (self.price, bar.open, bar.high, bar.low, bar.close)
        if not all(is_on_grid(value) and value > 0 for value in given):
            raise InvalidInputError(
                f"The prices of {self.symbol} were {', '.join(map(str, given))}; "
                "each must be above 0 and have at most 9 places."
            )
        if bar is None:
            return
        if bar.symbol != self.symbol:
            raise InvalidInputError(f"A price of {self.symbol} came with a bar of {bar.symbol}.")
        if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
            raise InvalidInputError(
                f"The bar of {self.symbol} from {bar.starts_at.isoformat()} has low {bar.low} and high "
                f"{bar.high}, which do not hold its open {bar.open} and its close {bar.close}; correct it."
            )

    def met_from(self, active_from: datetime) -> tuple[PriceRange, ...]:
        """What an order meets in turn: the bar if it was there when that began, and the price now."""
        now = PriceRange.at(self.price)
        if self.ended is None or active_from > self.ended.starts_at:
            return (now,)
        return PriceRange(self.ended.open, self.ended.high, self.ended.low, self.ended.close), now


@dataclass(frozen=True, slots=True, kw_only=True)
class BookOrder:
    """An order in the paper market's book. Instants are UTC.

    Prices count from `active_from` on and up to `expires_at`, both included; `unit_reserve` is the cash held
    back for each unit that is not filled yet.
    """

    order_id: str
    client_order_id: str
    terms: OrderTerms
    state: OrderState
    submitted_at: datetime
    active_from: datetime
    expires_at: datetime | None
    updated_at: datetime
    unit_reserve: Decimal = ZERO
    is_stop_triggered: bool = False
    filled_quantity: Decimal = ZERO
    filled_average_price: Decimal | None = None

    @property
    def open_quantity(self) -> Decimal:
        """What is not filled yet."""
        return self.terms.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class BookExecution:
    """One fill of an order; `cumulative_quantity` is the order's filled quantity after it."""

    execution_id: str
    order_id: str
    fill: Fill
    cumulative_quantity: Decimal


@dataclass(frozen=True, slots=True)
class Match:
    """What a price did to an order: the order afterwards, and the fill unless it only triggered a stop."""

    order: BookOrder
    execution: BookExecution | None


@dataclass(frozen=True, slots=True)
class Touch:
    """Whether an order's stop has been touched, and the price at which it fills, if it does."""

    is_stop_triggered: bool
    price: Decimal | None


def match(order: BookOrder, tick: PriceTick, *, at: datetime, settings: PaperSettings) -> Match | None:
    """What a tick does to an open order; None when nothing."""
    touched = Touch(order.is_stop_triggered, None)
    for prices in tick.met_from(order.active_from):
        touched = touch(order.terms, prices, is_stop_triggered=touched.is_stop_triggered)
        if touched.price is not None:
            break
    order_after = replace(order, is_stop_triggered=touched.is_stop_triggered, updated_at=at)
    if touched.price is None:
        is_triggered_now = touched.is_stop_triggered and not order.is_stop_triggered
        return Match(order_after, None) if is_triggered_now else None
    quantity = _quantity_filled_at_once(order, settings.partial_fill_fraction)
    price = with_slippage(order.terms, touched.price, settings.slippage_bps)
    return _filled(order_after, quantity, price, settings.commission)


def touch(terms: OrderTerms, prices: PriceRange, *, is_stop_triggered: bool) -> Touch:
    """Where a price meets an order, by the rules at the head of this file; before slippage."""
    if terms.stop_price is None or is_stop_triggered:
        return Touch(is_stop_triggered, _price_once_active(terms, prices))
    trigger = _stop_touch(terms.side, terms.stop_price, prices)
    if trigger is None:
        return Touch(is_stop_triggered=False, price=None)
    if terms.limit_price is None:
        return Touch(is_stop_triggered=True, price=trigger)
    if trigger != prices.open:
        end = prices.close
        prices = PriceRange(trigger, max(trigger, end), min(trigger, end), end)
    return Touch(is_stop_triggered=True, price=_limit_touch(terms.side, terms.limit_price, prices))


def with_slippage(terms: OrderTerms, price: Decimal, slippage_bps: Decimal) -> Decimal:
    """The price moved against a market or stop order; an order with a limit keeps its price."""
    if terms.order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) or not slippage_bps:
        return price
    return product(price, _ONE + terms.side.sign * slippage_bps / _BPS)


def cash_change(fill: Fill) -> Decimal:
    """What a fill does to the cash: signed, to nine places, fee included."""
    return -fill.side.sign * product(fill.quantity, fill.price) - fill.fee


def holdings_after(holdings: Mapping[str, Position], fills: Iterable[Fill]) -> dict[str, Position]:
    """The holdings that the fills change, as they are afterwards."""
    changed: dict[str, Position] = {}
    for fill in fills:
        before = changed.get(fill.symbol) or holdings.get(fill.symbol) or Position(fill.symbol)
        changed[fill.symbol] = apply_fill(before, fill)
    return changed


def _price_once_active(terms: OrderTerms, prices: PriceRange) -> Decimal | None:
    if terms.limit_price is None:
        return prices.open
    return _limit_touch(terms.side, terms.limit_price, prices)


def _limit_touch(side: Side, limit: Decimal, prices: PriceRange) -> Decimal | None:
    if _is_at_or_past(side, limit, prices.open):
        return prices.open
    best = prices.low if side is Side.BUY else prices.high
    return limit if _is_at_or_past(side, limit, best) else None


def _stop_touch(side: Side, stop: Decimal, prices: PriceRange) -> Decimal | None:
    if _is_at_or_past(side, prices.open, stop):
        return prices.open
    worst = prices.high if side is Side.BUY else prices.low
    return stop if _is_at_or_past(side, worst, stop) else None


def _is_at_or_past(side: Side, price: Decimal, bound: Decimal) -> bool:
    return price >= bound if side is Side.BUY else price <= bound


def _quantity_filled_at_once(order: BookOrder, fraction: Decimal | None) -> Decimal:
    if fraction is None:
        return order.open_quantity
    share = EXACT.multiply(order.terms.quantity, fraction)
    if whole(order.terms.quantity) == order.terms.quantity:
        share = max(whole(share), _ONE)
    return min(order.open_quantity, max(rounded(share), QUANTUM))


def _filled(order: BookOrder, quantity: Decimal, price: Decimal, commission: Commission) -> Match:
    cumulative, average_before = order.filled_quantity + quantity, order.filled_average_price or ZERO
    paid_before = EXACT.multiply(order.filled_quantity, average_before)
    average = rounded(EXACT.divide(EXACT.fma(quantity, price, paid_before), cumulative))
    fee = commission.fee(cumulative, average) - commission.fee(order.filled_quantity, average_before)
    is_complete = cumulative == order.terms.quantity
    order_after = replace(
        order,
        state=OrderState.FILLED if is_complete else OrderState.PARTIALLY_FILLED,
        filled_quantity=cumulative,
        filled_average_price=average,
    )
    execution = BookExecution(
        execution_id=f"{order.order_id}:{plain(cumulative)}",
        order_id=order.order_id,
        cumulative_quantity=cumulative,
        fill=Fill(
            symbol=order.terms.symbol,
            side=order.terms.side,
            quantity=quantity,
            price=price,
            executed_at=order.updated_at,
            fee=max(fee, ZERO),
        ),
    )
    return Match(order_after, execution)
