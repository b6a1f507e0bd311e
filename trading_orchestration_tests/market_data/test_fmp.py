"""FMP's quotes and daily bars: what its plans open and close, and its many ways to say no."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.errors import (
    InvalidInputError,
    MarketDataError,
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data.fmp import FMPClient
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2025, 9, 10, 14, 0, tzinfo=UTC)
KEY = "canary-fmp-key-7"
DAY = Timeframe.DAY

INVALID_KEY = {"Error Message": "Invalid API KEY. Feel free to create a Free API Key or visit the site"}
LIMIT = {"Error Message": "Limit Reach . Please upgrade your plan or visit our documentation"}
LEGACY = {"Error Message": "Legacy Endpoint : Due to Legacy endpoints being no longer supported"}
GATED = "Restricted Endpoint: This endpoint is not available under your current subscription"
GATED_SYMBOL = "Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not available"


def session(day: date) -> Session:
    opens_at, closes_at = (
        datetime.combine(day, at, tzinfo=NEW_YORK).astimezone(UTC) for at in (time(9, 30), time(16))
    )
    return Session(day, opens_at, closes_at)


CALENDAR = MarketCalendar("XNYS", NEW_YORK, tuple(session(date(2025, 9, day)) for day in (8, 9, 10)))


def quote_row(symbol: str = "AAPL", **changes: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "name": "Apple Inc.",
        "price": 232.8,
        "changePercentage": 2.1008,
        "change": 4.79,
        "volume": 44489128,
        "dayLow": 226.65,
        "dayHigh": 233.13,
        "marketCap": 3500823120000,
        "exchange": "NASDAQ",
        "open": 227,
        "previousClose": 228,
        "timestamp": 1738702801,
    } | changes


def history_row(day: str, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": "AAPL",
        "date": day,
        "adjOpen": 227.2,
        "adjHigh": 233.13,
        "adjLow": 226.65,
        "adjClose": 232.8,
        "volume": 44489128,
    } | changes


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def fmp(vendor: LoopbackVendor) -> Iterator[FMPClient]:
    client = FMPClient(
        api_key=SecretStr(KEY),
        calendar=CALENDAR,
        limiter=Unlimited(),
        now=lambda: NOW,
        base_url=vendor.url,
        timeouts=Timeouts(connect_s=0.5, answer_s=0.3, read_s=0.1),
    )
    yield client
    client.close()


def test_many_symbols_cost_one_request(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    symbols = [f"S{number}" for number in range(100)]
    vendor.replies(Reply(json=[quote_row(symbol) for symbol in symbols]))
    assert list(fmp.get_batch_quotes(symbols).quotes) == symbols
    (asked,) = vendor.asked
    assert (asked.path, asked.params) == ("/stable/batch-quote", {"symbols": ",".join(symbols)})


def test_the_key_travels_in_a_header_and_never_in_the_url(
    vendor: LoopbackVendor, fmp: FMPClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vendor.replies(Reply(json=[quote_row()]))
    fmp.get_batch_quotes(["AAPL"])
    assert vendor.asked[0].headers["apikey"] == KEY
    assert KEY not in str(vendor.asked[0].params)
    assert KEY not in caplog.text


def test_a_quote_has_the_vendors_time_and_exact_numbers(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    vendor.replies(Reply(json=[quote_row()]))
    quote = fmp.get_batch_quotes(["AAPL"]).quotes["AAPL"]
    assert (quote.price, quote.previous_close) == (Decimal("232.8"), Decimal(228))
    assert quote.quoted_at == datetime(2025, 2, 4, 21, 0, 1, tzinfo=UTC)
    assert (quote.source, quote.bid, quote.ask) == ("fmp", None, None)


def test_a_class_of_shares_is_written_fmps_way_and_read_back(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    vendor.replies(Reply(json=[quote_row("BRK-B")]))
    assert list(fmp.get_batch_quotes(["BRK.B"]).quotes) == ["BRK.B"]
    assert vendor.asked[0].params["symbols"] == "BRK-B"


@pytest.mark.parametrize(
    "bad",
    [
        {"price": None},
        {"price": 0},
        {"price": "n/a"},
        {"timestamp": None},
        {"timestamp": -5},
        {"symbol": "ELSE"},
    ],
)
def test_one_unusable_symbol_does_not_cost_the_others(
    vendor: LoopbackVendor, fmp: FMPClient, bad: dict[str, Any]
) -> None:
    vendor.replies(Reply(json=[quote_row("BAD") | bad, quote_row()]))
    batch = fmp.get_batch_quotes(["AAPL", "BAD", "GONE"])
    assert list(batch.quotes) == ["AAPL"]
    assert set(batch.failures) == {"BAD", "GONE"}


def gated_batch(per_symbol: Callable[[str], Reply]) -> Callable[[Asked], Reply]:
    def reply(asked: Asked) -> Reply:
        if asked.path == "/stable/batch-quote":
            return Reply(status=402, text=GATED, content_type="text/plain")
        assert asked.path == "/stable/quote"
        return per_symbol(asked.params["symbol"])

    return reply


def test_where_the_plan_has_no_batch_each_symbol_is_asked_for_from_then_on(
    vendor: LoopbackVendor, fmp: FMPClient
) -> None:
    vendor.answer = gated_batch(lambda symbol: Reply(json=[] if symbol == "GONE" else [quote_row(symbol)]))
    batch = fmp.get_batch_quotes(["AAPL", "GONE", "IBM"])
    assert list(batch.quotes) == ["AAPL", "IBM"]
    assert set(batch.failures) == {"GONE"}
    fmp.get_batch_quotes(["AAPL"])
    assert [asked.path for asked in vendor.asked].count("/stable/batch-quote") == 1


def test_a_symbol_outside_of_the_plan_costs_only_itself(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    def reply(asked: Asked) -> Reply:
        if "ULVR" in asked.params.get("symbols", asked.params.get("symbol", "")):
            return Reply(status=402, text=GATED_SYMBOL, content_type="text/plain")
        return Reply(json=[quote_row(asked.params.get("symbol", "AAPL"))])

    vendor.answer = reply
    batch = fmp.get_batch_quotes(["AAPL", "ULVR"])
    assert (set(batch.quotes), set(batch.failures)) == ({"AAPL"}, {"ULVR"})
    fmp.get_batch_quotes(["AAPL"])
    assert vendor.asked[-1].path == "/stable/batch-quote"


def test_a_limit_reached_on_the_way_keeps_what_came_and_stops_asking(
    vendor: LoopbackVendor, fmp: FMPClient
) -> None:
    vendor.answer = gated_batch(
        lambda symbol: Reply(json=[quote_row(symbol)]) if symbol == "S0" else Reply(status=429, json=LIMIT)
    )
    batch = fmp.get_batch_quotes([f"S{number}" for number in range(50)])
    assert set(batch.quotes) == {"S0"}
    assert len(batch.failures) == 49
    assert len(vendor.asked) == 3


def test_an_outage_on_the_way_is_not_waited_out_for_every_symbol(
    vendor: LoopbackVendor, fmp: FMPClient
) -> None:
    vendor.answer = gated_batch(
        lambda symbol: Reply(json=[quote_row(symbol)]) if symbol == "S0" else Reply(status=500, json={})
    )
    batch = fmp.get_batch_quotes([f"S{number}" for number in range(50)])
    assert (set(batch.quotes), len(batch.failures)) == ({"S0"}, 49)
    assert {asked.params.get("symbol") for asked in vendor.asked} == {None, "S0", "S1", "S2", "S3"}


def test_when_no_symbol_was_answered_the_source_is_unavailable(
    vendor: LoopbackVendor, fmp: FMPClient
) -> None:
    vendor.answer = gated_batch(lambda _: Reply(status=500, json={}))
    with pytest.raises(MarketDataUnavailableError):
        fmp.get_batch_quotes(["AAPL", "IBM"])


CALLS: list[Callable[[FMPClient], object]] = [
    lambda fmp: fmp.get_batch_quotes(["AAPL"]),
    lambda fmp: fmp.get_bars(["AAPL"], DAY, start=NOW - timedelta(days=9), end=NOW),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_refused_key_names_its_variable_whatever_the_status(
    vendor: LoopbackVendor, fmp: FMPClient, call: Callable[[FMPClient], object], status: int
) -> None:
    vendor.replies(Reply(status=status, json=INVALID_KEY))
    with pytest.raises(MarketDataNotAuthorizedError, match="FMP_API_KEY"):
        call(fmp)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 429])
def test_a_reached_limit_is_unavailable_and_not_asked_again(
    vendor: LoopbackVendor, fmp: FMPClient, call: Callable[[FMPClient], object], status: int
) -> None:
    vendor.replies(Reply(status=status, json=LIMIT))
    with pytest.raises(MarketDataUnavailableError, match="larger plan"):
        call(fmp)
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=402, text=GATED, content_type="text/plain"),
        Reply(status=403, json=LEGACY),
        Reply(status=200, json=LEGACY),
    ],
)
def test_a_plan_without_any_way_to_it_needs_a_person(
    vendor: LoopbackVendor, fmp: FMPClient, call: Callable[[FMPClient], object], reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(MarketDataNotAuthorizedError, match="plan"):
        call(fmp)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(is_reset=True),
        Reply(status=500, json={"message": "oops"}),
        Reply(status=302, headers={"Location": "https://elsewhere"}),
        Reply(status=200, json={"Error Message": "Something new"}),
        Reply(text="<html>Maintenance</html>", content_type="text/html"),
        Reply(text=f"[{{'{KEY}'"),
        Reply(json={"symbol": "AAPL"}),
        Reply(json=[1]),
    ],
)
def test_a_request_that_failed_is_unavailable_and_shows_no_key(
    vendor: LoopbackVendor, fmp: FMPClient, call: Callable[[FMPClient], object], reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(MarketDataUnavailableError) as failure:
        call(fmp)
    assert KEY not in repr(failure.value)


def test_a_batch_that_is_too_large_is_refused_and_an_empty_one_asks_nothing(
    vendor: LoopbackVendor, fmp: FMPClient
) -> None:
    with pytest.raises(InvalidInputError, match="101 symbols"):
        fmp.get_batch_quotes(["A"] * 101)
    assert not fmp.get_batch_quotes([]).quotes
    assert not vendor.asked


def test_daily_bars_are_raw_complete_and_oldest_first(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    """The answer comes newest first; the 10th has not closed by now, the 7th is a Sunday."""
    days = ("2025-09-10", "2025-09-09", "2025-09-08", "2025-09-07")
    vendor.replies(Reply(json=[history_row(day) for day in days]))
    bars = fmp.get_bars(["AAPL"], DAY, start=datetime(2025, 9, 6, tzinfo=UTC), end=NOW + timedelta(days=9))
    assert [bar.session.day for bar in bars] == [8, 9]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close) == tuple(
        map(Decimal, ("227.2", "233.13", "226.65", "232.8"))
    )
    assert (bars[0].starts_at, bars[0].ends_at) == CALENDAR.sessions[0][1:3]
    assert vendor.asked[0].path == "/stable/historical-price-eod/non-split-adjusted"
    assert vendor.asked[0].params == {"symbol": "AAPL", "from": "2025-09-05", "to": "2025-09-19"}


def test_a_long_history_is_asked_for_in_parts_that_touch(vendor: LoopbackVendor, fmp: FMPClient) -> None:
    vendor.replies(Reply(json=[]))
    fmp.get_bars(
        ["AAPL"], DAY, start=datetime(2015, 1, 1, 15, tzinfo=UTC), end=datetime(2025, 1, 1, 15, tzinfo=UTC)
    )
    parts = [(date.fromisoformat(a.params["from"]), date.fromisoformat(a.params["to"])) for a in vendor.asked]
    assert (parts[0][0], parts[-1][1]) == (date(2015, 1, 1), date(2025, 1, 1))
    assert all(later[0] - earlier[1] == timedelta(days=1) for earlier, later in pairwise(parts))
    assert len(parts) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(status=402, text=GATED_SYMBOL, content_type="text/plain"),
        Reply(json=[history_row("2025-09-08", adjClose=None)]),
    ],
)
def test_a_symbol_without_a_history_that_can_be_read_does_not_cost_the_others_theirs(
    vendor: LoopbackVendor, fmp: FMPClient, refusal: Reply
) -> None:
    def reply(asked: Asked) -> Reply:
        if asked.params["symbol"] == "ULVR":
            return refusal
        return Reply(json=[history_row("2025-09-08")])

    vendor.answer = reply
    bars = fmp.get_bars(["ULVR", "AAPL"], DAY, start=datetime(2025, 9, 6, tzinfo=UTC), end=NOW)
    assert [bar.symbol for bar in bars] == ["AAPL"]


@pytest.mark.parametrize("damage", [{"adjClose": None}, {"date": "today"}, {"volume": "lots"}])
def test_an_unreadable_history_is_unavailable(
    vendor: LoopbackVendor, fmp: FMPClient, damage: dict[str, Any]
) -> None:
    vendor.replies(Reply(json=[history_row("2025-09-08", **damage)]))
    with pytest.raises(MarketDataUnavailableError, match="bars of AAPL"):
        fmp.get_bars(["AAPL"], DAY, start=datetime(2025, 9, 6, tzinfo=UTC), end=NOW)


def test_minutes_are_not_to_be_had(fmp: FMPClient) -> None:
    with pytest.raises(MarketDataError, match="daily bars only"):
        fmp.get_bars(["AAPL"], Timeframe.MINUTE, start=NOW, end=NOW)
