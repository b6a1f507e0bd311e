"""Alpaca over the wire: what is sent, what each answer means, and how lists are read to their end."""

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce
from trading_orchestration.errors import (
    BrokerError,
    BrokerNotAuthorizedError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
    SettingsError,
)
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import FileRateLimiter, Unlimited
from trading_orchestration_tests.brokers.alpaca_wire import ORDER_ID, order_row
from trading_orchestration_tests.fixtures.loopback_vendor import LoopbackVendor, Reply, loopback_vendor

NOW = datetime(2024, 7, 3, 14, 30, tzinfo=UTC)
TERMS = OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(2))
KEYS = AlpacaKeys(key_id=SecretStr("PKCANARY1"), secret_key=SecretStr("canary-secret-2"))
QUICK = Timeouts(connect_s=0.5, answer_s=0.3, read_s=0.2)


def open_broker(url: str | None, *, keys: AlpacaKeys = KEYS, is_live: bool = False) -> AlpacaBroker:
    return AlpacaBroker(
        keys=keys, is_live=is_live, limiter=Unlimited(), now=lambda: NOW, base_url=url, timeouts=QUICK
    )


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def broker(vendor: LoopbackVendor) -> Iterator[AlpacaBroker]:
    broker = open_broker(vendor.url)
    yield broker
    broker.close()


ACTS: list[Callable[[AlpacaBroker], object]] = [
    lambda broker: broker.submit_order("demo-1", TERMS),
    lambda broker: broker.replace_order(ORDER_ID, client_order_id="demo-1", quantity=Decimal(3)),
    lambda broker: broker.cancel_order(ORDER_ID),
]
READS: list[Callable[[AlpacaBroker], object]] = [
    lambda broker: broker.get_order(ORDER_ID),
    lambda broker: broker.get_order_by_client_id("demo-1"),
    lambda broker: broker.list_open_orders(),
    lambda broker: broker.list_orders(after=NOW),
    lambda broker: broker.list_executions(after=NOW),
    lambda broker: broker.get_positions(),
    lambda broker: broker.get_account(),
    lambda broker: broker.get_clock(),
    lambda broker: broker.get_calendar(first=date(2024, 7, 1), last=date(2024, 7, 5)),
]


