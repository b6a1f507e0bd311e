"""One database for all tests of the paper broker: each account in it is a world of its own."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from trading_orchestration_tests.brokers.paper_world import paper_market


@pytest.fixture(scope="session")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    """The database of the paper market, with the contract's symbols in it."""
    with paper_market(server_url, template) as engine:
        yield engine
