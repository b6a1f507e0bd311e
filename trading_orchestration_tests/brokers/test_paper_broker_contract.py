"""The paper broker keeps the contract."""

import pytest
import sqlalchemy as sa

from trading_orchestration_tests.brokers.paper_world import PaperWorld
from trading_orchestration_tests.contracts.broker_contract import BrokerContract
from trading_orchestration_tests.contracts.broker_world import BrokerWorld


class TestPaperBroker(BrokerContract):
    @pytest.fixture
    def world(self, market: sa.Engine) -> BrokerWorld:
        return PaperWorld(market)
