"""From signals to order terms: how much, on which side, and whether at all.

A signal against the position that is held closes it; where the strategy opens positions on the other side, a
second order of the same plan opens that one with what the first brings in. Short positions are sized as long
ones are: their proceeds pay for nothing, and their value is set aside from the cash once more.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from trading_orchestration.domain import portfolio
from trading_orchestration.domain.commission import MARKET_BUY_BUFFER, USUAL_COSTS, EntryCosts
from trading_orchestration.domain.money import EXACT, ZERO, plain, product, rounded, truncated, whole
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.risk import (
    Approved,
    Holdings,
    Refused,
    RiskLimits,
    SignalLike,
    approve_exit,
    free_quantity,
)
from trading_orchestration.domain.sizing import Direction, Sizing
from trading_orchestration.domain.trade import OrderTerms, Side

#: A percentage is not chased closer than this part of the target. Prices move it at every tick, and what may
#: come on top of the price leaves up to 4 % unspent; both would end in a stream of tiny orders.
SMALLEST_ENTRY = Decimal("0.05")

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRules:
    """What binds every entry of one plan.

    `fractionable` names what trades in fractions; `refusal` is why nothing new may be opened at all,
    `refusals` why a symbol may not. Shorts are only opened where `direction` says so.
    """

    sizing: Sizing
    limits: RiskLimits
    fractionable: Collection[str]
    refusal: str | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    direction: Direction = Direction.LONG
    costs: EntryCosts = USUAL_COSTS


def plan_entries_and_exits(
    signals: Sequence[SignalLike], holdings: Holdings, rules: EntryRules
) -> tuple[list[Approved], list[Refused]]:
    """Turn buy and sell signals into orders; each sees what the ones before it left.

    Sells come first, then buys by falling score, then by symbol. What is closed is what is held and free.
    An entry fills up to the sizing's target and breaks no limit when it is filled at the price it was
    planned at: a percentage is opened as far as the limits and the cash allow, a number of shares whole or
    not at all. What closing another symbol will bring in is not spent before it is there. A daily loss is
    not checked where the equity at the open is unknown.
    """
    blocked = rules.refusal or _reason_against_any(holdings, rules.limits)
    plan = _Plan(rules, holdings.equity() or ZERO, blocked)
    approved: list[Approved] = []
    refused: list[Refused] = []
    for signal in _in_order(signals):
        outcomes = plan.of(signal, holdings)
        orders = [outcome for outcome in outcomes if isinstance(outcome, Approved)]
        refused += [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        approved += orders
        holdings = holdings.after(orders)
    return approved, refused


@dataclass(frozen=True, slots=True)
class _Plan:
    """The rules with the equity of the portfolio, and why nothing may be opened."""

    rules: EntryRules
    equity: Decimal
    blocked: str | None

    def of(self, signal: SignalLike, holdings: Holdings) -> list[Approved | Refused]:
        side, held = Side(signal.action), holdings.quantity(signal.symbol)
        opens = self.rules.direction.opens(is_long=side is Side.BUY)
        closes = held * side.sign < 0 and self.rules.direction.opens(is_long=side is Side.SELL)
        if not closes:
            return [self._opened(signal, holdings) if opens else _nothing_to_close(signal)]
        closed = _closed(signal, holdings, self.rules.fractionable)
        if isinstance(closed, Refused) or not opens:
            return [closed]
        if closed.terms.quantity != abs(held):
            return [closed, _refuse(signal, f"Not all {plain(abs(held))} {signal.symbol} can be closed.")]
        return [closed, self._opened(signal, self._once_closed(signal.symbol, holdings))]

    def _once_closed(self, symbol: str, holdings: Holdings) -> Holdings:
        """The holdings as if all of a symbol had been closed at its price."""
        price = holdings.price(symbol) or ZERO
        proceeds = self.rules.costs.after_closing(holdings.quantity(symbol), price)
        others = {other: position for other, position in holdings.positions.items() if other != symbol}
        return replace(holdings, cash=holdings.cash + proceeds, positions=others)

    def _opened(self, signal: SignalLike, holdings: Holdings) -> Approved | Refused:
        symbol, price = signal.symbol, holdings.price(signal.symbol)
        blocked = self.blocked or self.rules.refusals.get(symbol)
        if blocked:
            return _refuse(signal, blocked)
        if price is None:
            return _refuse(signal, f"No price is known for {symbol}.")
        entry = self._sized(symbol, Side(signal.action), price, holdings)
        reason = _reason_against_symbol(entry, holdings, self.rules.limits)
        reason = reason or self._reason_against_size(entry)
        if reason is not None:
            return _refuse(signal, reason)
        quantity = min(entry.wanted, entry.affordable)
        return Approved(
            terms=OrderTerms(symbol=symbol, side=entry.side, quantity=quantity),
            reserved_cash=self._reserve(entry, quantity),
            reason=signal.reason,
            is_entry=True,
        )

    def _sized(self, symbol: str, side: Side, price: Decimal, holdings: Holdings) -> "_Entry":
        ordered = holdings.open_buys if side is Side.BUY else holdings.open_sells
        have = holdings.quantity(symbol) * side.sign + ordered.get(symbol, ZERO)
        target, free_cash = self._target(price), self._free_cash(holdings)
        missing = EXACT.subtract(target, have)
        return _Entry(
            symbol=symbol,
            side=side,
            price=price,
            have=have,
            target=target,
            missing=missing,
            wanted=self._tradable(symbol, missing),
            affordable=self._tradable(symbol, self.rules.costs.affordable(free_cash, price)),
            free_cash=free_cash,
        )

    def _target(self, price: Decimal) -> Decimal:
        """How many shares a position should have; not rounded to what can be traded."""
        sizing = self.rules.sizing
        if sizing.percent is None:
            return sizing.shares or ZERO
        fraction = min(sizing.percent / 100, self.rules.limits.max_position_pct)
        return EXACT.divide(truncated(EXACT.multiply(fraction, self.equity)), price)

    def _tradable(self, symbol: str, quantity: Decimal) -> Decimal:
        fractional = self.rules.sizing.fractional and symbol in self.rules.fractionable
        return truncated(quantity) if fractional else whole(quantity)

    def _free_cash(self, holdings: Holdings) -> Decimal:
        reserve = rounded(EXACT.multiply(self.rules.limits.min_cash_pct, self.equity))
        return max(holdings.cash - holdings.reserved_cash - reserve - 2 * holdings.short_value(), ZERO)

    def _reserve(self, entry: "_Entry", quantity: Decimal) -> Decimal:
        """What it needs; for a buy with room for the price to rise until it is sent, where there is cash."""
        needed = self.rules.costs.needed(quantity, entry.price)
        if entry.side is Side.SELL:
            return needed
        roomy = product(quantity, EXACT.multiply(entry.price, _ONE + MARKET_BUY_BUFFER))
        return max(needed, min(roomy, entry.free_cash))

    def _reason_against_size(self, entry: "_Entry") -> str | None:
        is_fixed = self.rules.sizing.percent is None
        smallest = ZERO if is_fixed else entry.target * SMALLEST_ENTRY
        if entry.have > 0 and not self.rules.sizing.top_up:
            return f"{plain(entry.have)} {entry.symbol} are held or on order, and nothing is added to them."
        if entry.missing <= 0 or entry.missing < smallest:
            return f"{plain(entry.have)} {entry.symbol} are held or on order, which is the target already."
        if entry.wanted == 0:
            missing = plain(truncated(entry.missing))
            return f"{missing} {entry.symbol} at {plain(entry.price)} round to zero shares."
        if is_fixed and (reason := self._reason_against_weight(entry)):
            return reason
        if entry.affordable == 0 or entry.affordable < (entry.wanted if is_fixed else smallest):
            return self._not_enough_cash(entry)
        return None

    def _not_enough_cash(self, entry: "_Entry") -> str:
        costs, limits = self.rules.costs, self.rules.limits
        needed = costs.needed(entry.wanted, entry.price)
        return (
            f"{plain(entry.wanted)} {entry.symbol} at {plain(entry.price)} need {needed:,.2f} with "
            f"{costs.buffer:.0%} on top; {entry.free_cash:,.2f} is free above the cash reserve of "
            f"{limits.min_cash_pct:.2%}."
        )

    def _reason_against_weight(self, entry: "_Entry") -> str | None:
        quantity = entry.have + entry.wanted
        value = EXACT.multiply(quantity, entry.price)
        if value <= EXACT.multiply(self.rules.limits.max_position_pct, self.equity):
            return None
        return (
            f"{plain(quantity)} {entry.symbol} at {plain(entry.price)} would be "
            f"{EXACT.divide(value, self.equity):.2%} of equity; the limit is "
            f"{self.rules.limits.max_position_pct:.2%}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """An entry before it is judged.

    `have` is held or on order on its side, `missing` is what the target has on top; `wanted` and `affordable`
    are rounded down to what can be traded.
    """

    symbol: str
    side: Side
    price: Decimal
    have: Decimal
    target: Decimal
    missing: Decimal
    wanted: Decimal
    affordable: Decimal
    free_cash: Decimal


def reason_against_sending(
    terms: OrderTerms, reserved_cash: Decimal, holdings: Holdings, limits: RiskLimits
) -> str | None:
    """Why an entry that was decided a moment ago breaks a limit now; None where it does not.

    `holdings` has the order among its open ones. Prices move between a decision and its order: a position's
    share of equity may be above its limit by as much as `MARKET_BUY_BUFFER` sets aside for that.
    """
    price = holdings.price(terms.symbol)
    if price is None:
        return f"No price is known for {terms.symbol}."
    return (
        _reason_against_any(holdings, limits)
        or _reason_against_count(terms.symbol, holdings, limits)
        or _reason_against_share(terms, price, holdings, limits)
        or _reason_against_price(terms, price, reserved_cash)
    )


def _reason_against_count(symbol: str, holdings: Holdings, limits: RiskLimits) -> str | None:
    in_use = holdings.symbols_in_use() | {symbol}
    if len(in_use) <= limits.max_positions or holdings.quantity(symbol):
        return None
    return f"{len(in_use)} positions are held or on order with it; the limit is {limits.max_positions}."


def _reason_against_share(
    terms: OrderTerms, price: Decimal, holdings: Holdings, limits: RiskLimits
) -> str | None:
    equity, symbol = holdings.equity() or ZERO, terms.symbol
    ordered = holdings.open_buys if terms.side is Side.BUY else holdings.open_sells
    quantity = holdings.quantity(symbol) * terms.side.sign + ordered.get(symbol, ZERO)
    value = EXACT.multiply(quantity, price)
    limit = EXACT.multiply(limits.max_position_pct, _ONE + MARKET_BUY_BUFFER)
    if value <= EXACT.multiply(limit, equity):
        return None
    return (
        f"{plain(quantity)} {symbol} at {plain(price)} would now be {EXACT.divide(value, equity):.2%} of "
        f"equity; the limit is {limits.max_position_pct:.2%}."
    )


def _reason_against_price(terms: OrderTerms, price: Decimal, reserved_cash: Decimal) -> str | None:
    """A market order has no limit of its own: it is not sent where its reserve no longer pays for it."""
    needed = product(terms.quantity, price if terms.limit_price is None else min(price, terms.limit_price))
    if terms.side is Side.SELL or needed <= reserved_cash:
        return None
    return (
        f"{terms.symbol} rose to {plain(price)} since the decision: {needed:,.2f} would be needed, "
        f"{reserved_cash:,.2f} were set aside."
    )


def _in_order(signals: Sequence[SignalLike]) -> list[SignalLike]:
    sells = sorted((s for s in signals if s.action == Side.SELL), key=lambda s: s.symbol)
    buys = sorted((s for s in signals if s.action == Side.BUY), key=lambda s: (-s.score, s.symbol))
    return sells + buys


def _nothing_to_close(signal: SignalLike) -> Refused:
    what = "sold" if signal.action == Side.SELL else "bought back"
    return _refuse(signal, f"No {signal.symbol} is held that could be {what}.")


def _closed(signal: SignalLike, holdings: Holdings, fractionable: Collection[str]) -> Approved | Refused:
    symbol, held = signal.symbol, abs(holdings.quantity(signal.symbol))
    free, side = free_quantity(holdings, symbol), Side(signal.action)
    if free == 0:
        on_order = "on sale" if side is Side.SELL else "being bought back"
        return _refuse(signal, f"All {plain(held)} {symbol} are {on_order} already.")
    quantity = free if symbol in fractionable else whole(free)
    if quantity == 0:
        what = "sold" if side is Side.SELL else "bought back"
        return _refuse(signal, f"{plain(free)} {symbol} cannot be {what}, as it trades in whole shares only.")
    if side is Side.BUY and holdings.price(symbol) is None:
        return _refuse(signal, f"No price is known for {symbol}.")
    return approve_exit(symbol, side, quantity, holdings, signal.reason)


def _reason_against_any(holdings: Holdings, limits: RiskLimits) -> str | None:
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


def _reason_against_symbol(entry: _Entry, holdings: Holdings, limits: RiskLimits) -> str | None:
    symbol, held = entry.symbol, holdings.positions.get(entry.symbol, Position(entry.symbol)).quantity
    if held * entry.side.sign < 0:
        kind, other = ("short", "long") if held < 0 else ("long", "short")
        return f"{symbol} is held {kind} ({plain(held)}); strategies trade {other} positions only."
    against = holdings.open_sells if entry.side is Side.BUY else holdings.open_buys
    if (pending := against.get(symbol, ZERO)) > 0:
        what = "sale" if entry.side is Side.BUY else "purchase"
        return f"A {what} of {plain(pending)} {symbol} is still open."
    in_use = holdings.symbols_in_use()
    if symbol not in in_use and len(in_use) >= limits.max_positions:
        return f"{len(in_use)} positions are held or on order; the limit is {limits.max_positions}."
    return None


def _refuse(signal: SignalLike, reason: str) -> Refused:
    return Refused(symbol=signal.symbol, side=Side(signal.action), reason=reason)
