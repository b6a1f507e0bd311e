"""A portfolio's ledger, followed from one instant to the next: what it held and had at each.

    fold = PortfolioFold({"AAPL": entries}, [(at, Decimal("10000"))])
    fold.advance(first_close)
    fold.cash, fold.held
    fold.advance(next_close)

One pass, however many instants are asked for. The same ledger gives the same at an instant, whichever were
asked for before it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, apply_fill
from trading_orchestration.domain.trade import Fill
from trading_orchestration.errors import LedgerError


class PortfolioFold:
    """The books of one portfolio as of an instant, which only moves forwards.

    `entries` are those of each symbol in the order in which they count, `cash_amounts` what moved cash in
    the order in which it did (UTC instants).
    """

    def __init__(
        self,
        entries: Mapping[str, Sequence[Fill | Adjustment]],
        cash_amounts: Sequence[tuple[datetime, Decimal]],
    ) -> None:
        # Sorting keeps the order of what is of one instant, which is that of its symbol.
        self._entries = sorted(
            ((instant_of(entry), entry) for of_symbol in entries.values() for entry in of_symbol),
            key=lambda at_and_entry: at_and_entry[0],
        )
        self._cash_amounts = cash_amounts
        self._next_entry = self._next_amount = 0
        self._at: datetime | None = None
        self._positions: dict[str, Position] = {}
        #: The cash after everything up to the instant.
        self.cash = ZERO
        #: What is held then, by symbol; flat positions are left out.
        self.held: Sequence[Position] = ()

    def advance(self, until: datetime) -> None:
        """Take in everything up to an instant (inclusive).

        Raises LedgerError for an instant before the last one, and as `apply_fill` and `apply_adjustment`.
        """
        if self._at is not None and until < self._at:
            raise LedgerError(
                f"The ledger was followed to {self._at.isoformat()}; {until.isoformat()} is before that."
            )
        self._at = until
        while self._next_amount < len(self._cash_amounts):
            at, amount = self._cash_amounts[self._next_amount]
            if at > until:
                break
            self.cash += amount
            self._next_amount += 1
        first = self._next_entry
        while self._next_entry < len(self._entries) and self._entries[self._next_entry][0] <= until:
            self._apply(self._entries[self._next_entry][1])
            self._next_entry += 1
        if self._next_entry > first:
            self.held = tuple(
                self._positions[symbol]
                for symbol in sorted(self._positions)
                if not self._positions[symbol].is_flat
            )

    def _apply(self, entry: Fill | Adjustment) -> None:
        position = self._positions.get(entry.symbol) or Position(entry.symbol)
        self._positions[entry.symbol] = (
            apply_fill(position, entry) if isinstance(entry, Fill) else apply_adjustment(position, entry)
        )


def instant_of(entry: Fill | Adjustment) -> datetime:
    """When an entry counts from (UTC)."""
    return entry.executed_at if isinstance(entry, Fill) else entry.occurred_at
