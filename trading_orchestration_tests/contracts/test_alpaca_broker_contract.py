"""Alpaca, spoken to over HTTP with the simulator at the other end, keeps the contract."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from trading_orchestration_tests.brokers.paper_world import paper_market
from trading_orchestration_tests.contracts.broker_contract import BrokerContract
from trading_orchestration_tests.contracts.broker_world import BrokerWorld
from trading_orchestration_tests.simulator.simulated_world import simulated_world


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with paper_market(server_url, template) as engine:
        yield engine


class TestAlpacaBroker(BrokerContract):
    @pytest.fixture
    def world(self, market: sa.Engine) -> Iterator[BrokerWorld]:
        with simulated_world(market) as world:
            yield world
