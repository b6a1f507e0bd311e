"""A broker that does what the paper broker does, and answers as a bad network would."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any, TypeVar

from trading_orchestration.brokers.broker import (
    Broker,
    BrokerAccount,
    BrokerOrder,
    BrokerPosition,
    CashActivity,
    Execution,
    OrderStatus,
)
from trading_orchestration.domain.trade import OrderTerms
from trading_orchestration.errors import BrokerRefusedError, BrokerUnavailableError, BrokerUnknownError

Told = TypeVar("Told", BrokerOrder, Execution)


class ScriptedBroker:
    """Wraps a broker. Each fault is a list of what the next calls do; an empty list is a good day.

    `submit_faults`: "lost" never arrives, "accepted" arrives and its answer does not, "down" is known not to
    have left, "refused" is a definite no, None is a good answer.
    """

    def __init__(self, inner: Broker, seed: int = 0) -> None:
        self.inner = inner
        self.random = Random(seed)
        self.submit_faults: list[str | None] = []
        self.sent: list[str] = []
        self.asked_for: list[str] = []
        self.cancelled: list[str] = []
        #: What the broker has and does not show, by client order id or execution id.
        self.hidden: set[str] = set()
        #: Chance that one execution is left out of an answer; lists come in any order, some of it twice.
        self.chaos = 0.0
        #: Chance that one order is left out of an answer, or told as it was some time ago.
        self.order_chaos = 0.0
        self.told: dict[str, BrokerOrder] = {}
        self.is_down = False
        self.positions: Sequence[BrokerPosition] | None = None
        self.account: Callable[[BrokerAccount], BrokerAccount] = lambda account: account
        self.order: Callable[[BrokerOrder], BrokerOrder] = lambda order: order
        self.more_executions: list[Execution] = []
        self.more_orders: list[BrokerOrder] = []
        self.cash_activities: list[CashActivity] = []
        self.unfamiliar_words: list[str] = []
        self.before_post: Callable[[], object] = lambda: None

    def submit_order(self, client_order_id: str, terms: OrderTerms) -> BrokerOrder:
        self._answer()
        self.before_post()
        fault = self.submit_faults.pop(0) if self.submit_faults else None
        if fault == "lost":
            raise BrokerUnknownError("The connection was reset.")
        if fault == "down":
            raise BrokerUnavailableError("The connection was refused.")
        if fault == "refused":
            raise BrokerRefusedError("insufficient buying power")
        self.sent.append(client_order_id)
        order = self.inner.submit_order(client_order_id, terms)
        if fault == "accepted":
            raise BrokerUnknownError("The answer never came.")
        return order

    def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        self._answer()
        return self._shown(self._found(broker_order_id, "broker_order_id"))

    def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        self._answer()
        self.asked_for.append(client_order_id)
        return self._shown(self._found(client_order_id, "client_order_id"))

    def list_open_orders(self) -> Sequence[BrokerOrder]:
        self._answer()
        found = [self._shown(o) for o in [*self.inner.list_open_orders(), *self.more_orders]]
        closed = {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REPLACED}
        return self._as_told([o for o in found if o is not None and o.status not in closed])

    def list_orders(self, *, after: datetime) -> Sequence[BrokerOrder]:
        self._answer()
        listed = [*self.inner.list_orders(after=after), *self.more_orders]
        return self._as_told([o for o in map(self._shown, listed) if o is not None])

    def list_executions(self, *, after: datetime) -> Sequence[Execution]:
        self._answer()
        found = [*self.inner.list_executions(after=after), *self.more_executions]
        found = [e for e in found if e.execution_id not in self.hidden and e.executed_at > after]
        return self._as_told([e for e in found if self.random.random() >= self.chaos])

    def cancel_order(self, broker_order_id: str) -> None:
        self._answer()
        self.cancelled.append(broker_order_id)
        self.inner.cancel_order(broker_order_id)

    def get_positions(self) -> Sequence[BrokerPosition]:
        self._answer()
        return self.inner.get_positions() if self.positions is None else self.positions

    def get_account(self) -> BrokerAccount:
        self._answer()
        return self.account(self.inner.get_account())

    def get_clock(self) -> Any:
        return self.inner.get_clock()

    def get_calendar(self, **dates: Any) -> Any:
        return self.inner.get_calendar(**dates)

    def list_cash_activities(self, *, after: datetime) -> Sequence[CashActivity]:
        del after
        self._answer()
        return self.cash_activities

    def unfamiliar(self) -> Sequence[str]:
        return self.unfamiliar_words

    def _answer(self) -> None:
        if self.is_down:
            raise BrokerUnavailableError("The broker does not answer.")

    def _found(self, identity: str, name: str) -> BrokerOrder | None:
        for order in self.more_orders:
            if getattr(order, name) == identity:
                return order
        return (
            self.inner.get_order(identity)
            if name == "broker_order_id"
            else self.inner.get_order_by_client_id(identity)
        )

    def _shown(self, order: BrokerOrder | None) -> BrokerOrder | None:
        if order is None or order.client_order_id in self.hidden:
            return None
        if not self.order_chaos:
            return self.order(order)
        before = self.told.setdefault(order.broker_order_id, order)
        fate = self.random.random() / self.order_chaos
        if fate < 0.5:
            return None
        if fate < 1:
            return self.order(before)
        self.told[order.broker_order_id] = order
        return self.order(order)

    def _as_told(self, rows: list[Told]) -> list[Told]:
        """Some twice, in any order."""
        if self.chaos:
            rows = rows + [row for row in rows if self.random.random() < self.chaos]
            self.random.shuffle(rows)
        return rows


def hiding(broker: ScriptedBroker, ids: Collection[str]) -> None:
    """Let the broker keep these to itself from now on, and show all others."""
    broker.hidden = set(ids)


def with_status(status: OrderStatus, word: str) -> Callable[[BrokerOrder], BrokerOrder]:
    """Every order is shown with another status."""
    return lambda order: replace(order, status=status, vendor_status=word)