def test_an_order_is_sent_with_exact_digits_and_both_keys(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    vendor.replies(Reply(json=order_row(client_order_id="demo-1")))
    terms = OrderTerms(
        symbol="AAPL",
        side=Side.SELL,
        quantity=Decimal("1E-9"),
        order_type=OrderType.STOP_LIMIT,
        time_in_force=TimeInForce.GTC,
        limit_price=Decimal("1.5E+2"),
        stop_price=Decimal("150.10"),
    )
    broker.submit_order("demo-1", terms)
    (asked,) = vendor.asked
    assert (asked.method, asked.path) == ("POST", "/v2/orders")
    assert asked.body == {
        "client_order_id": "demo-1",
        "symbol": "AAPL",
        "side": "sell",
        "type": "stop_limit",
        "time_in_force": "gtc",
        "qty": "0.000000001",
        "limit_price": "150",
        "stop_price": "150.10",
    }
    assert asked.headers["apca-api-key-id"] == "PKCANARY1"
    assert asked.headers["apca-api-secret-key"] == "canary-secret-2"


def test_a_replacement_sends_only_what_changes(vendor: LoopbackVendor, broker: AlpacaBroker) -> None:
    vendor.replies(Reply(json=order_row(client_order_id="demo-2", replaces=ORDER_ID)))
    order = broker.replace_order(ORDER_ID, client_order_id="demo-2", limit_price=Decimal("155.5"))
    (asked,) = vendor.asked
    assert (asked.method, asked.path) == ("PATCH", f"/v2/orders/{ORDER_ID}")
    assert asked.body == {"client_order_id": "demo-2", "limit_price": "155.5"}
    assert order.replaces == ORDER_ID


REFUSALS = [
    (422, 40010001, "client_order_id must be unique", True),
    (403, 40310000, "insufficient buying power", False),
    (403, 40310000, "insufficient qty available for order (requested: 2, available: 1)", False),
    (403, 40310000, 'asset "OCGN" is not fractionable', False),
    (403, 40310000, "potential wash trade detected. use complex orders", False),
    (422, 42210000, "fractional orders must be DAY orders", False),
    (404, 40410000, "asset not found for FOO", False),
    (400, 40010000, "request body format is invalid", False),
]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(("status", "code", "message", "is_duplicate"), REFUSALS)
def test_a_definite_no_is_refused_once_with_alpacas_words(
    vendor: LoopbackVendor,
    broker: AlpacaBroker,
    act: Callable[[AlpacaBroker], object],
    status: int,
    code: int,
    message: str,
    is_duplicate: bool,
) -> None:
    vendor.replies(Reply(status=status, json={"code": code, "message": message}))
    with pytest.raises(BrokerRefusedError) as refusal:
        act(broker)
    assert message in str(refusal.value)
    assert refusal.value.is_duplicate_client_order_id is is_duplicate
    assert len(vendor.asked) == 1


AMBIGUOUS = [
    Reply(is_reset=True),
    Reply(delay_s=0.5),
    Reply(status=500, json={"message": "internal server error"}),
    Reply(status=502, text="<html>Bad Gateway</html>", content_type="text/html"),
    Reply(status=503, json={"code": 40310000, "message": "insufficient buying power"}),
    Reply(status=504, json={"code": 50410000, "message": "request timed out"}),
    Reply(status=429, json={"code": 42910000, "message": "rate limit exceeded"}),
    Reply(status=408, json={"message": "timeout"}),
    Reply(status=302, headers={"Location": "https://elsewhere"}),
    Reply(status=403, text="<html>Access denied</html>", content_type="text/html"),
    Reply(status=422, text="{", content_type="application/json"),
]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("reply", AMBIGUOUS)
def test_what_is_no_verdict_leaves_the_act_unknown_and_is_sent_once(
    vendor: LoopbackVendor, broker: AlpacaBroker, act: Callable[[AlpacaBroker], object], reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(BrokerUnknownError):
        act(broker)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="<html>fine</html>", content_type="text/html"),
        Reply(text='{"id": "' + ORDER_ID),
        Reply(json=[]),
        Reply(json=None),
        Reply(json=order_row(client_order_id="someone-else")),
        Reply(json=order_row(client_order_id="demo-1", qty="lots")),
        Reply(text='{"qty": NaN}'),
    ],
)
def test_an_accepted_order_that_cannot_be_read_is_unknown(
    vendor: LoopbackVendor, broker: AlpacaBroker, reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(BrokerUnknownError):
        broker.submit_order("demo-1", TERMS)


@pytest.mark.parametrize("act", ACTS)
def test_an_order_that_never_left_is_unavailable(act: Callable[[AlpacaBroker], object]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        broker = open_broker(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(BrokerUnavailableError, match="not sent"):
            act(broker)
        broker.close()


@pytest.mark.parametrize("call", [*ACTS, *READS])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"code": 40110000, "message": "request is not authorized"}),
        (401, {"message": "unauthorized."}),
        (401, "no JSON at all"),
        (403, {"message": "forbidden."}),
    ],
)
def test_refused_keys_name_the_variables_to_set_and_are_not_tried_again(
    vendor: LoopbackVendor,
    broker: AlpacaBroker,
    call: Callable[[AlpacaBroker], object],
    status: int,
    body: Any,
) -> None:
    vendor.replies(
        Reply(status=status, text=body) if isinstance(body, str) else Reply(status=status, json=body)
    )
    with pytest.raises(
        BrokerNotAuthorizedError, match=r"APCA_API_KEY_ID and APCA_API_SECRET_KEY.*paper side"
    ):
        call(broker)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(is_reset=True),
        Reply(status=429, json={"message": "too many requests."}),
        Reply(status=500, json={"message": "internal server error"}),
        Reply(status=403, text="<html>Access denied</html>", content_type="text/html"),
        Reply(status=404, text="<html>Not found</html>", content_type="text/html"),
        Reply(status=404, json={"message": "endpoint not found."}),
        Reply(text="<html>Maintenance</html>", content_type="text/html"),
        Reply(text="[{"),
        Reply(text="null"),
        Reply(json="text"),
        Reply(json=[1, 2]),
        Reply(json=[{"id": 7}]),
        Reply(status=302, headers={"Location": "https://elsewhere"}),
    ],
)
def test_a_read_that_failed_is_unavailable_and_never_an_empty_answer(
    vendor: LoopbackVendor, broker: AlpacaBroker, read: Callable[[AlpacaBroker], object], reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(BrokerUnavailableError) as failure:
        read(broker)
    assert "canary" not in str(failure.value).lower()


def test_an_html_answer_is_told_with_status_type_and_beginning(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    vendor.replies(Reply(status=200, text="<html>" + "x" * 200, content_type="text/html; charset=utf-8"))
    with pytest.raises(BrokerUnavailableError, match=r"HTTP 200, text/html: '<html>x{74}'"):
        broker.get_account()


@pytest.mark.parametrize("read", READS[:2])
def test_only_alpacas_own_not_found_says_that_there_is_no_order(
    vendor: LoopbackVendor, broker: AlpacaBroker, read: Callable[[AlpacaBroker], object]
) -> None:
    vendor.replies(Reply(status=404, json={"code": 40410000, "message": "order not found for demo-1"}))
    assert read(broker) is None


def test_an_id_that_alpaca_cannot_have_made_is_not_asked_for(
    vendor: LoopbackVendor, broker: AlpacaBroker
) -> None:
    assert broker.get_order("../account") is None
    with pytest.raises(BrokerRefusedError):
        broker.cancel_order("../account")
    assert not vendor.asked


@pytest.mark.parametrize(
    ("url", "key_id", "is_live"),
    [
        ("https://api.alpaca.markets", "PK1", False),
        ("https://paper-api.alpaca.markets", "AK1", True),
        ("http://127.0.0.1:9", "AK1", True),
        (None, "AK1", False),
        (None, "PK1", True),
        ("https://API.ALPACA.MARKETS/v2/", "PK1", False),
    ],
)
def test_paper_and_live_are_never_mixed(url: str | None, key_id: str, is_live: bool) -> None:
    keys = AlpacaKeys(key_id=SecretStr(key_id), secret_key=SecretStr("canary"))
    with pytest.raises(SettingsError) as refusal:
        open_broker(url, keys=keys, is_live=is_live)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("is_live", [False, True])
def test_each_side_opens_with_its_own_key_and_host(is_live: bool) -> None:
    keys = AlpacaKeys(key_id=SecretStr("AK1" if is_live else "PK1"), secret_key=SecretStr("s"))
    open_broker(None, keys=keys, is_live=is_live).close()


def test_a_missing_key_is_named(vendor: LoopbackVendor) -> None:
    keys = AlpacaKeys(key_id=SecretStr(""), secret_key=SecretStr("s"))
    with pytest.raises(SettingsError, match="APCA-API-KEY-ID is empty"):
        open_broker(vendor.url, keys=keys)


def test_the_v2_that_alpaca_shows_in_its_url_may_stay(vendor: LoopbackVendor) -> None:
    broker = open_broker(f"{vendor.url}/v2")
    vendor.replies(Reply(json=[]))
    assert broker.get_positions() == []
    assert vendor.asked[0].path == "/v2/positions"
    broker.close()


def test_an_order_over_the_limit_is_not_sent(vendor: LoopbackVendor, tmp_path: Any) -> None:
    limiter = FileRateLimiter(tmp_path / "alpaca", per_minute=1, now=lambda: NOW)
    broker = AlpacaBroker(keys=KEYS, is_live=False, limiter=limiter, now=lambda: NOW, base_url=vendor.url)
    vendor.replies(Reply(json=order_row(client_order_id="demo-1")))
    broker.submit_order("demo-1", TERMS)
    with pytest.raises(BrokerUnavailableError, match="nothing was sent"):
        broker.submit_order("demo-2", TERMS)
    assert len(vendor.asked) == 1
    broker.close()


def test_no_broker_error_ever_shows_a_key(vendor: LoopbackVendor, broker: AlpacaBroker) -> None:
    vendor.replies(
        Reply(status=422, json={"code": 1, "message": "PKCANARY1 / canary-secret-2 is not allowed"})
    )
    for call in [*ACTS, *READS]:
        with pytest.raises(BrokerError) as failure:
            call(broker)
        assert "CANARY1" not in repr(failure.value)
        assert "canary-secret-2" not in repr(failure.value)
