"""Why our books and the broker's differ, where it can be known, and what repairs them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from trading_orchestration.brokers.broker import BrokerPosition, Execution
from trading_orchestration.domain.money import EXACT, ZERO, product, rounded
from trading_orchestration.domain.reconciliation import AdjustmentCause, Discrepancy, allocate
from trading_orchestration.store.ledger import Repair

#: A split leaves what was paid as it was, up to the broker's rounding of the average price.
_SAME_COST = Decimal("0.001")
_SPLIT_RATIO_MAX = 100

Holding = tuple[Decimal, Decimal]  # quantity, average cost


def with_cause(
    discrepancy: Discrepancy,
    ours: Mapping[int, Holding],
    theirs: BrokerPosition | None,
    strangers: Iterable[Execution],
    *,
    cash_tolerance: Decimal,
) -> Discrepancy:
    """The discrepancy with its cause: a split, somebody's trade at the broker, or unknown.

    `ours` is what each portfolio holds of the symbol, `strangers` the executions that no trade of ours
    asked for.
    """
    if discrepancy.symbol is None:
        moved = sum((_cash_effect(e) for e in strangers), ZERO)
        is_manual = moved != 0 and abs(moved - discrepancy.difference) <= cash_tolerance
    else:
        if theirs is not None and _is_split(ours, theirs):
            return replace(discrepancy, cause=AdjustmentCause.SPLIT)
        of_symbol = [e for e in strangers if e.symbol == discrepancy.symbol]
        is_manual = discrepancy.difference == sum((e.side.sign * e.quantity for e in of_symbol), ZERO)
    return replace(discrepancy, cause=AdjustmentCause.MANUAL_TRADE) if is_manual else discrepancy


def repairs(discrepancy: Discrepancy, ours: Mapping[int, Holding], unit_cost: Decimal | None) -> list[Repair]:
    """What each portfolio's books change by; `ours` names every portfolio of the account.

    Added units come at `unit_cost`. A split moves no money: what is held keeps what it cost.
    """
    shares = allocate(discrepancy, {portfolio_id: quantity for portfolio_id, (quantity, _) in ours.items()})
    if discrepancy.cause is not AdjustmentCause.SPLIT:
        return [Repair(portfolio_id, share, unit_cost) for portfolio_id, share in shares.items()]
    found: list[Repair] = []
    for portfolio_id, share in shares.items():
        quantity, average_cost = ours[portfolio_id]
        after = quantity + share
        if quantity == 0 or after == 0:
            found.append(Repair(portfolio_id, share, unit_cost))
            continue
        cost = rounded(EXACT.divide(EXACT.multiply(quantity, average_cost), after))
        found += [Repair(portfolio_id, -quantity), Repair(portfolio_id, after, cost)]
    return found


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


def _cash_effect(execution: Execution) -> Decimal:
    return product(-execution.side.sign * execution.quantity, execution.price) - execution.fee


def total(values: Sequence[Decimal | None]) -> Decimal | None:
    """The sum of their sizes; None where one of them is unknown."""
    known = [abs(value) for value in values if value is not None]
    return sum(known, ZERO) if len(known) == len(values) else None
