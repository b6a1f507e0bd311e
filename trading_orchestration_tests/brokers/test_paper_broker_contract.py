"""The paper broker keeps the contract."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from trading_orchestration_tests.brokers.paper_world import PaperWorld, paper_market
from trading_orchestration_tests.contracts.broker_contract import BrokerContract, BrokerWorld


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with paper_market(server_url, template) as engine:
        yield engine


class TestPaperBroker(BrokerContract):
    @pytest.fixture
    def world(self, market: sa.Engine) -> BrokerWorld:
        return PaperWorld(market)
