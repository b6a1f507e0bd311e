"""Reading Alpaca's lists to their end, whatever the pages do."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.brokers.alpaca_wire import ORDER_ID, fill_row, numbered_order, order_row
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor

NOW = datetime(2024, 7, 3, 14, 30, tzinfo=UTC)


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def broker(vendor: LoopbackVendor) -> Iterator[AlpacaBroker]:
    keys = AlpacaKeys(key_id=SecretStr("PK1"), secret_key=SecretStr("s"))
    broker = AlpacaBroker(keys=keys, is_live=False, limiter=Unlimited(), now=lambda: NOW, base_url=vendor.url)
    yield broker
    broker.close()


def digits(stamp: str) -> str:
    """A stamp with nine places, so that texts compare as instants do."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<9}"


def orders_endpoint(rows: list[dict[str, Any]]) -> Callable[[Asked], Reply]:
    """GET /v2/orders as published: `after` exclusive on submission, `after_order_id` on the list's order."""

    def answer(asked: Asked) -> Reply:
        assert asked.path == "/v2/orders"
        assert asked.params["direction"] == "asc"
        assert not {"after", "after_order_id"} <= asked.params.keys()
        found = rows
        if "after" in asked.params:
            found = [row for row in rows if digits(row["submitted_at"]) > digits(asked.params["after"])]
        if "after_order_id" in asked.params:
            found = rows[[row["id"] for row in rows].index(asked.params["after_order_id"]) + 1 :]
        return Reply(json=found[: int(asked.params["limit"])])

    return answer


@pytest.mark.parametrize("per_instant", [1, 7, 500, 501, 1300])
def test_orders_are_read_past_500_whatever_instants_they_share(
    vendor: LoopbackVendor, broker: AlpacaBroker, per_instant: int
) -> None:
    rows = [
        numbered_order(
            number, f"2024-07-03T14:00:{number // per_instant % 60:02}.{number // per_instant:06}Z"
        )
        for number in range(1300)
    ]
    rows.sort(key=lambda row: row["submitted_at"])
    vendor.answer = orders_endpoint(rows)
    assert [order.broker_order_id for order in broker.list_open_orders()] == [row["id"] for row in rows]
    assert vendor.asked[0].params["status"] == "open"


