"""From signals to order terms: how much, and whether at all.

Every plan is made on `Holdings` as they are if all that is open is filled, so that two decisions never spend
the same cash or sell the same shares. Exits are not bound by halts, losses or the cash reserve.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from trading_orchestration.domain import portfolio
from trading_orchestration.domain.money import EXACT, ZERO, plain, product, rounded, truncated, whole
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.sizing import Sizing
from trading_orchestration.domain.trade import OrderTerms, Side

#: Alpaca values a market buy 2.5 to 4 % above the price when it checks the account's cash; an order that is
#: not covered with the upper end is refused there.
MARKET_BUY_BUFFER = Decimal("0.04")

#: A percentage is not chased closer than this part of the target. Prices move it at every tick, and the
#: buffer above always leaves up to 4 % unspent; both would end in a stream of tiny orders.
SMALLEST_BUY = Decimal("0.05")

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


@dataclass(frozen=True, slots=True, kw_only=True)
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
        if portfolio.unpriced(self.positions.values(), self.prices):
            return None
        return portfolio.value(self.cash, self.positions.values(), self.prices).total

    def symbols_in_use(self) -> set[str]:
        """What is held or being bought."""
        held = {symbol for symbol, position in self.positions.items() if not position.is_flat}
        return held | {symbol for symbol, quantity in self.open_buys.items() if quantity > 0}

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
    """An order to send. `reserved_cash` is set aside until it is final."""

    terms: OrderTerms
    reserved_cash: Decimal
    reason: str


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
        quantity = _free_quantity(holdings, symbol)
        if fractionable is not None and symbol not in fractionable:
            quantity = whole(quantity)
        if reason is not None and quantity > 0:
            side = Side.SELL if position.quantity > 0 else Side.BUY
            exits.append(_approve(symbol, side, quantity, holdings, reason))
    return exits


def plan_entries_and_exits(
    signals: Sequence[SignalLike],
    sizing: Sizing,
    holdings: Holdings,
    limits: RiskLimits,
    *,
    fractionable: Collection[str],
    entries_allowed: bool,
    refusal: str | None,
) -> tuple[list[Approved], list[Refused]]:
    """Turn buy and sell signals into orders; each sees what the ones before it left.

    Sells come first, then buys by falling score, then by symbol. A sell closes what is held long and free. A
    buy fills up to the sizing's target and breaks no limit when it is filled at the price it was planned at:
    a percentage is bought as far as the limits allow, a number of shares whole or not at all. Cash is
    reserved with `MARKET_BUY_BUFFER` on top, and what a sell will bring in is not spent before it is there.
    `fractionable` names what trades in fractions. With `entries_allowed` False every buy is refused with
    `refusal`. A daily loss is not checked where the equity at the open is unknown.
    """
    equity = holdings.equity() or ZERO
    rules = _Rules(sizing=sizing, limits=limits, fractionable=fractionable, equity=equity)
    halted = None if entries_allowed else refusal or "Entries are halted."
    blocked = halted or _reason_against_any_buy(holdings, limits)
    approved: list[Approved] = []
    refused: list[Refused] = []
    for signal in _in_order(signals):
        if signal.action == Side.SELL:
            outcome = _plan_sell(signal, holdings, fractionable)
        else:
            outcome = _refuse(signal, blocked) if blocked else _plan_buy(signal, holdings, rules)
        if isinstance(outcome, Approved):
            approved.append(outcome)
            holdings = holdings.after([outcome])
        else:
            refused.append(outcome)
    return approved, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What is the same for all buys of one plan."""

    sizing: Sizing
    limits: RiskLimits
    fractionable: Collection[str]
    equity: Decimal

    def target(self, price: Decimal) -> Decimal:
        """How many shares a position should have; not rounded to what can be traded."""
        if self.sizing.percent is None:
            return self.sizing.shares or ZERO
        fraction = min(self.sizing.percent / 100, self.limits.max_position_pct)
        return EXACT.divide(truncated(EXACT.multiply(fraction, self.equity)), price)

    def smallest_buy(self, target: Decimal) -> Decimal:
        return ZERO if self.sizing.percent is None else target * SMALLEST_BUY

    def tradable(self, symbol: str, quantity: Decimal) -> Decimal:
        fractional = self.sizing.fractional and symbol in self.fractionable
        return truncated(quantity) if fractional else whole(quantity)

    def free_cash(self, holdings: Holdings) -> Decimal:
        reserve = rounded(EXACT.multiply(self.limits.min_cash_pct, self.equity))
        return max(holdings.cash - holdings.reserved_cash - reserve, ZERO)


def _in_order(signals: Sequence[SignalLike]) -> list[SignalLike]:
    sells = sorted((s for s in signals if s.action == Side.SELL), key=lambda s: s.symbol)
    buys = sorted((s for s in signals if s.action == Side.BUY), key=lambda s: (-s.score, s.symbol))
    return sells + buys


def _free_quantity(holdings: Holdings, symbol: str) -> Decimal:
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


def _plan_sell(signal: SignalLike, holdings: Holdings, fractionable: Collection[str]) -> Approved | Refused:
    symbol, held = signal.symbol, holdings.quantity(signal.symbol)
    if held <= 0:
        return _refuse(signal, f"No {symbol} is held that could be sold.")
    free = _free_quantity(holdings, symbol)
    if free == 0:
        return _refuse(signal, f"All {plain(held)} {symbol} are on sale already.")
    quantity = free if symbol in fractionable else whole(free)
    if quantity == 0:
        return _refuse(signal, f"{plain(free)} {symbol} cannot be sold, as it trades in whole shares only.")
    return _approve(symbol, Side.SELL, quantity, holdings, signal.reason)


