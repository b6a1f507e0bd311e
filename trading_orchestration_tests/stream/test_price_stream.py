from datetime import UTC, datetime
from decimal import Decimal

import sqlalchemy as sa

from trading_orchestration.domain.price import Quote
from trading_orchestration.stream.price_stream import WebSocketService

NOON = datetime(2024, 7, 3, 16, tzinfo=UTC)
APPLE = Quote(symbol="AAPL", price=Decimal(10), quoted_at=NOON, source="test")


def test_every_batch_gets_the_next_number(engine: sa.Engine) -> None:
    service = WebSocketService()
    with engine.begin() as connection:
        assert service.broadcast_price_update(connection, [APPLE]) == 1
        assert service.broadcast_price_update(connection, [APPLE, APPLE]) == 2


def test_a_batch_without_a_change_is_not_published_and_takes_no_number(engine: sa.Engine) -> None:
    service = WebSocketService()
    with engine.begin() as connection:
        assert service.broadcast_price_update(connection, []) is None
        assert service.broadcast_price_update(connection, [APPLE]) == 1
