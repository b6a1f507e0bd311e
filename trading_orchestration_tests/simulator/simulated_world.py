"""A world whose broker is Alpaca, spoken to over HTTP, with the simulator at the other end."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.brokers.paper_account import open_account
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.market import Market
from trading_orchestration.simulator.server import Simulator, running
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import DEFAULT_TIMEOUTS, Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.brokers.paper_world import new_account_number, new_york
from trading_orchestration_tests.contracts.broker_world import CASH, START


class SimulatedWorld:
    """A `BrokerWorld` on Alpaca's client and the simulator."""

    def __init__(self, simulator: Simulator, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self.simulator = simulator
        self.market = simulator.market
        self._timeouts = timeouts
        self._clients: list[AlpacaBroker] = []
        self.broker = self.connect()

    def connect(self) -> AlpacaBroker:
        keys = self.simulator.keys
        client = AlpacaBroker(
            keys=AlpacaKeys(SecretStr(keys.key_id), SecretStr(keys.secret_key)),
            is_live=False,
            limiter=Unlimited(),
            now=self.market.clock,
            base_url=self.simulator.url,
            timeouts=self._timeouts,
        )
        self._clients.append(client)
        return client

    def set_price(self, symbol: str, price: Decimal) -> None:
        self.market.set_prices({symbol: price})

    def advance(self, to: datetime) -> None:
        self.market.advance(to)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def simulated_world(engine: sa.Engine, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> Iterator[SimulatedWorld]:
    """A new account behind a running simulator whose clock stands at `START` until it is moved."""
    account_number = new_account_number()
    assert open_account(engine, account_number, CASH)
    market = Market(engine, account_number, new_york(), SimulatorClock(START, speed=0))
    with running(market) as simulator:
        world = SimulatedWorld(simulator, timeouts)
        yield world
        world.close()
