"""What a plan is made on and bound by, and the exits that no strategy asks for.

Every plan is made on `Holdings` as they are if all that is open is filled, so that two decisions never spend
the same cash or sell the same shares. Exits are not bound by halts, losses or the cash reserve.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Protocol

from trading_orchestration.domain import portfolio
from trading_orchestration.domain.commission import MARKET_BUY_BUFFER
from trading_orchestration.domain.money import EXACT, ZERO, plain, product, whole
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import OrderTerms, Side

_ONE = Decimal(1)


class SignalLike(Protocol):
    """What a plan reads of a `strategy.Signal`, without loading the factors that make one.

    `action` is "buy", "sell" or "hold".
    """

    @property
    def symbol(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """A portfolio's limits as fractions (0.25 is a quarter); None is no limit.

    Position, cash and daily loss are measured on equity, stop loss and take profit on a position's average
    cost, the drawdown on the highest value there has been.
    """

    max_position_pct: Decimal
    max_positions: int
    stop_loss_pct: Decimal | None
    take_profit_pct: Decimal | None
    max_daily_loss_pct: Decimal | None
    min_cash_pct: Decimal
    max_drawdown_pct: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What a decision sees of a portfolio. Mappings are keyed by symbol.

    `open_buys` and `open_sells` are the quantities of trades that are not final and not filled yet;
    `reserved_cash` is what the open buys set aside. `equity_at_open` is None where it is not known.
    """

    cash: Decimal
    reserved_cash: Decimal
    positions: Mapping[str, Position]
    open_buys: Mapping[str, Decimal]
    open_sells: Mapping[str, Decimal]
    prices: Mapping[str, Decimal]
    equity_at_open: Decimal | None

    def quantity(self, symbol: str) -> Decimal:
        """What is held; negative when short."""
        return self.positions.get(symbol, Position(symbol)).quantity

    def price(self, symbol: str) -> Decimal | None:
        """The price, or None where there is no positive one."""
        price = self.prices.get(symbol, ZERO)
        return price if price > 0 else None

    def equity(self) -> Decimal | None:
        """Cash and positions at the prices, or None where a held symbol has no price."""
        return self._equity

    @cached_property
    def _equity(self) -> Decimal | None:
        positions = self.positions.values()
        if portfolio.unpriced(positions, self.prices):
            return None
        return self.cash + portfolio.positions_value(positions, self.prices)

    def symbols_in_use(self) -> set[str]:
        """What is held or on order."""
        held = {symbol for symbol, position in self.positions.items() if not position.is_flat}
        ordered = (*self.open_buys.items(), *self.open_sells.items())
        return held | {symbol for symbol, quantity in ordered if quantity > 0}

    def short_value(self) -> Decimal:
        """What it would cost to buy back all that is held short, at the prices there are."""
        short = (p for p in self.positions.values() if p.quantity < 0)
        return -sum((p.market_value(self.prices.get(p.symbol, ZERO)) for p in short), ZERO)

    def after(self, approved: Iterable["Approved"]) -> "Holdings":
        """The same with these orders open."""
        buys, sells, reserved = dict(self.open_buys), dict(self.open_sells), self.reserved_cash
        for order in approved:
            opened = buys if order.terms.side is Side.BUY else sells
            opened[order.terms.symbol] = opened.get(order.terms.symbol, ZERO) + order.terms.quantity
            reserved += order.reserved_cash
        return replace(self, open_buys=buys, open_sells=sells, reserved_cash=reserved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An order to send. `reserved_cash` is set aside until it is final; `is_entry` tells one that opens."""

    terms: OrderTerms
    reserved_cash: Decimal
    reason: str
    is_entry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A signal that leads to no order, and why, in one sentence."""

    symbol: str
    side: Side
    reason: str


def plan_exits(
    holdings: Holdings, limits: RiskLimits, *, fractionable: Collection[str] | None = None
) -> list[Approved]:
    """Market orders that close each position beyond its stop loss or take profit, by symbol.

    Only what no open order closes already. Positions without a price or an average cost are left alone.
    `fractionable` names what trades in fractions; of the rest only whole shares are closed. None is all.
    """
    exits = []
    for symbol, position in sorted(holdings.positions.items()):
        reason = _reason_to_exit(position, holdings.price(symbol), limits)
        quantity = free_quantity(holdings, symbol)
        if fractionable is not None and symbol not in fractionable:
            quantity = whole(quantity)
        if reason is not None and quantity > 0:
            side = Side.SELL if position.quantity > 0 else Side.BUY
            exits.append(approve_exit(symbol, side, quantity, holdings, reason))
    return exits


def free_quantity(holdings: Holdings, symbol: str) -> Decimal:
    """How much of a position no open order closes already; never negative."""
    quantity = holdings.quantity(symbol)
    closing = holdings.open_sells if quantity > 0 else holdings.open_buys
    return max(abs(quantity) - closing.get(symbol, ZERO), ZERO)


def _reason_to_exit(position: Position, price: Decimal | None, limits: RiskLimits) -> str | None:
    cost = position.average_cost
    if price is None or position.is_flat or cost == 0:
        return None
    gain = price - cost if position.quantity > 0 else cost - price
    where = f"{position.symbol} at {plain(price)} is {_apart(price, cost)} its average cost of {plain(cost)}"
    if limits.stop_loss_pct is not None and gain <= -EXACT.multiply(limits.stop_loss_pct, cost):
        return f"Stop loss: {where}; the limit is {limits.stop_loss_pct:.2%}."
    if limits.take_profit_pct is not None and gain >= EXACT.multiply(limits.take_profit_pct, cost):
        return f"Take profit: {where}; the aim is {limits.take_profit_pct:.2%}."
    return None


def _apart(price: Decimal, cost: Decimal) -> str:
    change = EXACT.divide(price - cost, cost)
    return f"{abs(change):.2%} {'above' if change > 0 else 'below'}"


def approve_exit(symbol: str, side: Side, quantity: Decimal, holdings: Holdings, reason: str) -> Approved:
    """An order that only closes; a buy that covers sets cash aside."""
    reserved = ZERO
    if side is Side.BUY:
        reserved = product(quantity, EXACT.multiply(holdings.prices[symbol], _ONE + MARKET_BUY_BUFFER))
    terms = OrderTerms(symbol=symbol, side=side, quantity=quantity)
    return Approved(terms=terms, reserved_cash=reserved, reason=reason)
