"""Faults on demand, between the network and the simulated vendor.

Each is named for what the client meets. "Before" is before the vendor acted on the request, "after" is when
it has: the client cannot tell the two apart.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Where the simulator itself is steered; no fault ever meets it.
CONTROL_PATH = "/simulator"
HTML = b"<html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"


class FaultKind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"  # the answer comes `seconds` late
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    STATUS_BEFORE = "status_before"  # answers `status` instead of acting
    STATUS_AFTER = "status_after"
    SLOW_BODY = "slow_body"  # the body takes `seconds`, a byte at a time
    CUT_BODY = "cut_body"  # half of the body, then a reset
    MALFORMED = "malformed"  # half of the JSON as if it were the whole
    HTML = "html"  # a page of something in between, with `status`, after acting
    UNSEEN = "unseen"  # the order is taken, and cannot be found for `reads` reads


@dataclass(slots=True)
class Fault:
    """Meets the next `times` requests (None: all) of a method and a path's beginning, with `probability`."""

    kind: FaultKind
    method: str | None = None
    path: str = "/"
    times: int | None = 1
    probability: float = 1.0
    status: int = 503
    seconds: float = 0.0
    reads: int = 2
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)  # it may come as a text

    def meets(self, method: str, path: str) -> bool:
        """Whether it is about such a request and not used up."""
        return self.times != 0 and path.startswith(self.path) and self.method in (None, method)


class FaultPlan:
    """The faults that are on, first come first; which requests they meet is drawn from `seed`."""

    def __init__(self, seed: int = 0) -> None:
        self.injected: Counter[str] = Counter()
        self.requests = 0
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 (a plan of faults, no secret)
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Switch faults on."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Switch all off."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that meets this request, counted."""
        with self._lock:
            self.requests += 1
            for fault in self._faults:
                if fault.meets(method, path) and self._random.random() < fault.probability:
                    if fault.times is not None:
                        fault.times -= 1
                    self.injected[fault.kind] += 1
                    return fault
        return None


class FaultInjection:
    """ASGI middleware; it must be the outermost, for it cuts the server's own connection."""

    def __init__(self, app: ASGIApp, plan: FaultPlan) -> None:
        self._app = app
        self._plan = plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PATH):
            await self._app(scope, receive, send)
            return
        fault = self._plan.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind is FaultKind.RESET_BEFORE:
            await receive()
            await _reset(send)
        elif fault.kind is FaultKind.STATUS_BEFORE:
            await receive()
            await _refuse(fault, send)
        else:
            await self._after(fault, scope, receive, send)

    async def _after(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["unseen_reads"] = fault.reads if fault.kind is FaultKind.UNSEEN else 0
        start, body = await self._answer(scope, receive)
        if fault.kind is FaultKind.LATENCY:
            await asyncio.sleep(fault.seconds)
        if fault.kind in (FaultKind.LATENCY, FaultKind.UNSEEN):
            await _send(send, start, body)
        elif fault.kind is FaultKind.RESET_AFTER:
            await _reset(send)
        elif fault.kind is FaultKind.STATUS_AFTER:
            await _refuse(fault, send)
        elif fault.kind is FaultKind.HTML:
            await _send(send, _start(fault.status, "text/html", len(HTML), fault.headers), HTML)
        elif fault.kind is FaultKind.MALFORMED:
            half = body[: len(body) // 2]
            await _send(send, _start(start["status"], "application/json", len(half), {}), half)
        else:
            await _send_in_parts(fault, start, body, send)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        """What the vendor would have answered."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


def _start(status: int, content_type: str, length: int, headers: dict[str, str]) -> Message:
    named = {"content-type": content_type, "content-length": str(length), **headers}
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
    }


async def _send(send: Send, start: Message, body: bytes) -> None:
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _refuse(fault: Fault, send: Send) -> None:
    code, message = (42910000, "rate limit exceeded") if fault.status == 429 else (50010000, "internal error")
    body = f'{{"code":{code},"message":"{message}"}}'.encode()
    await _send(send, _start(fault.status, "application/json", len(body), fault.headers), body)


async def _send_in_parts(fault: Fault, start: Message, body: bytes, send: Send) -> None:
    """The head and half of the body; then the rest byte by byte, or a reset."""
    await send(start)
    half = len(body) // 2
    await send({"type": "http.response.body", "body": body[:half], "more_body": True})
    if fault.kind is FaultKind.CUT_BODY:
        await _reset(send)
        return
    pause = fault.seconds / max(len(body) - half, 1)
    for at in range(half, len(body)):
        await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": body[at : at + 1], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _reset(send: Send) -> None:
    """Cut the connection with a TCP reset. ASGI knows no such thing: the transport is uvicorn's own."""
    transport: Any = send.__self__.transport  # type: ignore[attr-defined]
    if transport.is_closing():
        return  # the client is gone already
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0.01)  # uvicorn learns of it in its next turns
