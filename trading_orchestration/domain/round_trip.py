"""Round trips: from the fill that opens a holding to the one that ends it, and who earned what on the way.

Every fill goes through `position.apply_fill`, so the P&L of the trips of a symbol is the realised P&L of its
position, to the last digit. Owners (the strategies of a portfolio) share one holding at one average cost.
What is sold was the seller's own as far as it held any, and is taken from all owners by what they hold beyond
that; a stop loss, which has no strategy, therefore takes from all. A split or a repair changes every owner's
units alike. Buying 10 for `a` at 100 and 10 for `b` at 110 holds 20 at 105; `a` selling 15 at 120 ends all of
its own 10 (+150) and half of `b`'s (+75).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trading_orchestration.domain.money import EXACT, ZERO, rounded
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, apply_fill
from trading_orchestration.domain.trade import Fill

#: A strategy's name; None is the portfolio itself (stop losses, repairs of the books).
Owner = str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One owner's holding of a symbol from its first unit to its last. Instants are UTC.

    `quantity` is what was bought (sold, when short) in all; prices are means over it, `exit_price` None while
    nothing was closed. `pnl` is after fees, in the portfolio's currency; `closed_at` None is still open.
    """

    owner: Owner
    symbol: str
    is_long: bool
    quantity: Decimal
    opened_at: datetime
    closed_at: datetime | None
    entry_price: Decimal
    exit_price: Decimal | None
    pnl: Decimal


@dataclass(frozen=True, slots=True)
class Share:
    """An owner's part in one fill: `traded` is |quantity × price|, `pnl` what it realised, less the fee."""

    owner: Owner
    at: datetime
    traded: Decimal
    pnl: Decimal


@dataclass(frozen=True, slots=True)
class SymbolBook:
    """What became of one symbol: its position, who owns how much of it, trips in order of their opening."""

    position: Position
    owned: Mapping[Owner, Decimal]
    trips: Sequence[RoundTrip]
    shares: Sequence[Share]

    def unrealised(self, price: Decimal) -> dict[Owner, Decimal]:
        """Each owner's share of quantity × (price − average cost); the shares add up to the whole."""
        return _shared(self.position.unrealised_pnl(price), self.owned)


def keep_book(symbol: str, entries: Iterable[tuple[Fill | Adjustment, Owner]]) -> SymbolBook:
    """The book of one symbol from its ledger entries in execution order, each with its owner.

    Raises LedgerError as `apply_fill` and `apply_adjustment`.
    """
    book = _Book(Position(symbol))
    for entry, owner in entries:
        if isinstance(entry, Adjustment):
            book.adjust(entry, owner)
        else:
            for part in _parts(book.position, entry):
                book.fill(part, owner)
    return book.closed()


def win_rate(pnls: Sequence[Decimal]) -> float | None:
    """The share of closed trips with a P&L above 0; None without one."""
    return sum(pnl > 0 for pnl in pnls) / len(pnls) if pnls else None


def profit_factor(pnls: Sequence[Decimal]) -> float | None:
    """Σ gains / |Σ losses| of closed trips; None where nothing was lost."""
    losses = -sum((pnl for pnl in pnls if pnl < 0), ZERO)
    return float(sum((pnl for pnl in pnls if pnl > 0), ZERO) / losses) if losses else None


def average_trade(pnls: Sequence[Decimal]) -> Decimal | None:
    """The mean P&L of closed trips, to 9 places; None without one."""
    return rounded(EXACT.divide(sum(pnls, ZERO), Decimal(len(pnls)))) if pnls else None


@dataclass(slots=True)
class _Leg:
    """A round trip while it is under way; quantities without sign."""

    owner: Owner
    is_long: bool
    opened_at: datetime
    entered: Decimal = ZERO
    entry_value: Decimal = ZERO
    left: Decimal = ZERO
    left_value: Decimal = ZERO
    pnl: Decimal = ZERO

    def trip(self, symbol: str, closed_at: datetime | None) -> RoundTrip:
        return RoundTrip(
            owner=self.owner,
            symbol=symbol,
            is_long=self.is_long,
            quantity=rounded(self.entered),
            opened_at=self.opened_at,
            closed_at=closed_at,
            entry_price=rounded(EXACT.divide(self.entry_value, self.entered)) if self.entered else ZERO,
            exit_price=rounded(EXACT.divide(self.left_value, self.left)) if self.left else None,
            pnl=self.pnl,
        )


