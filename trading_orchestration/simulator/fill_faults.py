"""What can be wrong with the fills that a broker reports: missing, twice, in another order, taken back."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from trading_orchestration.brokers.broker import BrokerAccount, BrokerPosition, Execution
from trading_orchestration.domain.money import ZERO, product


@dataclass(slots=True)
class FillFaults:
    """Changes what is reported, never what happened; a bust changes what is held and owned, too.

    `missing` is how many of the next fills stay unreported until `show_missing`. `is_doubled` reports each
    twice, `is_shuffled` in an order drawn by `seed`.
    """

    missing: int = 0
    is_doubled: bool = False
    is_shuffled: bool = False
    seed: int = 0
    _known: set[str] = field(default_factory=set)
    _hidden: set[str] = field(default_factory=set)
    _busted: dict[str, Execution] = field(default_factory=dict)

    def hide_next(self, count: int, *, known: Sequence[Execution]) -> None:
        """Let the next `count` fills after the known ones stay unreported."""
        self._known = {execution.execution_id for execution in known}
        self.missing = count

    def show_missing(self) -> None:
        """Report from now on what stayed unreported."""
        self.missing = 0
        self._hidden.clear()

    def bust(self, execution: Execution) -> None:
        """Take a fill back, as an exchange does with an erroneous trade."""
        self._busted[execution.execution_id] = execution

    def busted_ids(self) -> frozenset[str]:
        """The fills that were taken back."""
        return frozenset(self._busted)

    def reported(self, executions: Sequence[Execution]) -> list[Execution]:
        """What a client is told, oldest first unless shuffled."""
        for execution in executions:
            if self.missing and execution.execution_id not in self._known | self._hidden:
                self._hidden.add(execution.execution_id)
                self.missing -= 1
        unreported = self._hidden | self._busted.keys()
        told = [execution for execution in executions if execution.execution_id not in unreported]
        if self.is_doubled:
            told = [execution for execution in told for _ in range(2)]
        if self.is_shuffled:
            random.Random(self.seed).shuffle(told)  # noqa: S311 (a test's order, no secret)
        return told

    def busted_of(self, order_id: str) -> Decimal:
        """How much of an order's fills was taken back."""
        return sum((e.quantity for e in self._busted.values() if e.broker_order_id == order_id), ZERO)

    def taken(self) -> dict[str, Decimal]:
        """What was taken back of each symbol, negative where it had been sold."""
        taken = defaultdict[str, Decimal](Decimal)
        for execution in self._busted.values():
            taken[execution.symbol] += execution.side.sign * execution.quantity
        return taken

    def positions(self, positions: Sequence[BrokerPosition]) -> list[BrokerPosition]:
        """What is held, without what was taken back."""
        taken = self.taken()
        held = {position.symbol: position for position in positions}
        costs = {execution.symbol: execution.price for execution in self._busted.values()}
        left = [
            BrokerPosition(
                symbol=symbol,
                quantity=(held[symbol].quantity if symbol in held else ZERO) - taken.get(symbol, ZERO),
                average_entry_price=held[symbol].average_entry_price if symbol in held else costs[symbol],
            )
            for symbol in sorted(held.keys() | taken.keys())
        ]
        return [position for position in left if position.quantity]

    def cash(self, account: BrokerAccount) -> Decimal:
        """The cash, with what was paid for busted fills given back."""
        return account.cash + sum(
            (e.side.sign * product(e.quantity, e.price) + e.fee for e in self._busted.values()), ZERO
        )
