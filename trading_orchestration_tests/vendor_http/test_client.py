"""The way out to a vendor: what is tried again, what never is, and what no message may hold."""

import logging
import socket
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_orchestration.errors import SettingsError
from trading_orchestration.vendor_http.client import Timeouts, VendorHttp
from trading_orchestration.vendor_http.failures import HttpError, NoAnswerError, NotSentError
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.loopback_vendor import LoopbackVendor, Reply, loopback_vendor

NOW = datetime(2024, 7, 3, 14, 30, tzinfo=UTC)
SECRET = "canary-9f3b2c"
OK = Reply(json={"fine": True})
QUICK = Timeouts(connect_s=0.5, answer_s=0.3, read_s=5.0)


class Limits(Unlimited):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.taken = 0
        self.blocked_until: list[datetime] = []

    def acquire(self, *, max_wait_s: float) -> None:
        assert max_wait_s > 0
        self.taken += 1

    def block_until(self, instant: datetime) -> None:
        self.blocked_until.append(instant)


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def http(vendor: LoopbackVendor, limits: Limits) -> Iterator[VendorHttp]:
    client = VendorHttp(
        vendor="Vendor",
        base_url=vendor.url,
        headers={"X-Key": SecretStr(SECRET)},
        limiter=limits,
        now=lambda: NOW,
        timeouts=QUICK,
        sleep=lambda _: None,
    )
    yield client
    client.close()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_read_is_tried_three_times_and_gives_the_last_answer(
    vendor: LoopbackVendor, http: VendorHttp, status: int
) -> None:
    vendor.replies(Reply(status=status, json={}))
    assert http.get("/things").status == status
    assert len(vendor.asked) == 3


@pytest.mark.parametrize(
    "trouble",
    [Reply(status=503), Reply(is_reset=True), Reply(delay_s=0.5), Reply(is_cut_short=True, text="{}" * 9)],
)
def test_a_read_survives_one_fault(vendor: LoopbackVendor, http: VendorHttp, trouble: Reply) -> None:
    vendor.replies(trouble, OK)
    assert http.get("/things").json() == {"fine": True}
    assert len(vendor.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_definite_answer_is_not_asked_for_again(
    vendor: LoopbackVendor, http: VendorHttp, status: int
) -> None:
    vendor.replies(Reply(status=status, json={}))
    assert http.get("/things").status == status
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    "trouble", [Reply(is_reset=True), Reply(delay_s=0.5), Reply(is_cut_short=True, text="{}" * 9)]
)
def test_what_acts_is_sent_once_and_its_silence_is_no_verdict(
    vendor: LoopbackVendor, http: VendorHttp, trouble: Reply
) -> None:
    vendor.replies(trouble, OK)
    with pytest.raises(NoAnswerError):
        http.send("POST", "/orders", body={"qty": "1"})
    assert len(vendor.asked) == 1


def test_a_body_that_drips_is_cut_off_by_the_clock(vendor: LoopbackVendor, http: VendorHttp) -> None:
    """Each byte comes within the read timeout; the answer as a whole does not."""
    vendor.replies(Reply(json={"long": "x" * 200}, drip_s=0.02))
    with pytest.raises(NoAnswerError, match="longer than"):
        http.send("POST", "/orders", body={})


def test_a_server_that_is_not_there_got_nothing(limits: Limits) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = VendorHttp(
            vendor="Vendor",
            base_url=f"http://127.0.0.1:{taken.getsockname()[1]}",
            headers={},
            limiter=limits,
            now=lambda: NOW,
            timeouts=QUICK,
        )
        with pytest.raises(NotSentError):
            client.send("POST", "/orders", body={})
        client.close()


def test_connections_are_kept(vendor: LoopbackVendor, http: VendorHttp) -> None:
    vendor.replies(OK)
    for _ in range(5):
        http.get("/things")
    assert vendor.connections == 1


def test_a_redirect_is_not_followed(vendor: LoopbackVendor, http: VendorHttp) -> None:
    """It would carry the key to whoever it names."""
    vendor.replies(Reply(status=302, headers={"Location": f"{vendor.url}/elsewhere"}))
    assert http.get("/things").status == 302
    assert len(vendor.asked) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, NOW + timedelta(seconds=7)),
        ({"Retry-After": "Wed, 03 Jul 2024 14:30:09 GMT"}, NOW + timedelta(seconds=9)),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 11)}, NOW + timedelta(seconds=11)),
        ({"Retry-After": "soon"}, NOW + timedelta(seconds=1)),
        ({}, NOW + timedelta(seconds=1)),
    ],
)
def test_a_429_holds_back_every_process(
    vendor: LoopbackVendor, http: VendorHttp, limits: Limits, headers: dict[str, str], expected: datetime
) -> None:
    vendor.replies(Reply(status=429, headers=headers, json={}))
    http.send("POST", "/orders", body={})
    assert limits.blocked_until == [expected]


def test_the_last_request_of_a_minute_holds_back_the_next(
    vendor: LoopbackVendor, http: VendorHttp, limits: Limits
) -> None:
    reset = NOW + timedelta(seconds=20)
    vendor.replies(
        Reply(
            json={}, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(reset.timestamp()))}
        )
    )
    http.get("/things")
    assert limits.blocked_until == [reset]


def test_every_try_is_counted(vendor: LoopbackVendor, http: VendorHttp, limits: Limits) -> None:
    vendor.replies(Reply(status=503))
    http.get("/things")
    assert limits.taken == 3


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(is_reset=True),
        Reply(delay_s=0.5),
        Reply(status=500, text=f"<html>your key {SECRET} and {SECRET}</html>", content_type="text/html"),
        Reply(text=f"not json {SECRET}", headers={"X-Echo": SECRET}),
    ],
)
def test_no_error_and_no_log_holds_the_secret(
    vendor: LoopbackVendor, http: VendorHttp, trouble: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    vendor.replies(trouble)
    caplog.set_level(logging.DEBUG)

    def use() -> None:
        answer = http.get("/things")
        seen.append(repr(answer) + answer.describe() + answer.text + repr(answer.headers))
        answer.json()

    with pytest.raises(HttpError) as failure:
        use()
    seen.extend(traceback.format_exception(failure.value))
    assert failure.value.__context__ is None
    assert failure.value.__cause__ is None
    assert SECRET not in "".join(seen)
    assert vendor.asked[0].headers["x-key"] == SECRET
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    ["http://paper-api.alpaca.markets", "ftp://host", "host", "https://user:word@host", "https://host?key=1"],
)
def test_a_url_that_would_leak_or_fail_is_refused(url: str, limits: Limits) -> None:
    with pytest.raises(SettingsError):
        VendorHttp(vendor="Vendor", base_url=url, headers={}, limiter=limits, now=lambda: NOW)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "clé"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key: str, limits: Limits) -> None:
    with pytest.raises(SettingsError) as refusal:
        VendorHttp(
            vendor="Vendor",
            base_url="https://host",
            headers={"X-Key": SecretStr(key)},
            limiter=limits,
            now=lambda: NOW,
        )
    assert not key or key not in str(refusal.value)
