"""Alpaca's `trade_updates`: a websocket that tells what becomes of orders, in binary frames as on paper.

Nothing is told again after a reconnect: a client that was away has to ask by REST.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from trading_orchestration.brokers.broker import Execution
from trading_orchestration.domain.money import ZERO, plain
from trading_orchestration.simulator.alpaca_formats import execution_uuid, made_uuid, order_row, stamp
from trading_orchestration.simulator.market import Market, OrderView

#: Statuses that are an event of their own; fills are events by execution.
_TOLD_STATUSES = frozenset({"pending_cancel", "canceled", "expired", "rejected", "replaced"})


@dataclass(slots=True)
class _Listener:
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    def tell(self, message: dict[str, Any]) -> None:
        self.loop.call_soon_threadsafe(self.queue.put_nowait, message)


class TradeUpdates:
    """Compares the market with what was told, after everything that may have changed it."""

    def __init__(self, market: Market, key_id: str, secret_key: str) -> None:
        self._market = market
        self._keys = (key_id, secret_key)
        self._listeners: list[_Listener] = []
        self._words: dict[str, str] = {}
        self._told: dict[str, Execution] = {}
        market.listeners.append(self.publish)

    @property
    def listener_count(self) -> int:
        """How many clients are told."""
        return len(self._listeners)

    async def serve(self, socket: WebSocket) -> None:
        """One client, from its authentication to its going away."""
        await socket.accept()
        try:
            if not await self._authenticate(socket):
                return
            while "trade_updates" not in (await _receive(socket)).get("data", {}).get("streams", ()):
                continue
            listener = self._listen()
            try:
                await _send(socket, "listening", {"streams": ["trade_updates"]})
                await _until_first(self._forward(socket, listener), _until_closed(socket))
            finally:
                self._listeners.remove(listener)
        except WebSocketDisconnect:
            return

    async def _authenticate(self, socket: WebSocket) -> bool:
        asked = await _receive(socket)
        data = asked.get("data") or {"key_id": asked.get("key"), "secret_key": asked.get("secret")}
        is_authorized = (data.get("key_id"), data.get("secret_key")) == self._keys
        status = "authorized" if is_authorized else "unauthorized"
        await _send(socket, "authorization", {"status": status, "action": "authenticate"})
        return is_authorized

    def _listen(self) -> _Listener:
        listener = _Listener(asyncio.get_running_loop())
        with self._market.lock:
            if not self._listeners:
                self._words = {view.order.broker_order_id: view.word for view in self._market.all_orders()}
                self._told = {e.execution_id: e for e in self._market.executions()}
            self._listeners.append(listener)
        return listener

    async def _forward(self, socket: WebSocket, listener: _Listener) -> None:
        while True:
            await _send(socket, "trade_updates", await listener.queue.get())

    def publish(self) -> None:
        """Tell the listeners what has changed since the last time."""
        with self._market.lock:
            if not self._listeners:
                return
            events = self._changes()
        for event in events:
            for listener in list(self._listeners):
                listener.tell(event)

    def _changes(self) -> list[dict[str, Any]]:
        views = {view.order.broker_order_id: view for view in self._market.all_orders()}
        arrived = [view for order_id, view in views.items() if order_id not in self._words]
        changed = [
            view
            for order_id, view in views.items()
            if view.word != self._words.get(order_id) and view.word in _TOLD_STATUSES
        ]
        events = [self._event(_arrival_word(view), view) for view in arrived]
        events += self._fill_events(views)
        events += [self._event(view.word, view) for view in changed]
        self._words = {order_id: view.word for order_id, view in views.items()}
        return events

    def _fill_events(self, views: dict[str, OrderView]) -> list[dict[str, Any]]:
        reported = self._market.reported_executions()
        events = [
            self._fill_event("fill", execution, views[execution.broker_order_id])
            for execution in reported
            if execution.execution_id not in self._told
        ]
        busted = self._market.fill_faults.busted_ids() & self._told.keys()
        for execution_id in sorted(busted):
            execution = self._told.pop(execution_id)
            events.append(self._fill_event("trade_bust", execution, views[execution.broker_order_id]))
        self._told |= {execution.execution_id: execution for execution in reported}
        return events

    def _fill_event(self, event: str, execution: Execution, view: OrderView) -> dict[str, Any]:
        is_partial = execution.cumulative_quantity < view.order.terms.quantity
        held = [p.quantity for p in self._market.positions() if p.symbol == execution.symbol]
        return self._event("partial_fill" if event == "fill" and is_partial else event, view) | {
            "execution_id": execution_uuid(execution),
            "timestamp": stamp(execution.executed_at),
            "price": plain(execution.price),
            "qty": plain(execution.quantity),
            "position_qty": plain(sum(held, ZERO)),
        }

    def _event(self, event: str, view: OrderView) -> dict[str, Any]:
        return {
            "event": event,
            "execution_id": made_uuid("event", event, view.order.broker_order_id),
            "timestamp": stamp(self._market.clock()),
            "order": order_row(view),
        }


def _arrival_word(view: OrderView) -> str:
    return "accepted" if view.word == "accepted" else "new"


async def _receive(socket: WebSocket) -> dict[str, Any]:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    try:
        parsed = json.loads(message.get("text") or message.get("bytes") or b"")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


async def _send(socket: WebSocket, stream: str, data: dict[str, Any]) -> None:
    await socket.send_bytes(json.dumps({"stream": stream, "data": data}).encode())


async def _until_closed(socket: WebSocket) -> None:
    while True:
        await _receive(socket)


async def _until_first(*coroutines: Any) -> None:
    """Run them together until one ends; the others are cancelled and its error raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
