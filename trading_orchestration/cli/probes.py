"""Questions to the processes of a running system that only one which works can answer.

Each answers None, or a sentence about what is wrong; where it cannot tell, as without a database, it raises.
"""

import http.client
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.settings import Settings
from trading_orchestration.store import deliveries
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.wiring import system_clock

if TYPE_CHECKING:
    import dagster as dg

#: An answer takes milliseconds; a machine that is busy with the open may take a little longer.
ANSWER_S = 5.0
#: The notifier looks every second.
UNROUTED_MAX = timedelta(seconds=60)
_GRPC_SERVICE = "api.DagsterApi"
_RUN_ID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class CodeServer:
    """Dagster's code server on a loopback port."""

    port: int

    def fault(self) -> str | None:
        """Whether it lists what it has loaded."""
        try:
            answer = self._ask("ListRepositories")
        except _grpc().RpcError as error:
            return f"It does not list its repositories: {_status(error)}."
        return None if b"ListRepositoriesResponse" in answer else "It lists an error instead of repositories."

    def runs_at_work(self) -> int:
        """How many runs it has workers for; 0 where it does not answer."""
        try:
            return len(set(_RUN_ID.findall(self._ask("GetCurrentRuns"))))
        except _grpc().RpcError:
            return 0

    def _ask(self, method: str) -> bytes:
        """The bytes of the answer to a request without fields, which has no bytes."""
        with _grpc().insecure_channel(f"127.0.0.1:{self.port}") as channel:
            answer: bytes = channel.unary_unary(f"/{_GRPC_SERVICE}/{method}")(b"", timeout=ANSWER_S)
        return answer


def web_server_fault(port: int) -> str | None:
    """Whether the UI's server answers a GraphQL request through its guard."""
    body = json.dumps({"query": "{ version }"})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(10_000)
    except (OSError, http.client.HTTPException) as error:
        return f"It does not answer GraphQL: {_told(error)}."
    finally:
        connection.close()
    if answer.status != 200 or b'"version"' not in text:
        return f"It answers GraphQL with {answer.status}."
    return None


def stream_fault(port: int) -> str | None:
    """Whether the price stream takes a client."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        with connect(f"ws://127.0.0.1:{port}", open_timeout=ANSWER_S, close_timeout=ANSWER_S):
            return None
    except (OSError, WebSocketException) as error:
        return f"It takes no client: {_told(error)}."


def notifier_fault(engine: Engine, since: datetime) -> str | None:
    """Whether messages are looked at by a notifier that began at an instant (UTC)."""
    now = system_clock()
    if now - since < UNROUTED_MAX:
        return None
    with transaction(engine) as connection:
        unrouted = deliveries.stuck(connection, before=now - UNROUTED_MAX).unrouted
    return f"Nobody has looked at {unrouted} messages." if unrouted else None


@dataclass(slots=True)
class DaemonWork:
    """What the daemon leaves in Dagster's storage, looked at through one instance."""

    settings: Settings
    calendar: Callable[[], MarketCalendar]
    _instance: "dg.DagsterInstance | None" = field(default=None, init=False)

    def fault(self, since: datetime) -> str | None:
        """Whether everything ticked that should have, since the daemon began (UTC)."""
        from trading_orchestration.orchestration.tick_watch import late_work

        if self._instance is None:
            self._instance = open_instance(self.settings)
        late = late_work(self._instance, self.calendar(), now=system_clock(), since=since)
        return " ".join(late) or None


def open_instance(settings: Settings) -> "dg.DagsterInstance":
    """Dagster's instance of this installation, whatever DAGSTER_HOME says."""
    import dagster as dg

    return dg.DagsterInstance.from_config(str(settings.home / "dagster"))


def _grpc() -> Any:
    # Children are started with fork, and gRPC has nothing to do in them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import grpc

    return grpc


def _status(error: Any) -> str:
    return str(error.code().name).lower().replace("_", " ")


def _told(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
