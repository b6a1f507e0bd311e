"""Our books beside the broker's: where they differ, and how a repair is split over portfolios."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading_orchestration.domain.money import EXACT, QUANTUM, ZERO, rounded, truncated
from trading_orchestration.errors import LedgerError


class AdjustmentCause(StrEnum):
    """Why our books had to be repaired."""

    FILL_MISSED = "fill_missed"
    MANUAL_TRADE = "manual_trade"
    SPLIT = "split"
    DIVIDEND = "dividend"
    SYMBOL_CHANGE = "symbol_change"
    DELISTING = "delisting"
    FEE = "fee"
    CORRECTION = "correction"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One difference between the books. `symbol` None is cash; `difference` is brokers − ours.

    `evidence` names what explains it at the broker, by the broker's ids of executions and activities.
    """

    symbol: str | None
    ours: Decimal
    brokers: Decimal
    difference: Decimal
    cause: AdjustmentCause = AdjustmentCause.UNKNOWN
    evidence: tuple[str, ...] = ()


def compare_positions(
    ours: Mapping[str, Decimal], brokers: Mapping[str, Decimal], *, skip: Collection[str]
) -> list[Discrepancy]:
    """Every symbol whose quantity differs, by symbol; one that is missing on a side is flat there.

    `ours` is the sum over all portfolios of the account. `skip` names symbols that are moving just now.
    """
    found = (
        _discrepancy(symbol, ours.get(symbol, ZERO), brokers.get(symbol, ZERO))
        for symbol in sorted((ours.keys() | brokers.keys()) - set(skip))
    )
    return [discrepancy for discrepancy in found if discrepancy.difference != 0]


def compare_cash(ours: Decimal, brokers: Decimal, tolerance: Decimal) -> Discrepancy | None:
    """The difference in cash, or None where it is within the tolerance (inclusive)."""
    found = _discrepancy(None, ours, brokers)
    return found if abs(found.difference) > tolerance else None


def allocate(discrepancy: Discrepancy, holders: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """Split a difference over the portfolios of an account, in proportion to what each holds.

    `holders` maps every portfolio of the account to its quantity (or cash), 0 included. Shares are exact to
    1e-9 and add up to the difference; what division leaves over goes out in steps of 1e-9 to the largest
    holders, the smallest id first among equals, so that a reduction never takes more than a portfolio has.
    Where nobody holds anything, the portfolio with the smallest id takes all. Empty shares are left out.
    Raises LedgerError without portfolios.
    """
    if not holders:
        raise LedgerError(f"A difference of {discrepancy.difference} has no portfolio that could take it.")
    weights = _weights(discrepancy, holders) or {min(holders): QUANTUM}
    shares = _truncated_shares(discrepancy.difference, weights)
    left = discrepancy.difference - sum(shares.values(), ZERO)
    step = QUANTUM.copy_sign(left)
    for portfolio_id in sorted(weights, key=lambda i: (-weights[i], i))[: int(left / step)]:
        shares[portfolio_id] += step
    return {portfolio_id: share for portfolio_id, share in shares.items() if share != 0}


def _weights(discrepancy: Discrepancy, holders: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """What each holder counts for: its size, long or short.

    With longs and shorts in one symbol those that the difference makes smaller take it, if they can: units
    go at the average cost, but units that come need a cost which the broker's flat position does not tell.
    """
    sizes = {i: abs(quantity) for i, quantity in holders.items() if quantity != 0}
    shrinking = {i: size for i, size in sizes.items() if holders[i] * discrepancy.difference < 0}
    can_take_it = sum(shrinking.values(), ZERO) >= abs(discrepancy.difference)
    return shrinking if discrepancy.symbol is not None and can_take_it else sizes


def _discrepancy(symbol: str | None, ours: Decimal, brokers: Decimal) -> Discrepancy:
    ours, brokers = rounded(ours), rounded(brokers)
    return Discrepancy(symbol=symbol, ours=ours, brokers=brokers, difference=brokers - ours)


def _truncated_shares(amount: Decimal, weights: Mapping[int, Decimal]) -> dict[int, Decimal]:
    total = sum(weights.values(), ZERO)
    return {
        key: truncated(EXACT.divide(EXACT.multiply(amount, weight), total)) for key, weight in weights.items()
    }