def test_orders_after_an_instant_exclude_the_instant_on_every_page(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    """600 orders at one instant, and as many half a microsecond later: none of the first may come."""
    rows = [numbered_order(n, "2024-07-03T14:30:00.000000Z") for n in range(600)]
    rows += [numbered_order(600 + n, "2024-07-03T14:30:00.000000500Z") for n in range(600)]
    vendor.answer = orders_endpoint(rows)
    found = broker.list_orders(after=NOW)
    assert [order.broker_order_id for order in found] == [row["id"] for row in rows[600:]]
    assert vendor.asked[0].params["status"] == "all"


def test_a_list_of_orders_that_repeats_itself_is_not_believed(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    rows = [numbered_order(number, "2024-07-03T14:30:00Z") for number in range(500)]
    vendor.replies(Reply(json=rows))
    with pytest.raises(BrokerUnavailableError, match="does not end"):
        broker.list_open_orders()


def test_option_combinations_of_others_do_not_stop_the_list(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    combination = order_row(order_class="mleg", symbol="", side="", id="x")
    vendor.replies(Reply(json=[combination, order_row()]))
    assert [order.broker_order_id for order in broker.list_open_orders()] == [ORDER_ID]


def test_an_order_that_cannot_be_read_hides_no_other_and_is_told(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    odd = order_row(id="odd", side="sideways")
    vendor.replies(Reply(json=[odd, order_row()]), Reply(json=odd))
    assert [order.broker_order_id for order in broker.list_open_orders()] == [ORDER_ID]
    assert broker.unfamiliar() == (
        "order odd, which cannot be read: The field side was 'sideways' instead of buy or sell.",
    )
    with pytest.raises(BrokerUnavailableError, match="sideways"):
        broker.get_order(ORDER_ID)


def test_words_and_fields_that_nobody_knows_are_kept_each_once(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    row = order_row(moon="full", status="on_the_moon", type="lunar", time_in_force="month")
    vendor.replies(Reply(json=[row, row]), Reply(json=[fill_row(1, "2024-07-03T14:00:00Z", tide="high")]))
    assert len(broker.list_open_orders()) == 1
    assert len(broker.list_executions(after=NOW)) == 1
    assert broker.unfamiliar() == (
        "the field moon of an order",
        "the status 'on_the_moon' of an order",
        "the type 'lunar' of an order",
        "the time_in_force 'month' of an order",
        "the field tide of a fill",
    )


def test_published_rows_hold_nothing_unfamiliar(vendor: LoopbackVendor, broker: AlpacaBroker) -> None:
    vendor.replies(Reply(json=[order_row()]), Reply(json=[fill_row(1, "2024-07-03T14:00:00Z")]))
    broker.list_open_orders()
    broker.list_executions(after=NOW)
    assert broker.unfamiliar() == ()


def test_fills_are_read_page_by_page_and_given_oldest_first(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    rows = [fill_row(n, f"2024-07-03T15:00:{n // 100:02}Z") for n in range(250)]

    def answer(asked: Asked) -> Reply:
        assert asked.params["after"] == "2024-07-03T14:30:00Z"
        token = asked.params.get("page_token")
        start = [row["id"] for row in rows].index(token) + 1 if token else 0
        page = rows[start : start + int(asked.params["page_size"])]
        return Reply(json=page[::-1] if len(page) < 100 else page)

    vendor.answer = answer
    executions = broker.list_executions(after=NOW)
    assert [execution.execution_id for execution in executions] == [row["id"] for row in rows]
    assert len(vendor.asked) == 3


def test_a_fill_that_comes_on_two_pages_counts_once(vendor: LoopbackVendor, broker: AlpacaBroker) -> None:
    rows = [fill_row(n, "2024-07-03T15:00:00Z") for n in range(110)]
    vendor.replies(Reply(json=rows[:100]), Reply(json=rows[95:]))
    assert len(broker.list_executions(after=NOW)) == 110


def test_fills_that_are_told_twice_on_a_page_do_not_make_it_the_last(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    """The page is full, though it holds only fifty fills."""
    rows = [fill_row(n, f"2024-07-03T15:00:{n:02}Z") for n in range(55)]
    vendor.replies(Reply(json=[*rows[:50], *rows[:50]]), Reply(json=rows[50:]))
    assert len(broker.list_executions(after=NOW)) == 55
    assert vendor.asked[1].params["page_token"] == rows[49]["id"]


def test_orders_that_come_in_disorder_are_given_oldest_first(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    rows = [numbered_order(number, f"2024-07-03T14:30:{number:02}Z") for number in range(9)]
    vendor.replies(Reply(json=rows[::-1]))
    assert [order.broker_order_id for order in broker.list_open_orders()] == [row["id"] for row in rows]


def test_a_list_of_fills_that_repeats_itself_is_not_believed(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    vendor.replies(Reply(json=[fill_row(n, "2024-07-03T15:00:00Z") for n in range(100)]))
    with pytest.raises(BrokerUnavailableError, match="does not end"):
        broker.list_executions(after=NOW)


def test_positions_leave_out_what_is_flat_and_come_by_symbol(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    def row(symbol: str, qty: str) -> dict[str, str]:
        return {"symbol": symbol, "qty": qty, "side": "long", "avg_entry_price": "10"}

    vendor.replies(Reply(json=[row("MSFT", "1"), row("IBM", "0"), row("AAPL", "0.000000001")]))
    assert [position.symbol for position in broker.get_positions()] == ["AAPL", "MSFT"]
