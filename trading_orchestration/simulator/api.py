"""The few lines of HTTP that every simulated interface shares: keys, bodies, answers, refusals."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trading_orchestration.errors import BrokerError, DatabaseError, InvalidInputError
from trading_orchestration.simulator.market import Market


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its query, the parts of its path, its headers (lower case) and its JSON body, exact.

    An order that it makes stays out of sight for `unseen_reads` reads: a fault.
    """

    query: Mapping[str, str]
    path: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None
    unseen_reads: int = 0

    def flag(self, name: str) -> bool:
        """A boolean of the query; Python's clients write True."""
        return self.query.get(name, "").lower() == "true"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: JSON, or plain text."""

    status: int = 200
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A refusal in the vendor's words."""

    def __init__(self, status: int, body: Any = None, *, text: str | None = None) -> None:
        super().__init__(text or body)
        self.reply = Reply(status, body, text)


Handler = Callable[[Market, Call], Reply]
#: Looks at a call before its handler: raises ApiError, or gives headers for the answer.
Gate = Callable[[Call], Mapping[str, str]]


def route(market: Market, gate: Gate, path: str, **handlers: Handler) -> Route:
    """A path with a handler for each method, such as `get=…`."""
    by_method = {method.upper(): handler for method, handler in handlers.items()}

    async def endpoint(request: Request) -> Response:
        content = await request.body()
        return await run_in_threadpool(_answer, by_method[request.method], market, gate, request, content)

    return Route(path, endpoint, methods=list(by_method))


def _answer(handler: Handler, market: Market, gate: Gate, request: Request, content: bytes) -> Response:
    unseen_reads = getattr(request.state, "unseen_reads", 0)
    call = Call(
        dict(request.query_params), request.path_params, dict(request.headers), unseen_reads=unseen_reads
    )
    headers: Mapping[str, str] = {}
    try:
        headers = gate(call)
        call = replace(call, body=_parsed(content))
        with market.lock:
            reply = handler(market, call)
    except ApiError as error:
        reply = error.reply
    except (InvalidInputError, InvalidOperation, KeyError, TypeError, ValueError) as error:
        reply = Reply(422, {"code": 40010001, "message": f"a parameter is missing or malformed: {error!r}"})
    except (BrokerError, DatabaseError) as error:
        reply = Reply(500, {"code": 50010000, "message": f"internal server error occurred: {error}"})
    return _response(reply, headers)


def _parsed(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        raise ApiError(400, {"code": 40010000, "message": "request body format is invalid"}) from None


def _response(reply: Reply, headers: Mapping[str, str]) -> Response:
    together = {**headers, **reply.headers}
    if reply.text is not None:
        return Response(reply.text, reply.status, together, "text/plain; charset=utf-8")
    if reply.status == 204:
        return Response(status_code=204, headers=together)
    content = json.dumps(reply.body, separators=(",", ":"), allow_nan=False)
    return Response(content, reply.status, together, "application/json; charset=UTF-8")
