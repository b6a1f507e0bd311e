"""Alpaca's quotes and bars: one request a batch, no batch lost to one symbol, no bar before its time."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.errors import (
    InvalidInputError,
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data.alpaca import MOST_BAD_SYMBOLS, AlpacaMarketData
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2022, 8, 17, 10, 20, tzinfo=UTC)
#: Two summer sessions and, after them, one of winter time that closes early.
DAYS = (date(2022, 8, 15), date(2022, 8, 16), date(2022, 11, 25))
MINUTE, DAY = Timeframe.MINUTE, Timeframe.DAY


def session(day: date, closes: time) -> Session:
    opens_at, closes_at = (
        datetime.combine(day, at, tzinfo=NEW_YORK).astimezone(UTC) for at in (time(9, 30), closes)
    )
    return Session(day, opens_at, closes_at)


CALENDAR = MarketCalendar(
    "XNYS",
    NEW_YORK,
    (session(DAYS[0], time(16)), session(DAYS[1], time(16)), session(DAYS[2], time(13))),
)


def daily(day: str, close: float) -> dict[str, Any]:
    return {
        "t": f"{day}T04:00:00Z",
        "o": 172.62,
        "h": 200,
        "l": 171.6618,
        "c": close,
        "v": 56457696,
        "n": 1,
        "vw": 1,
    }


def snapshot(**changes: Any) -> dict[str, Any]:
    """The published example."""
    return {
        "dailyBar": daily("2022-08-16", 173.03),
        "latestQuote": {"ap": 172.7, "as": 5, "bp": 172.6, "bs": 2, "t": "2022-08-17T10:18:27.052763263Z"},
        "latestTrade": {"p": 172.61, "s": 160, "t": "2022-08-17T10:18:24.114694956Z"},
        "minuteBar": daily("2022-08-17", 172.69),
        "prevDailyBar": daily("2022-08-15", 173.19),
    } | changes


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def source(vendor: LoopbackVendor) -> Iterator[AlpacaMarketData]:
    source = AlpacaMarketData(
        keys=AlpacaKeys(SecretStr("PKCANARY1"), SecretStr("canary-secret-2")),
        calendar=CALENDAR,
        limiter=Unlimited(),
        now=lambda: NOW,
        base_url=vendor.url,
        timeouts=Timeouts(connect_s=0.5, answer_s=0.3, read_s=0.1),
    )
    yield source
    source.close()


def test_many_symbols_cost_one_request(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    symbols = [f"S{number}" for number in range(100)]
    vendor.replies(Reply(json={symbol: snapshot() for symbol in symbols}))
    batch = source.get_batch_quotes(symbols)
    assert list(batch.quotes) == symbols
    (asked,) = vendor.asked
    assert (asked.path, asked.params["symbols"]) == ("/v2/stocks/snapshots", ",".join(symbols))
    assert asked.params["feed"] == "iex"


def test_a_quote_is_the_last_trade_with_both_sides(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    vendor.replies(Reply(json={"AAPL": snapshot()}))
    quote = source.get_batch_quotes(["AAPL"]).quotes["AAPL"]
    assert (quote.price, quote.bid, quote.ask) == (Decimal("172.61"), Decimal("172.6"), Decimal("172.7"))
    assert quote.quoted_at == datetime(2022, 8, 17, 10, 18, 24, 114694, tzinfo=UTC)
    assert quote.source == "alpaca"


@pytest.mark.parametrize(
    ("traded_at", "previous_close"),
    [
        ("2022-08-17T10:18:24Z", "173.03"),
        ("2022-08-16T15:00:00Z", "173.19"),
        ("2022-08-17T03:59:59Z", "173.19"),
    ],
)
def test_the_previous_close_is_that_of_the_day_before_the_trade(
    vendor: LoopbackVendor, source: AlpacaMarketData, traded_at: str, previous_close: str
) -> None:
    """Before the open, the newest daily bar is yesterday's and its close is the previous one."""
    vendor.replies(Reply(json={"AAPL": snapshot(latestTrade={"p": 172.61, "t": traded_at})}))
    assert source.get_batch_quotes(["AAPL"]).quotes["AAPL"].previous_close == Decimal(previous_close)


