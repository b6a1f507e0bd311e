"""One server on loopback that speaks Alpaca's trading and data interfaces, its websocket, and FMP's.

with running(market) as simulator:
    simulator.url, simulator.keys, simulator.faults, simulator.market
"""

import asyncio
import logging
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp

from trading_orchestration.errors import BrokerError, DatabaseError, SettingsError
from trading_orchestration.simulator import (
    alpaca_account,
    alpaca_actions,
    alpaca_data,
    alpaca_orders,
    control,
    fmp,
)
from trading_orchestration.simulator.alpaca_formats import error_body
from trading_orchestration.simulator.alpaca_history import equity_history
from trading_orchestration.simulator.api import ApiError, Call, Gate, route
from trading_orchestration.simulator.faults import FaultInjection, FaultPlan
from trading_orchestration.simulator.fmp_actions import ActionLists
from trading_orchestration.simulator.market import Market
from trading_orchestration.simulator.trade_updates import TradeUpdates

#: Seconds between two looks at whether the market's prices meet resting orders.
PULSE_S = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SimulatorKeys:
    """What clients must show. They guard nothing, and are not secret."""

    key_id: str = "PKSIMULATOR00000"
    secret_key: str = "simulator-secret-key"  # noqa: S105 (guards nothing)
    fmp_key: str = "simulator-fmp-key"


