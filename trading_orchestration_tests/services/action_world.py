"""Corporate actions in a small installation: entered as a person does, applied as the jobs do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.services.action_entry import Entered, enter_action, withdraw_action
from trading_orchestration.services.corporate_actions import apply_due_actions
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration_tests.services.trading_world import AAPL, LIMITS, TradingWorld

#: The session after the one in which a world starts; it opens at 13:30 UTC, its midnight is 04:00 UTC.
NEXT = date(2024, 7, 3)


class ActionWorld(TradingWorld):
    """A `TradingWorld` whose paper market goes through corporate actions too."""

    def __init__(self, engine: sa.Engine, *names: str, **options: Any) -> None:
        limits = replace(LIMITS, max_position_pct=Decimal(1))
        super().__init__(engine, *names, **{"limits": limits, **options})
        #: Whether the broker's side goes through actions, as the paper broker does.
        self.moves_market = True

    def hold(self, quantity: str | int, price: str | int = 100, *, portfolio: str | None = None) -> None:
        """Buy AAPL now at a price."""
        self.set_price(AAPL, str(price))
        self.count_as_compared(self.now)
        self.intend(quantity=quantity, portfolio=portfolio, reserved=90_000)
        self.send()
        self.check()

    def enter(self, kind: ActionKind = ActionKind.SPLIT, symbol: str = AAPL, **terms: Any) -> Entered:
        new = NewAction(kind=kind, symbol=symbol, on=terms.pop("on", NEXT), **terms)
        return enter_action(self.begin, new, calendar=self.calendar, source="test", actor="tester")

    def split(self, new_units: str | int, old_units: str | int = 1, **terms: Any) -> Entered:
        return self.enter(ratio=(Decimal(new_units), Decimal(old_units)), **terms)

    def apply(self) -> list[RecordedAction]:
        """What every job does first."""
        return apply_due_actions(self.begin, self.now, self._market)

    def withdraw(self, action_id: int, reason: str = "wrong") -> None:
        withdrawn = withdraw_action(self.begin, action_id, actor="tester", reason=reason, at=self.now)
        self.paper.withdraw_action(withdrawn)

    def next_open(self) -> None:
        self.now = self.calendar.session(NEXT).opens_at

    def worth(self, price: str | Decimal, portfolio: str | None = None) -> Decimal:
        """Cash and AAPL at a price."""
        held = Decimal(self.held().get((portfolio or self.name, AAPL), 0))
        return self.cash(portfolio) + held * Decimal(price)

    def positions(self) -> list[tuple[str, Any, Any]]:
        """Symbol, quantity and average cost of everything held."""
        rows = self.rows(
            "SELECT symbol, quantity, average_cost FROM positions WHERE quantity <> 0 "
            "ORDER BY portfolio_id, symbol"
        )
        return [(row["symbol"], row["quantity"], row["average_cost"]) for row in rows]

    def entries(self) -> list[tuple[Any, ...]]:
        """What actions booked: symbol, quantity, cash, cause and instant."""
        rows = self.rows(
            "SELECT symbol, quantity, cash_amount, cause, occurred_at FROM adjustments "
            "WHERE corporate_action_id IS NOT NULL ORDER BY id"
        )
        return [tuple(row.values()) for row in rows]

    def _market(self, actions: Sequence[RecordedAction], at: datetime) -> None:
        if self.moves_market:
            self.paper.apply_actions(actions, at=at)