def test_a_side_that_nobody_quotes_is_none(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    one_sided = snapshot(latestQuote={"ap": 0, "bp": 172.6, "t": "2022-08-17T10:18:27Z"}, prevDailyBar=None)
    vendor.replies(Reply(json={"AAPL": one_sided, "IBM": snapshot(latestQuote=None)}))
    quotes = source.get_batch_quotes(["AAPL", "IBM"]).quotes
    assert (quotes["AAPL"].bid, quotes["AAPL"].ask) == (Decimal("172.6"), None)
    assert (quotes["IBM"].bid, quotes["IBM"].ask) == (None, None)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {},
        "text",
        snapshot(latestTrade=None),
        snapshot(latestTrade={"p": 0, "t": "2022-08-17T10:18:24Z"}),
        snapshot(latestTrade={"p": -1, "t": "2022-08-17T10:18:24Z"}),
        snapshot(latestTrade={"p": "1e400", "t": "2022-08-17T10:18:24Z"}),
        snapshot(latestTrade={"t": "2022-08-17T10:18:24Z"}),
        snapshot(latestTrade={"p": 1, "t": "noon"}),
        snapshot(latestQuote={"bp": [], "ap": 1}),
    ],
)
def test_one_unusable_symbol_does_not_cost_the_others(
    vendor: LoopbackVendor, source: AlpacaMarketData, bad: Any
) -> None:
    vendor.replies(Reply(json={"AAPL": snapshot(), "BAD": bad}))
    batch = source.get_batch_quotes(["AAPL", "BAD", "GONE"])
    assert list(batch.quotes) == ["AAPL"]
    assert set(batch.failures) == {"BAD", "GONE"}


def knowing(known: set[str], answer: Callable[[list[str]], Any]) -> Callable[[Asked], Reply]:
    """An Alpaca that refuses a whole batch for the first symbol it does not know."""

    def reply(asked: Asked) -> Reply:
        symbols = asked.params["symbols"].split(",")
        for symbol in symbols:
            if symbol not in known:
                return Reply(status=400, json={"message": f"invalid symbol: {symbol}"})
        return Reply(json=answer(symbols))

    return reply


def test_a_symbol_that_alpaca_refuses_is_dropped_and_the_rest_asked_again(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    vendor.answer = knowing({"AAPL", "IBM"}, lambda symbols: {symbol: snapshot() for symbol in symbols})
    batch = source.get_batch_quotes(["AAPL", "CSP1", "IBM", "XX1"])
    assert set(batch.quotes) == {"AAPL", "IBM"}
    assert set(batch.failures) == {"CSP1", "XX1"}
    assert len(vendor.asked) == 3


def test_a_batch_without_a_single_known_symbol_is_no_error(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    vendor.answer = knowing(set(), lambda _: {})
    assert set(source.get_batch_quotes(["A1", "B1"]).failures) == {"A1", "B1"}
    assert source.get_batch_quotes([]).quotes == {}


def test_asking_again_has_an_end(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    vendor.answer = knowing({"AAPL"}, lambda _: {})
    symbols = ["AAPL", *(f"X{number}" for number in range(50))]
    assert set(source.get_batch_quotes(symbols).failures) == set(symbols)
    assert len(vendor.asked) == MOST_BAD_SYMBOLS + 1


def test_a_batch_that_is_too_large_is_refused(source: AlpacaMarketData) -> None:
    with pytest.raises(InvalidInputError, match="101 symbols"):
        source.get_batch_quotes(["A"] * 101)


CALLS: list[Callable[[AlpacaMarketData], object]] = [
    lambda source: source.get_batch_quotes(["AAPL"]),
    lambda source: source.get_bars(["AAPL"], DAY, start=NOW - timedelta(days=9), end=NOW),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "reply",
    [
        Reply(is_reset=True),
        Reply(status=429, json={"message": "too many requests."}),
        Reply(status=500, json={"message": "Internal Server Error"}),
        Reply(status=403, text="<html>Access denied</html>", content_type="text/html"),
        Reply(status=400, json={"message": "invalid symbol: OTHER"}),
        Reply(text="<html>Maintenance</html>", content_type="text/html"),
        Reply(text='{"AAPL": '),
        Reply(json=[]),
    ],
)
def test_a_request_that_failed_is_unavailable(
    vendor: LoopbackVendor, source: AlpacaMarketData, call: Callable[[AlpacaMarketData], object], reply: Reply
) -> None:
    vendor.replies(reply)
    with pytest.raises(MarketDataUnavailableError) as failure:
        call(source)
    assert "canary" not in repr(failure.value).lower()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "unauthorized."), (403, "subscription does not permit querying recent SIP data")],
)
def test_refused_keys_or_plan_need_a_person(
    vendor: LoopbackVendor,
    source: AlpacaMarketData,
    call: Callable[[AlpacaMarketData], object],
    status: int,
    message: str,
) -> None:
    vendor.replies(Reply(status=status, json={"message": message}))
    with pytest.raises(MarketDataNotAuthorizedError, match=r"APCA_API_KEY_ID.*feed iex"):
        call(source)
    assert len(vendor.asked) == 1