@dataclass(slots=True)
class RequestBudget:
    """Alpaca's count of requests: so many in each minute of the real clock; None counts nothing."""

    per_minute: int | None = None
    _minute: int = 0
    _used: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self) -> Mapping[str, str]:
        """Count one request, and tell in headers what is left; raises ApiError when nothing is."""
        if self.per_minute is None:
            return {}
        with self._lock:
            now = time.time()  # noqa: TID251 (a client's budget is real time, whatever the market's is)
            if int(now // 60) != self._minute:
                self._minute, self._used = int(now // 60), 0
            self._used += 1
            left = self.per_minute - self._used
        if left < 0:
            raise ApiError(429, error_body(42910000, "rate limit exceeded"))
        return {
            "X-RateLimit-Limit": str(self.per_minute),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str((self._minute + 1) * 60),
        }


@dataclass(slots=True)
class Simulator:
    """A running server and what steers it."""

    market: Market
    keys: SimulatorKeys = field(default_factory=SimulatorKeys)
    faults: FaultPlan = field(default_factory=FaultPlan)
    budget: RequestBudget = field(default_factory=RequestBudget)
    fmp_plan: fmp.Plan = field(init=False)
    updates: TradeUpdates = field(init=False)
    url: str = ""

    def __post_init__(self) -> None:
        self.fmp_plan = fmp.Plan(self.keys.fmp_key)
        self.updates = TradeUpdates(self.market, self.keys.key_id, self.keys.secret_key)

    def app(self, *, pulse_s: float | None = PULSE_S) -> ASGIApp:
        """The ASGI application; with `pulse_s`, prices meet resting orders by themselves."""
        routes = [
            *_alpaca_routes(self.market, self._admit),
            *_fmp_routes(self.market, self.fmp_plan),
            *_control_routes(self.market, self.faults),
            WebSocketRoute("/stream", self.updates.serve),
        ]

        @asynccontextmanager
        async def pulsing(_: Starlette) -> AsyncIterator[None]:
            task = asyncio.create_task(_pulse(self.market, pulse_s)) if pulse_s else None
            yield
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        return FaultInjection(Starlette(routes=routes, lifespan=pulsing), self.faults)

    def _admit(self, call: Call) -> Mapping[str, str]:
        shown = (call.headers.get("apca-api-key-id"), call.headers.get("apca-api-secret-key"))
        if shown != (self.keys.key_id, self.keys.secret_key):
            raise ApiError(401, error_body(40110000, "request is not authorized"))
        return self.budget.spend()


async def _pulse(market: Market, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await run_in_threadpool(market.pulse)
        except (BrokerError, DatabaseError) as error:
            _log.warning("The market stood still for a moment: %s", error)


def _alpaca_routes(market: Market, gate: Gate) -> list[BaseRoute]:
    at, orders, account, data = partial(route, market, gate), alpaca_orders, alpaca_account, alpaca_data
    return [
        at("/v2/orders", get=orders.list_orders, post=orders.submit, delete=orders.cancel_all),
        at("/v2/orders:by_client_order_id", get=orders.by_client_order_id),
        at("/v2/orders/{order_id}", get=orders.by_id, patch=orders.replace, delete=orders.cancel),
        at("/v2/positions", get=account.positions, delete=account.close_all_positions),
        at("/v2/positions/{symbol}", get=account.position, delete=account.close_position),
        at("/v2/account", get=account.account),
        at("/v2/account/portfolio/history", get=equity_history),
        at("/v2/account/activities", get=account.activities),
        at("/v2/account/activities/{activity_type}", get=account.activities),
        at("/v2/clock", get=account.clock),
        at("/v2/calendar", get=account.calendar),
        at("/v2/assets", get=account.assets),
        at("/v2/assets/{symbol}", get=account.asset),
        at("/v2/stocks/snapshots", get=data.snapshots),
        at("/v2/stocks/quotes/latest", get=data.latest_quotes),
        at("/v2/stocks/trades/latest", get=data.latest_trades),
        at("/v2/stocks/bars/latest", get=data.latest_bars),
        at("/v2/stocks/bars", get=data.bars),
        at("/v1/corporate-actions", get=alpaca_actions.corporate_actions),
    ]


def _fmp_routes(market: Market, plan: fmp.Plan) -> list[BaseRoute]:
    at, at_batch = partial(route, market, plan.admit), partial(route, market, plan.admit_batch)
    lists, history = ActionLists(plan), "/stable/historical-price-eod"
    at_calendar = partial(route, market, lists.admit)
    return [
        at("/stable/quote", get=fmp.quote),
        at_batch("/stable/batch-quote", get=fmp.batch_quote),
        at_batch("/stable/batch-quote-short", get=fmp.batch_quote_short),
        at(f"{history}/full", get=fmp.history_full),
        at(f"{history}/non-split-adjusted", get=fmp.history_raw),
        at("/stable/splits", get=lists.splits),
        at("/stable/dividends", get=lists.dividends),
        at_calendar("/stable/splits-calendar", get=lists.splits_calendar),
        at_calendar("/stable/dividends-calendar", get=lists.dividends_calendar),
        at("/stable/symbol-change", get=lists.symbol_change),
        at("/stable/delisted-companies", get=lists.delisted_companies),
        at("/api/v3/{rest:path}", get=fmp.legacy),
    ]


def _control_routes(market: Market, faults: FaultPlan) -> list[BaseRoute]:
    at, plan = partial(route, market, lambda _: {}), control.FaultControl(faults)
    return [
        at("/simulator", get=control.book),
        at("/simulator/prices", post=control.set_prices),
        at("/simulator/clock", post=control.advance),
        at("/simulator/fills", post=control.change_fills),
        at("/simulator/busts", post=control.bust),
        at("/simulator/cash", post=control.book_cash),
        at("/simulator/actions", post=control.announce),
        at("/simulator/orders", post=alpaca_orders.submit),
        at("/simulator/orders/{order_id}", post=control.change_order),
        at("/simulator/faults", get=plan.tell, post=plan.add, delete=plan.clear),
    ]


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; 0 is any free port. Raises SettingsError when it is taken."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        raise SettingsError(
            f"Port {port} on 127.0.0.1 cannot be used ({error.strerror}); choose another one, or 0 for any."
        ) from error


def server_of(simulator: Simulator, listening: socket.socket, *, pulse_s: float | None) -> uvicorn.Server:
    """A server ready to `run(sockets=[listening])`; `simulator.url` is set to where."""
    simulator.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        simulator.app(pulse_s=pulse_s),
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Ends in peace when asked to: uvicorn's own would raise the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


@contextmanager
def running(
    market: Market,
    *,
    port: int = 0,
    pulse_s: float | None = None,
    keys: SimulatorKeys | None = None,
    faults: FaultPlan | None = None,
) -> Iterator[Simulator]:
    """A simulator in a thread of this process, for as long as the block lasts."""
    simulator = Simulator(market, keys=keys or SimulatorKeys(), faults=faults or FaultPlan())
    with listen(port) as listening:
        server = server_of(simulator, listening, pulse_s=pulse_s)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            _wait_until(lambda: server.started or not thread.is_alive())
            yield simulator
        finally:
            server.should_exit = True
            thread.join()


def _wait_until(is_true: Callable[[], bool]) -> None:
    while not is_true():
        time.sleep(0.005)