def _plan_buy(signal: SignalLike, holdings: Holdings, rules: _Rules) -> Approved | Refused:
    symbol, price = signal.symbol, holdings.price(signal.symbol)
    if price is None:
        return _refuse(signal, f"No price is known for {symbol}.")
    buy = _size(symbol, price, holdings, rules)
    reason = _reason_against_symbol(symbol, holdings, rules.limits) or _reason_against_size(buy, rules)
    if reason is not None:
        return _refuse(signal, reason)
    return _approve(symbol, Side.BUY, min(buy.wanted, buy.affordable), holdings, signal.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Buy:
    """A buy before it is judged: `have` is held or on order, `missing` is what the target has on top.

    `wanted` and `affordable` are rounded down to what can be traded.
    """

    symbol: str
    price: Decimal
    have: Decimal
    target: Decimal
    missing: Decimal
    wanted: Decimal
    affordable: Decimal
    free_cash: Decimal


def _size(symbol: str, price: Decimal, holdings: Holdings, rules: _Rules) -> _Buy:
    have = holdings.quantity(symbol) + holdings.open_buys.get(symbol, ZERO)
    target, free_cash = rules.target(price), rules.free_cash(holdings)
    missing = EXACT.subtract(target, have)
    return _Buy(
        symbol=symbol,
        price=price,
        have=have,
        target=target,
        missing=missing,
        wanted=rules.tradable(symbol, missing),
        affordable=rules.tradable(symbol, EXACT.divide(free_cash, _with_buffer(price))),
        free_cash=free_cash,
    )


def _reason_against_any_buy(holdings: Holdings, limits: RiskLimits) -> str | None:
    equity, at_open, limit = holdings.equity(), holdings.equity_at_open, limits.max_daily_loss_pct
    if equity is None:
        missing = ", ".join(portfolio.unpriced(holdings.positions.values(), holdings.prices))
        return f"The portfolio's equity is unknown, as no price is known for {missing}."
    if equity <= 0:
        return f"The portfolio's equity is {equity:,.2f}; there is nothing to buy with."
    if limit is None or at_open is None or at_open <= 0:
        return None
    if at_open - equity >= EXACT.multiply(limit, at_open):
        loss = EXACT.divide(at_open - equity, at_open)
        return (
            f"Equity fell by {loss:.2%} since the open, from {at_open:,.2f} to {equity:,.2f}; "
            f"the limit for a day is {limit:.2%}."
        )
    return None


def _reason_against_symbol(symbol: str, holdings: Holdings, limits: RiskLimits) -> str | None:
    if (held := holdings.quantity(symbol)) < 0:
        return f"{symbol} is held short ({plain(held)}); strategies trade long positions only."
    if (selling := holdings.open_sells.get(symbol, ZERO)) > 0:
        return f"A sale of {plain(selling)} {symbol} is still open."
    in_use = holdings.symbols_in_use()
    if symbol not in in_use and len(in_use) >= limits.max_positions:
        return f"{len(in_use)} positions are held or on order; the limit is {limits.max_positions}."
    return None


def _reason_against_size(buy: _Buy, rules: _Rules) -> str | None:
    smallest = rules.smallest_buy(buy.target)
    if buy.missing <= 0 or buy.missing < smallest:
        return f"{plain(buy.have)} {buy.symbol} are held or on order, which is the target already."
    if buy.wanted == 0:
        return f"{plain(truncated(buy.missing))} {buy.symbol} at {plain(buy.price)} round to zero shares."
    fixed = rules.sizing.percent is None
    if fixed and (reason := _reason_against_weight(buy, rules)):
        return reason
    if buy.affordable < (buy.wanted if fixed else smallest):
        return (
            f"{plain(buy.wanted)} {buy.symbol} at {plain(buy.price)} need {_reserve(buy):,.2f} with "
            f"{MARKET_BUY_BUFFER:.0%} on top; {buy.free_cash:,.2f} is free above the cash reserve of "
            f"{rules.limits.min_cash_pct:.2%}."
        )
    return None


def _reason_against_weight(buy: _Buy, rules: _Rules) -> str | None:
    value = EXACT.multiply(buy.have + buy.wanted, buy.price)
    if value <= EXACT.multiply(rules.limits.max_position_pct, rules.equity):
        return None
    share = EXACT.divide(value, rules.equity)
    return (
        f"{plain(buy.have + buy.wanted)} {buy.symbol} at {plain(buy.price)} would be {share:.2%} of equity; "
        f"the limit is {rules.limits.max_position_pct:.2%}."
    )


def _with_buffer(price: Decimal) -> Decimal:
    return EXACT.multiply(price, _ONE + MARKET_BUY_BUFFER)


def _reserve(buy: _Buy) -> Decimal:
    return product(buy.wanted, _with_buffer(buy.price))


def _approve(symbol: str, side: Side, quantity: Decimal, holdings: Holdings, reason: str) -> Approved:
    reserved = ZERO
    if side is Side.BUY:
        reserved = product(quantity, _with_buffer(holdings.prices[symbol]))
    terms = OrderTerms(symbol=symbol, side=side, quantity=quantity)
    return Approved(terms=terms, reserved_cash=reserved, reason=reason)


def _refuse(signal: SignalLike, reason: str) -> Refused:
    return Refused(symbol=signal.symbol, side=Side(signal.action), reason=reason)
