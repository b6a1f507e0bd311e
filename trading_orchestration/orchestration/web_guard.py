"""A guard before Dagster's web server, which has no login and takes any Host and any cross-site launch.

It lets through what the UI itself sends: requests that name an allowed host and, where a browser says where
they come from, an allowed origin; POSTs of JSON only; no GraphQL by GET, so that no link can launch a run.
No page of another site may show the UI in a frame, to borrow a click on it.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = frozenset({"GET", "HEAD"})
_POLICY_VIOLATION = 1008
_DECISIVE = ("host", "origin", "content-type", "sec-fetch-site")


@dataclass(frozen=True, slots=True)
class WebGuard:
    """An ASGI application that refuses what the UI would not send and passes on the rest.

    `hosts` are the allowed values of the Host header, with their ports, in lower case.
    """

    app: App
    hosts: Collection[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket, or refuse it with 403 and one sentence."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = self._why_refused(scope)
        if reason is None:
            await self.app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason[:100]})
        else:
            await _refuse(send, reason)

    def _why_refused(self, scope: Scope) -> str | None:
        headers = _headers(scope)
        if headers is None:
            return "A request names its host and its origin once."
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return f"The host '{host}' is not one this server answers to; TRADING_UI_HOSTS names more."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self.hosts:
            return f"Requests from {origin} are refused."
        if origin is None and headers.get("sec-fetch-site") == "cross-site" and not _is_navigation(headers):
            return "Cross-site requests are refused."
        return None if scope["type"] == "websocket" else _why_method_refused(scope, headers)


def _why_method_refused(scope: Scope, headers: dict[str, str]) -> str | None:
    method = scope["method"]
    if method in _READING:
        is_graphql = scope["path"].rstrip("/").endswith("/graphql")
        if is_graphql and "query" in parse_qs(scope.get("query_string", b"").decode("latin-1")):
            return "GraphQL is answered to POST only."
        return None
    if method != "POST":
        return f"{method} is refused."
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return f"A POST of '{content_type}' is refused; send application/json."
    return None


def _is_navigation(headers: dict[str, str]) -> bool:
    """A person who follows a link from another site to a page of the UI."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _headers(scope: Scope) -> dict[str, str] | None:
    """The headers by lower-case name; None where one that decides is there twice."""
    given = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    names = [name for name, _ in given]
    if any(names.count(name) > 1 for name in _DECISIVE):
        return None
    return dict(given)


def _unframed(send: Send) -> Send:
    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"x-frame-options", b"DENY")]
        await send(message)

    return send_unframed


async def _refuse(send: Send, reason: str) -> None:
    body = reason.encode()
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
