"""Alpaca's rows as its published format has them, for tests."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

ORDER_ID = "7b08df51-c1ac-453c-99f9-323a5f075f0d"


def order_row(**changes: Any) -> dict[str, Any]:
    """The published example of an order, changed where a test wants it."""
    return {
        "id": ORDER_ID,
        "client_order_id": "demo-1",
        "created_at": "2023-12-12T22:31:24.668464435Z",
        "updated_at": "2023-12-12T22:31:24.668464435Z",
        "submitted_at": "2023-12-12T22:31:24.577215743Z",
        "filled_at": None,
        "expired_at": None,
        "canceled_at": None,
        "failed_at": None,
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "symbol": "AAPL",
        "asset_class": "us_equity",
        "notional": None,
        "qty": "2",
        "filled_qty": "0",
        "filled_avg_price": None,
        "order_class": "",
        "order_type": "limit",
        "type": "limit",
        "side": "buy",
        "position_intent": "buy_to_open",
        "time_in_force": "day",
        "limit_price": "150",
        "stop_price": None,
        "status": "accepted",
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    } | changes


def numbered_order(number: int, submitted_at: str) -> dict[str, Any]:
    """The `number`-th of many orders."""
    return order_row(id=str(UUID(int=number)), client_order_id=f"demo-{number}", submitted_at=submitted_at)


def fill_row(number: int, transaction_time: str, **changes: Any) -> dict[str, Any]:
    """The `number`-th fill; its id begins with New York's local time, as Alpaca's do."""
    local = datetime.fromisoformat(transaction_time) - timedelta(hours=4)
    return {
        "id": f"{local:%Y%m%d%H%M%S}000::{UUID(int=number)}",
        "activity_type": "FILL",
        "type": "partial_fill",
        "transaction_time": transaction_time,
        "order_id": ORDER_ID,
        "order_status": "partially_filled",
        "symbol": "AAPL",
        "side": "buy",
        "price": "174.78",
        "qty": "1",
        "cum_qty": str(number + 1),
        "leaves_qty": "5",
    } | changes