def test_a_daily_bar_is_its_session_and_shows_when_that_is_over(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    """The 13th is a Saturday; November's session has not ended by now."""
    rows = [daily("2022-08-13", 1.5), daily("2022-08-15", 173.19), daily("2022-08-16", 173.03)]
    rows.append(daily("2022-11-25", 148.11) | {"t": "2022-11-25T05:00:00Z"})
    vendor.replies(Reply(json={"bars": {"AAPL": rows}, "next_page_token": None}))
    bars = source.get_bars(["AAPL"], DAY, start=CALENDAR.sessions[0].opens_at, end=NOW + timedelta(days=200))
    assert [bar.session for bar in bars] == [date(2022, 8, 15), date(2022, 8, 16)]
    assert (bars[1].starts_at, bars[1].ends_at) == CALENDAR.sessions[1][1:3]
    assert (bars[1].close, bars[1].low, bars[1].volume) == (
        Decimal("173.03"),
        Decimal("171.6618"),
        Decimal(56457696),
    )
    assert dict(vendor.asked[0].params) | {"end": ""} == {
        "symbols": "AAPL",
        "feed": "iex",
        "timeframe": "1Day",
        "start": "2022-08-15",
        "end": "",
        "limit": "10000",
        "adjustment": "raw",
        "sort": "asc",
    }


def test_bars_start_in_the_interval_with_its_end_left_out(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    vendor.replies(Reply(json={"bars": {"AAPL": [daily("2022-08-15", 173), daily("2022-08-16", 172)]}}))
    first, second = CALENDAR.sessions[0], CALENDAR.sessions[1]
    after_first_open = first.opens_at + timedelta(seconds=1)
    assert not source.get_bars(["AAPL"], DAY, start=after_first_open, end=second.opens_at)
    assert vendor.asked[0].params["end"] == "2022-08-16T13:29:59.999999Z"


def test_minutes_outside_of_trading_hours_are_left_out(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    stamps = ["2022-08-16T13:29:00Z", "2022-08-16T13:30:00Z", "2022-08-16T19:59:00Z", "2022-08-16T20:00:00Z"]
    rows = [daily("2022-08-16", 173) | {"t": stamp} for stamp in stamps]
    vendor.replies(Reply(json={"bars": {"AAPL": rows}, "next_page_token": None}))
    bars = source.get_bars(["AAPL"], MINUTE, start=NOW - timedelta(days=1), end=NOW)
    assert [f"{bar.starts_at:%H:%M}" for bar in bars] == ["13:30", "19:59"]
    assert bars[0].ends_at - bars[0].starts_at == timedelta(minutes=1)
    assert vendor.asked[0].params["start"] == "2022-08-16T10:20:00Z"


def test_a_minute_that_is_not_over_is_left_out(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    source._now = lambda: datetime(2022, 8, 16, 13, 31, 59, tzinfo=UTC)
    rows = [daily("2022-08-16", 173) | {"t": f"2022-08-16T13:{minute}:00Z"} for minute in (30, 31)]
    vendor.replies(Reply(json={"bars": {"AAPL": rows}}))
    bars = source.get_bars(["AAPL"], MINUTE, start=NOW - timedelta(days=1), end=NOW)
    assert [bar.starts_at.minute for bar in bars] == [30]


def test_bars_are_read_page_by_page_over_all_symbols(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    one, two = daily("2022-08-15", 173), daily("2022-08-16", 172)
    vendor.replies(
        Reply(json={"bars": {"AAPL": [one]}, "next_page_token": "p2"}),
        Reply(json={"bars": {"AAPL": [two], "IBM": [one]}, "next_page_token": "p3"}),
        Reply(json={"bars": None, "next_page_token": None}),
    )
    bars = source.get_bars(["IBM", "AAPL"], DAY, start=CALENDAR.sessions[0].opens_at, end=NOW)
    assert [(bar.symbol, bar.session.day) for bar in bars] == [("AAPL", 15), ("AAPL", 16), ("IBM", 15)]
    assert [asked.params.get("page_token") for asked in vendor.asked] == [None, "p2", "p3"]


def test_pages_that_repeat_are_not_believed(vendor: LoopbackVendor, source: AlpacaMarketData) -> None:
    vendor.replies(Reply(json={"bars": {}, "next_page_token": "p2"}))
    with pytest.raises(MarketDataUnavailableError, match="does not end"):
        source.get_bars(["AAPL"], DAY, start=NOW - timedelta(days=9), end=NOW)


def test_a_symbol_without_bars_does_not_cost_the_others_theirs(
    vendor: LoopbackVendor, source: AlpacaMarketData
) -> None:
    vendor.answer = knowing({"AAPL"}, lambda _: {"bars": {"AAPL": [daily("2022-08-15", 173)]}})
    bars = source.get_bars(["XX1", "AAPL"], DAY, start=CALENDAR.sessions[0].opens_at, end=NOW)
    assert [bar.symbol for bar in bars] == ["AAPL"]


@pytest.mark.parametrize("damage", [{"l": 0}, {"h": 172}, {"l": 173.5}, {"v": -1}, {"o": -5}])
def test_a_bar_that_contradicts_itself_is_left_out_and_logged(
    vendor: LoopbackVendor,
    source: AlpacaMarketData,
    damage: dict[str, float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [daily("2022-08-15", 173), daily("2022-08-16", 173) | damage]
    vendor.replies(Reply(json={"bars": {"AAPL": rows}}))
    bars = source.get_bars(["AAPL"], DAY, start=CALENDAR.sessions[0].opens_at, end=NOW)
    assert [bar.session.day for bar in bars] == [15]
    assert "contradicts itself" in caplog.text
