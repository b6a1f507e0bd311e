"""Why our books and the broker's differ, where it can be known, and what repairs them. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations

from trading_orchestration.brokers.broker import BrokerPosition, CashActivity, Execution
from trading_orchestration.domain.corporate_action import parts
from trading_orchestration.domain.money import EXACT, ZERO, product
from trading_orchestration.domain.reconciliation import AdjustmentCause, Discrepancy, allocate
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store.ledger import Repair

#: A split leaves what was paid as it was, up to the broker's rounding of the average price.
_SAME_COST = Decimal("0.001")
_SPLIT_RATIO_MAX = 100
#: Of so many items every combination is tried, a thousand at most.
_ITEMS_COMBINED_MAX = 10

Holding = tuple[Decimal, Decimal]  # quantity, average cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What may explain that the books differ.

    `strangers` are the broker's executions that no trade of ours asked for, `taken_back` fills of ours that
    the broker no longer lists, `activities` its dividends and fees. `settled` names those that were adjusted
    for already, by symbol (None: cash).
    """

    strangers: Sequence[Execution] = ()
    taken_back: Mapping[str, Fill] = field(default_factory=dict)
    activities: Sequence[CashActivity] = ()
    settled: Collection[tuple[str | None, str]] = frozenset()

    def ids(self) -> set[str]:
        """The broker's ids of all of it."""
        found = {execution.execution_id for execution in self.strangers} | self.taken_back.keys()
        return found | {activity.activity_id for activity in self.activities}


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing that changed the broker's books and not ours, and by how much."""

    cause: AdjustmentCause
    id: str
    amount: Decimal


def with_cause(
    discrepancy: Discrepancy,
    ours: Mapping[int, Holding],
    theirs: BrokerPosition | None,
    evidence: Evidence,
    *,
    cash_tolerance: Decimal,
) -> Discrepancy:
    """The discrepancy with its cause and what shows it; the cause stays unknown where nothing adds up to it.

    A split; somebody's trade at the broker; a fill that it took back (a correction); a dividend; a fee. Where
    several add up to the difference it is the one that moved most. `ours` is what each portfolio holds.
    """
    symbol = discrepancy.symbol
    if symbol is not None and theirs is not None and _is_split(ours, theirs):
        return replace(discrepancy, cause=AdjustmentCause.SPLIT)
    items = list(_moved_cash(evidence) if symbol is None else _moved_units(evidence, symbol))
    items = [item for item in items if item.amount and (symbol, item.id) not in evidence.settled]
    tolerance = cash_tolerance if symbol is None else ZERO
    for chosen in _choices(items):
        if abs(_sum(chosen) - discrepancy.difference) <= tolerance:
            cause = max(chosen, key=lambda item: abs(item.amount)).cause
            return replace(discrepancy, cause=cause, evidence=tuple(sorted(item.id for item in chosen)))
    return discrepancy


def _choices(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """What may belong to one difference: all, all of one cause, or a few."""
    if items:
        yield items
    for cause in AdjustmentCause:
        yield [item for item in items if item.cause is cause]
    if len(items) <= _ITEMS_COMBINED_MAX:
        for size in range(1, len(items)):
            yield from combinations(items, size)


def _sum(items: Iterable[_Item]) -> Decimal:
    return sum((item.amount for item in items), ZERO)


def _moved_units(evidence: Evidence, symbol: str) -> Iterator[_Item]:
    for e in evidence.strangers:
        if e.symbol == symbol:
            yield _Item(AdjustmentCause.MANUAL_TRADE, e.execution_id, e.side.sign * e.quantity)
    for name, fill in evidence.taken_back.items():
        if fill.symbol == symbol:
            yield _Item(AdjustmentCause.CORRECTION, name, -fill.side.sign * fill.quantity)


def _moved_cash(evidence: Evidence) -> Iterator[_Item]:
    for e in evidence.strangers:
        yield _Item(AdjustmentCause.MANUAL_TRADE, e.execution_id, _cash_effect(e))
    for name, fill in evidence.taken_back.items():
        yield _Item(AdjustmentCause.CORRECTION, name, -_cash_effect(fill))
    for activity in evidence.activities:
        yield _Item(activity.cause, activity.activity_id, activity.amount)


def repairs(discrepancy: Discrepancy, ours: Mapping[int, Holding], unit_cost: Decimal | None) -> list[Repair]:
    """What each portfolio's books change by; `ours` names every portfolio of the account.

    Added units come at `unit_cost`. A split moves no money: every holding, long or short, keeps what it cost,
    and its round trip goes on, as with a split that somebody entered.
    """
    held = {portfolio_id: quantity for portfolio_id, (quantity, _) in ours.items()}
    if discrepancy.cause is not AdjustmentCause.SPLIT:
        shares = allocate(discrepancy, held)
        return [Repair(portfolio_id, share, unit_cost) for portfolio_id, share in shares.items()]
    more = EXACT.divide(discrepancy.difference, discrepancy.ours)
    exact = {portfolio_id: EXACT.multiply(quantity, more) for portfolio_id, quantity in held.items()}
    return [
        Repair(portfolio_id, share, keeps_cost=True)
        for portfolio_id, share in parts(discrepancy.difference, exact).items()
        if share
    ]


def _is_split(ours: Mapping[int, Holding], theirs: BrokerPosition) -> bool:
    """Whether the quantities stand in a simple ratio and what was paid is the same."""
    quantity = sum((q for q, _ in ours.values()), ZERO)
    if quantity * theirs.quantity <= 0 or quantity == theirs.quantity:
        return False
    paid = sum((EXACT.multiply(q, cost) for q, cost in ours.values()), ZERO)
    paid_there = EXACT.multiply(theirs.quantity, theirs.average_entry_price)
    if paid == 0 or abs(paid_there - paid) > abs(EXACT.multiply(paid, _SAME_COST)):
        return False
    return _is_simple(EXACT.divide(theirs.quantity, quantity)) or _is_simple(
        EXACT.divide(quantity, theirs.quantity)
    )


def _is_simple(ratio: Decimal) -> bool:
    """2, 3, … for one, or 3, 5, … for two."""
    doubled = EXACT.multiply(ratio, Decimal(2))
    return 1 < ratio <= _SPLIT_RATIO_MAX and doubled == doubled.to_integral_value()


def _cash_effect(execution: Execution | Fill) -> Decimal:
    return product(-execution.side.sign * execution.quantity, execution.price) - execution.fee


def total(values: Sequence[Decimal | None]) -> Decimal | None:
    """The sum of their sizes; None where one of them is unknown."""
    known = [abs(value) for value in values if value is not None]
    return sum(known, ZERO) if len(known) == len(values) else None