@dataclass(slots=True)
class _Book:
    position: Position
    owned: dict[Owner, Decimal] = field(default_factory=dict)
    legs: dict[Owner, _Leg] = field(default_factory=dict)
    trips: list[RoundTrip] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)

    def fill(self, fill: Fill, owner: Owner) -> None:
        """A fill that either adds to the position or takes from it."""
        before, self.position = self.position, apply_fill(self.position, fill)
        signed = fill.side.sign * fill.quantity
        moved = {owner: signed} if before.quantity * signed >= 0 else self._taken(signed, owner)
        pnl = self.position.realised_pnl - before.realised_pnl
        for of, earned in _shared(pnl, moved).items():
            self._move(of, moved[of], fill.price, fill.executed_at)
            self.legs[of].pnl += earned
            traded = EXACT.multiply(abs(moved[of]), fill.price)
            self.shares.append(Share(of, fill.executed_at, traded, earned))
        self._end_legs(fill.executed_at)

    def adjust(self, adjustment: Adjustment, owner: Owner) -> None:
        """Units that come or go without a trade: by what each owner holds."""
        before, self.position = self.position, apply_adjustment(self.position, adjustment)
        if adjustment.keeps_cost:
            self._split(before, adjustment)
            return
        at, unit_cost = adjustment.occurred_at, adjustment.unit_cost or ZERO
        if before.quantity * self.position.quantity < 0:
            for of, quantity in dict(self.owned).items():
                self._move(of, -quantity, None, at)
            self._end_legs(at)
            moved = {owner: self.position.quantity}
        elif before.is_flat:
            moved = {owner: adjustment.quantity}
        else:
            moved = _shared(adjustment.quantity, self.owned)
        is_added = abs(self.position.quantity) > abs(before.quantity) or not self.owned
        for of, share in moved.items():
            self._move(of, share, unit_cost if is_added else None, at)
        self._end_legs(at)

    def _split(self, before: Position, adjustment: Adjustment) -> None:
        """Everybody's units are counted anew, also those that are gone; what they cost and brought stays."""
        ratio = EXACT.divide(self.position.quantity, before.quantity)
        for of, share in _shared(adjustment.quantity, self.owned).items():
            self.owned[of] += share
            leg = self.legs[of]
            leg.entered, leg.left = EXACT.multiply(leg.entered, ratio), EXACT.multiply(leg.left, ratio)
        self._end_legs(adjustment.occurred_at)

    def closed(self) -> SymbolBook:
        """The book with what is still open at its end."""
        symbol = self.position.symbol
        trips = self.trips + [leg.trip(symbol, None) for leg in self.legs.values()]
        trips.sort(key=lambda trip: trip.opened_at)
        return SymbolBook(self.position, self.owned, trips, self.shares)

    def _taken(self, signed: Decimal, owner: Owner) -> dict[Owner, Decimal]:
        """From whom a reduction comes: the seller's own first, then from the others by what they hold."""
        own = min(abs(self.owned.get(owner, ZERO)), abs(signed)).copy_sign(signed)
        others = {of: quantity for of, quantity in self.owned.items() if of != owner}
        rest = _shared(signed - own, others) if signed != own else {}
        return ({owner: own} if own else {}) | rest

    def _move(self, owner: Owner, signed: Decimal, price: Decimal | None, at: datetime) -> None:
        """Give units to an owner or take them; a price of None is no purchase and no sale."""
        held, quantity = self.owned.get(owner, ZERO), abs(signed)
        leg = self.legs.setdefault(owner, _Leg(owner, signed > 0, at))
        if held * signed >= 0:
            leg.entered += quantity
            leg.entry_value += EXACT.multiply(quantity, price or ZERO)
        elif price is not None:
            leg.left += quantity
            leg.left_value += EXACT.multiply(quantity, price)
        self.owned[owner] = held + signed

    def _end_legs(self, at: datetime) -> None:
        for owner in [owner for owner, quantity in self.owned.items() if quantity == 0]:
            del self.owned[owner]
            self.trips.append(self.legs.pop(owner).trip(self.position.symbol, at))


def _parts(position: Position, fill: Fill) -> list[Fill]:
    """A fill that takes a position through zero as two: one that ends it, one that opens the other."""
    held = abs(position.quantity)
    if position.quantity * fill.side.sign >= 0 or fill.quantity <= held:
        return [fill]
    fee = rounded(EXACT.divide(EXACT.multiply(fill.fee, held), fill.quantity))
    return [_part(fill, held, fee), _part(fill, fill.quantity - held, fill.fee - fee)]


def _part(fill: Fill, quantity: Decimal, fee: Decimal) -> Fill:
    return Fill(
        symbol=fill.symbol,
        side=fill.side,
        quantity=quantity,
        price=fill.price,
        executed_at=fill.executed_at,
        fee=fee,
    )


def _shared(amount: Decimal, by: Mapping[Owner, Decimal]) -> dict[Owner, Decimal]:
    """An amount in shares that follow the weights `by`, on the grid, adding up to it.

    Rounding the running sum, not each share, never gives more units than an owner's weight.
    """
    whole = sum(by.values(), ZERO)
    shares: dict[Owner, Decimal] = {}
    weight = given = ZERO
    for owner, of_owner in by.items():
        weight += of_owner
        until = rounded(EXACT.divide(EXACT.multiply(amount, weight), whole))
        shares[owner], given = until - given, until
    return shares
