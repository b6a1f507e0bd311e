"""What Alpaca's words and fields mean here."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from trading_orchestration.brokers.alpaca_rows import (
    read_account,
    read_clock,
    read_execution,
    read_order,
    read_position,
    read_session,
)
from trading_orchestration.brokers.broker import OrderStatus
from trading_orchestration.domain.trade import OrderType, Side, TimeInForce
from trading_orchestration.vendor_http.failures import UnreadableAnswerError
from trading_orchestration_tests.brokers.alpaca_wire import fill_row, order_row

ACCOUNT = {
    "account_number": "PA3XYZ",
    "status": "ACTIVE",
    "currency": "USD",
    "cash": "122086.5",
    "equity": "123346.110000001",
    "buying_power": "245432.61",
    "account_blocked": False,
    "trading_blocked": False,
    "trade_suspended_by_user": False,
}


@pytest.mark.parametrize(
    ("word", "filled", "status"),
    [
        ("new", "0", OrderStatus.OPEN),
        ("accepted", "0", OrderStatus.OPEN),
        ("pending_new", "0", OrderStatus.OPEN),
        ("accepted_for_bidding", "0", OrderStatus.OPEN),
        ("pending_review", "0", OrderStatus.OPEN),
        ("held", "0", OrderStatus.OPEN),
        ("stopped", "0", OrderStatus.OPEN),
        ("suspended", "0", OrderStatus.OPEN),
        ("calculated", "0", OrderStatus.OPEN),
        ("done_for_day", "0", OrderStatus.OPEN),
        ("pending_cancel", "0", OrderStatus.OPEN),
        ("pending_replace", "0", OrderStatus.OPEN),
        ("partially_filled", "1", OrderStatus.PARTIALLY_FILLED),
        ("pending_cancel", "1", OrderStatus.PARTIALLY_FILLED),
        ("done_for_day", "1", OrderStatus.PARTIALLY_FILLED),
        ("filled", "2", OrderStatus.FILLED),
        ("canceled", "1", OrderStatus.CANCELLED),
        ("expired", "0", OrderStatus.EXPIRED),
        ("rejected", "0", OrderStatus.REJECTED),
        ("replaced", "0", OrderStatus.REPLACED),
        ("on_the_moon", "0", OrderStatus.UNRECOGNISED),
    ],
)
def test_every_status_has_a_meaning_and_keeps_its_word(word: str, filled: str, status: OrderStatus) -> None:
    order = read_order(order_row(status=word, filled_qty=filled))
    assert (order.status, order.vendor_status) == (status, word)


def test_a_published_order_is_read_exactly() -> None:
    order = read_order(
        order_row(
            qty="2.000000001", limit_price="150.10", filled_qty="1e-9", filled_avg_price="149.999999999"
        )
    )
    assert order.terms.quantity == Decimal("2.000000001")
    assert order.filled_quantity == Decimal("0.000000001")
    assert order.filled_average_price == Decimal("149.999999999")
    assert (order.terms.order_type, order.terms.limit_price) == (OrderType.LIMIT, Decimal("150.10"))
    assert order.submitted_at == datetime(2023, 12, 12, 22, 31, 24, 577215, tzinfo=UTC)


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert read_order(order_row(a_new_field={"deep": [1]})) == read_order(order_row())


def test_a_replaced_order_names_its_heir_and_its_forebear() -> None:
    order = read_order(order_row(status="replaced", replaced_by="b", replaces="a"))
    assert (order.status, order.replaced_by, order.replaces) == (OrderStatus.REPLACED, "b", "a")


@pytest.mark.parametrize(
    ("changes", "order_type", "duration"),
    [
        (
            {"type": "trailing_stop", "limit_price": None, "stop_price": "140"},
            OrderType.STOP,
            TimeInForce.DAY,
        ),
        ({"time_in_force": "opg"}, OrderType.LIMIT, TimeInForce.DAY),
        ({"time_in_force": "gtc"}, OrderType.LIMIT, TimeInForce.GTC),
    ],
)
def test_an_order_placed_by_hand_is_read_as_the_nearest_of_ours(
    changes: dict[str, Any], order_type: OrderType, duration: TimeInForce
) -> None:
    order = read_order(order_row(**changes))
    assert (order.terms.order_type, order.terms.time_in_force) == (order_type, duration)
    assert order.status is OrderStatus.OPEN


def test_an_order_of_an_unknown_type_is_unrecognised_while_it_is_open() -> None:
    order = read_order(order_row(type="moonshot"))
    assert (order.status, order.vendor_status) == (OrderStatus.UNRECOGNISED, "accepted, type moonshot")
    assert (
        read_order(order_row(type="moonshot", status="filled", filled_qty="2")).status is OrderStatus.FILLED
    )


def test_an_order_for_money_has_the_quantity_that_was_filled() -> None:
    order = read_order(order_row(qty=None, notional="500", filled_qty="1.5"))
    assert order.terms.quantity == Decimal("1.5")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"client_order_id": ""},
        {"symbol": 7},
        {"side": "sideways"},
        {"qty": "many"},
        {"qty": "NaN"},
        {"filled_qty": None},
        {"filled_qty": True},
        {"limit_price": "Infinity"},
        {"qty": "1" + "0" * 40},
        {"submitted_at": "2023-12-12T22:31:24"},
        {"submitted_at": "yesterday"},
        {"status": None},
    ],
)
def test_an_order_without_what_it_needs_is_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_order(order_row(**changes))


def test_a_fill_takes_its_instant_from_the_time_field_not_from_its_local_id() -> None:
    execution = read_execution(fill_row(0, "2022-02-02T18:55:09.981482999Z"))
    assert execution.execution_id.startswith("20220202145509")
    assert execution.executed_at == datetime(2022, 2, 2, 18, 55, 9, 981482, tzinfo=UTC)
    assert (execution.price, execution.quantity) == (Decimal("174.78"), Decimal(1))


def test_a_short_sale_is_a_sell() -> None:
    assert read_execution(fill_row(0, "2022-02-02T18:55:09Z", side="sell_short")).side is Side.SELL


@pytest.mark.parametrize("quantity", ["5", "-5"])
def test_a_short_position_is_negative_however_it_is_written(quantity: str) -> None:
    row = {"symbol": "AAPL", "qty": quantity, "side": "short", "avg_entry_price": "100.0"}
    assert read_position(row).quantity == -5


def test_an_account_needs_no_field_of_the_retired_day_trading_rule() -> None:
    account = read_account(ACCOUNT)
    assert (account.cash, account.is_blocked) == (Decimal("122086.5"), False)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "ACCOUNT_UPDATED"},
        {"account_blocked": True},
        {"trading_blocked": True},
        {"trade_suspended_by_user": True},
    ],
)
def test_any_of_its_blocks_blocks_an_account(changes: dict[str, Any]) -> None:
    assert read_account(ACCOUNT | changes).is_blocked


def test_the_clock_is_read_in_utc() -> None:
    clock = read_clock(
        {
            "timestamp": "2025-06-24T14:15:22.123456789-04:00",
            "is_open": True,
            "next_open": "2025-06-25T09:30:00-04:00",
            "next_close": "2025-06-24T16:00:00-04:00",
        }
    )
    assert clock.now == datetime(2025, 6, 24, 18, 15, 22, 123456, tzinfo=UTC)
    assert clock.next_close == datetime(2025, 6, 24, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "close", "closes_at"),
    [
        ("2024-07-03", "13:00", datetime(2024, 7, 3, 17, 0, tzinfo=UTC)),
        ("2024-12-24", "13:00", datetime(2024, 12, 24, 18, 0, tzinfo=UTC)),
    ],
)
def test_the_calendars_local_times_follow_daylight_saving(day: str, close: str, closes_at: datetime) -> None:
    session = read_session({"date": day, "open": "09:30", "close": close, "session_open": "0400"})
    assert (session.session, session.closes_at) == (date.fromisoformat(day), closes_at)


def test_a_calendar_day_without_times_is_unreadable() -> None:
    with pytest.raises(UnreadableAnswerError):
        read_session({"date": "2024-07-03", "open": "late", "close": "16:00"})
