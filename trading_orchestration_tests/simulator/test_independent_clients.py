"""Clients that nobody here wrote do a day's work against the simulator: its formats are the published ones.

They are `Any` here: alpaca-py's own types say that every answer may be a bare dict.
"""

import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.simulator.server import Simulator
from trading_orchestration_tests.contracts.broker_world import CASH, CLOSE, START
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world
from trading_orchestration_tests.simulator.stored_bars import market_with_bars

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # alpaca-py still uses websockets.legacy
    from alpaca.common.exceptions import APIError
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.requests import (
        StockBarsRequest,
        StockLatestBarRequest,
        StockLatestQuoteRequest,
        StockLatestTradeRequest,
        StockSnapshotRequest,
    )
    from alpaca.data.timeframe import TimeFrame
    from alpaca.trading import enums
    from alpaca.trading.client import TradingClient
    from alpaca.trading.requests import (
        ClosePositionRequest,
        GetAssetsRequest,
        GetCalendarRequest,
        GetOrdersRequest,
        LimitOrderRequest,
        MarketOrderRequest,
        ReplaceOrderRequest,
        StopLimitOrderRequest,
        StopOrderRequest,
    )
    from alpaca.trading.stream import TradingStream

import fmp_data
from websockets.sync.client import connect

MIDNIGHT = datetime(2024, 6, 24, tzinfo=UTC)
BUY, SELL = enums.OrderSide.BUY, enums.OrderSide.SELL
DAY = enums.TimeInForce.DAY


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with market_with_bars(server_url, template) as engine:
        yield engine


@pytest.fixture
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    with simulated_world(market) as world:
        yield world


@pytest.fixture
def simulator(world: SimulatedWorld) -> Simulator:
    return world.simulator


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Any]:
    keys = simulator.keys
    client = TradingClient(keys.key_id, keys.secret_key, paper=True, url_override=simulator.url)
    yield client
    client._session.close()


@pytest.fixture
def data(simulator: Simulator) -> Iterator[Any]:
    keys = simulator.keys
    client = StockHistoricalDataClient(keys.key_id, keys.secret_key, url_override=simulator.url)
    yield client
    client._session.close()


def refusal(act: Callable[[], object]) -> tuple[int, int, str]:
    """Status, code and message of what alpaca-py raises."""
    with pytest.raises(APIError) as error:
        act()
    return error.value.status_code, error.value.code, error.value.message


def test_alpaca_py_looks_around_before_the_day(client: Any) -> None:
    account = client.get_account()
    assert (Decimal(account.cash), Decimal(account.buying_power)) == (CASH, CASH)
    assert (account.status, account.currency) == (enums.AccountStatus.ACTIVE, "USD")
    clock = client.get_clock()
    assert (clock.is_open, clock.timestamp, clock.next_close) == (True, START, CLOSE)
    days = client.get_calendar(GetCalendarRequest(start=date(2024, 7, 1), end=date(2024, 7, 5)))
    assert [(day.date.day, day.close.hour) for day in days] == [(1, 16), (2, 16), (3, 13), (5, 16)]
    assets = client.get_all_assets(GetAssetsRequest(status=enums.AssetStatus.ACTIVE))
    assert {asset.symbol for asset in assets} == {"AAPL", "MSFT"}
    asset = client.get_asset("AAPL")
    assert asset.tradable
    assert asset.fractionable
    assert client.get_asset(str(asset.id)).symbol == "AAPL"
    assert refusal(lambda: client.get_asset("NOSUCH"))[:2] == (404, 40410000)


def test_alpaca_py_buys_watches_sells_and_reads_its_fills(client: Any, world: SimulatedWorld) -> None:
    bought = client.submit_order(
        MarketOrderRequest(symbol="AAPL", qty=10.5, side=BUY, time_in_force=DAY, client_order_id="buy-1")
    )
    assert bought.status is enums.OrderStatus.PENDING_NEW
    filled = client.get_order_by_id(bought.id)
    assert (filled.status, filled.filled_qty, filled.filled_avg_price) == ("filled", "10.5", "205.5")
    assert filled.filled_at == START
    assert client.get_order_by_client_id("buy-1").id == bought.id

    world.set_price("AAPL", Decimal("210.25"))
    position = client.get_open_position("AAPL")
    assert (position.qty, position.avg_entry_price, position.current_price) == ("10.5", "205.5", "210.25")
    assert Decimal(position.unrealized_pl) == Decimal("10.5") * Decimal("4.75")

    sold = client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    assert (sold.side, sold.qty) == (SELL, "5.25")
    (left,) = client.get_all_positions()
    assert left.qty == "5.25"
    closing = client.close_all_positions(cancel_orders=True)
    assert [(one.symbol, one.status, one.body.qty) for one in closing] == [("AAPL", 200, "5.25")]
    assert client.get_all_positions() == []

    fills = client.get("/account/activities/FILL", {"direction": "asc", "page_size": "2"})
    assert [(fill["side"], fill["qty"], fill["price"]) for fill in fills] == [
        ("buy", "10.5", "205.5"),
        ("sell", "5.25", "210.25"),
    ]
    assert fills[0]["id"].startswith("20240702100000000::")
    rest = client.get("/account/activities/FILL", {"direction": "asc", "page_token": fills[-1]["id"]})
    assert [fill["qty"] for fill in rest] == ["5.25"]
    assert Decimal(client.get_account().cash) == CASH + Decimal("10.5") * Decimal("4.75")


def test_alpaca_py_rests_replaces_cancels_and_lists_orders(client: Any) -> None:
    limit = client.submit_order(
        LimitOrderRequest(symbol="AAPL", qty=2, side=BUY, time_in_force="gtc", limit_price=190.5)
    )
    stop = client.submit_order(
        StopOrderRequest(symbol="MSFT", qty=1, side=BUY, time_in_force=DAY, stop_price=500)
    )
    both = client.submit_order(
        StopLimitOrderRequest(
            symbol="MSFT", qty=1, side=BUY, time_in_force=DAY, stop_price=500, limit_price=501
        )
    )
    assert client.get_order_by_id(limit.id).status is enums.OrderStatus.NEW
    newer = client.replace_order_by_id(limit.id, ReplaceOrderRequest(qty=3, limit_price=191))
    assert (newer.replaces, newer.qty, newer.limit_price) == (limit.id, "3", "191")
    old = client.get_order_by_id(limit.id)
    assert (old.status, old.replaced_by) == (enums.OrderStatus.REPLACED, newer.id)

    def listed(**wanted: Any) -> list[Any]:
        return [one.id for one in client.get_orders(GetOrdersRequest(**wanted))]

    assert listed() == [newer.id, both.id, stop.id]
    assert listed(status="open", direction="asc", symbols=["MSFT"]) == [stop.id, both.id]
    assert listed(status="closed") == [limit.id]
    assert listed(status="all", limit=2, nested=True) == [newer.id, both.id]
    assert listed(status="all", until=START) == []

    client.cancel_order_by_id(stop.id)
    assert client.get_order_by_id(stop.id).canceled_at == START
    assert refusal(lambda: client.cancel_order_by_id(stop.id))[:2] == (422, 42210000)
    assert {one.id for one in client.cancel_orders()} == {newer.id, both.id}
    assert listed() == []


def test_alpaca_py_buys_for_an_amount_of_money(client: Any) -> None:
    order = client.submit_order(MarketOrderRequest(symbol="AAPL", notional=411, side=BUY, time_in_force=DAY))
    assert (order.notional, order.qty) == ("411", None)
    assert client.get_order_by_id(order.id).filled_qty == "2"


def test_alpaca_py_is_refused_in_alpacas_own_words(client: Any) -> None:
    def buy(symbol: str = "AAPL", qty: float = 1, **more: Any) -> Any:
        return client.submit_order(
            MarketOrderRequest(symbol=symbol, qty=qty, side=BUY, time_in_force=DAY, **more)
        )

    def sell() -> Any:
        return client.submit_order(MarketOrderRequest(symbol="AAPL", qty=5, side=SELL, time_in_force=DAY))

    buy(client_order_id="twice")
    assert refusal(lambda: buy(client_order_id="twice")) == (422, 40010001, "client_order_id must be unique")
    assert refusal(lambda: buy(qty=10_000)) == (403, 40310000, "insufficient buying power")
    assert refusal(sell) == (
        403,
        40310000,
        "insufficient qty available for order (requested: 5, available: 1)",
    )
    assert refusal(lambda: buy(symbol="BRK.B", qty=0.5))[0] == 422
    assert refusal(lambda: client.get_order_by_client_id("nobody"))[:2] == (404, 40410000)
    assert refusal(lambda: client.get_open_position("MSFT"))[:2] == (404, 40410000)
    stranger = TradingClient("PKWRONG", "wrong", url_override=client._base_url)
    assert refusal(stranger.get_account)[:2] == (401, 40110000)
    stranger._session.close()


def test_alpaca_py_reads_quotes_trades_snapshots_and_bars(data: Any) -> None:
    both = ["AAPL", "MSFT"]
    quotes = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=both))
    assert (quotes["AAPL"].bid_price, quotes["AAPL"].ask_price) == (205.49, 205.51)
    trades = data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=both))
    assert trades["MSFT"].price == 405.5
    assert data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=both)) == {}
    snapshots = data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=both))
    snapshot = snapshots["AAPL"]
    assert (snapshot.latest_trade.price, snapshot.daily_bar.close) == (205.5, 205.5)
    assert (snapshot.previous_daily_bar.close, snapshot.previous_daily_bar.high) == (205, 206.25)

    def bars(**more: Any) -> Any:
        return data.get_stock_bars(
            StockBarsRequest(
                symbol_or_symbols=both,
                timeframe=TimeFrame.Day,
                start=datetime(2024, 6, 24, tzinfo=UTC),
                **more,
            )
        ).data

    found = bars()
    assert [bar.close for bar in found["AAPL"]] == [200, 201, 202, 203, 204, 205]
    assert found["MSFT"][0].timestamp == datetime(2024, 6, 24, 4, tzinfo=UTC)
    assert (found["MSFT"][0].open, found["MSFT"][0].volume) == (399.5, 1_000_000)
    assert [bar.close for bar in bars(limit=2)["AAPL"]] == [200, 201]
    with pytest.raises(APIError, match="invalid symbol: NOSUCH"):
        data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=["AAPL", "NOSUCH"]))


def test_alpaca_pys_bars_come_over_many_pages(data: Any, simulator: Simulator) -> None:
    """alpaca-py asks for the next page by itself while it has not got as many as it was asked for."""
    asked = StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Day, start=MIDNIGHT)
    pages = []

    def three_a_page(path: str, data: dict[str, Any], **more: Any) -> Any:
        pages.append(answer := get(path, data={**data, "limit": 3}, **more))
        return answer

    get, data.get = data.get, three_a_page
    try:
        found = data.get_stock_bars(asked).data
    finally:
        data.get = get
    assert [len(found[symbol]) for symbol in ("AAPL", "MSFT")] == [6, 6]
    assert len(pages) == 4
    assert simulator.faults.injected == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_alpaca_pys_stream_hears_what_becomes_of_orders(client: Any, simulator: Simulator) -> None:
    heard: list[Any] = []
    stream = TradingStream(
        simulator.keys.key_id,
        simulator.keys.secret_key,
        url_override=simulator.url.replace("http", "ws") + "/stream",
    )

    async def hear(update: Any) -> None:
        heard.append(update)

    stream.subscribe_trade_updates(hear)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    wait_until(lambda: simulator.updates.listener_count == 1)

    client.submit_order(
        MarketOrderRequest(symbol="AAPL", qty=4, side=BUY, time_in_force=DAY, client_order_id="heard")
    )
    resting = client.submit_order(
        LimitOrderRequest(symbol="MSFT", qty=1, side=BUY, time_in_force=DAY, limit_price=300)
    )
    newer = client.replace_order_by_id(resting.id, ReplaceOrderRequest(qty=2, limit_price=301))
    client.cancel_order_by_id(newer.id)
    wait_until(lambda: len(heard) == 6)
    assert [update.event for update in heard] == ["new", "fill", "new", "new", "replaced", "canceled"]
    fill = heard[1]
    assert (fill.order.client_order_id, fill.price, fill.qty) == ("heard", 205.5, 4)
    assert fill.order.status is enums.OrderStatus.FILLED
    assert fill.timestamp == START

    stream.stop()
    client.cancel_order_by_id(
        client.submit_order(
            LimitOrderRequest(symbol="MSFT", qty=1, side=BUY, time_in_force=DAY, limit_price=300)
        ).id
    )  # it looks whether to stop after a message
    thread.join(10)
    assert not thread.is_alive()


def test_a_stream_with_a_wrong_key_is_told_so(simulator: Simulator) -> None:
    url = simulator.url.replace("http", "ws") + "/stream"
    with connect(url) as socket:
        socket.send(json.dumps({"action": "authenticate", "data": {"key_id": "PKWRONG", "secret_key": "x"}}))
        answer = json.loads(socket.recv(timeout=5))
    assert answer == {
        "stream": "authorization",
        "data": {"status": "unauthorized", "action": "authenticate"},
    }


@pytest.fixture
def fmp(simulator: Simulator) -> Iterator[fmp_data.FMPDataClient]:
    client = fmp_data.FMPDataClient(api_key=simulator.keys.fmp_key, base_url=simulator.url, max_retries=0)
    yield client
    client.close()


def test_fmp_data_reads_quotes_and_history(fmp: fmp_data.FMPDataClient) -> None:
    quote = fmp.company.get_quote("AAPL")
    assert (quote.symbol, quote.price, quote.previous_close) == ("AAPL", 205.5, 205)
    batch = fmp.batch.get_quotes(["AAPL", "MSFT", "NOSUCH"])
    assert {one.symbol: one.price for one in batch} == {"AAPL": 205.5, "MSFT": 405.5}
    assert [one.symbol for one in fmp.batch.get_quotes_short(["MSFT"])] == ["MSFT"]
    raw = fmp.company.get_historical_prices_non_split_adjusted("AAPL", date(2024, 6, 25), date(2024, 6, 27))
    assert [(day.date.day, day.adj_close) for day in raw.historical] == [(27, 203), (26, 202), (25, 201)]
    full = fmp.company.get_historical_prices("MSFT", date(2024, 6, 24), date(2024, 6, 24))
    assert [(day.open, day.high, day.low, day.close, day.volume) for day in full.historical] == [
        (399.5, 401.25, 398.25, 400, 1_000_000)
    ]


def test_fmp_data_meets_fmps_refusals(fmp: fmp_data.FMPDataClient, simulator: Simulator) -> None:
    simulator.fmp_plan.has_batch = False
    with pytest.raises(fmp_data.FMPError) as gated:
        fmp.batch.get_quotes(["AAPL"])
    assert gated.value.status_code == 402
    simulator.fmp_plan.requests_left = 0
    with pytest.raises(fmp_data.RateLimitError):
        fmp.company.get_quote("AAPL")
    stranger = fmp_data.FMPDataClient(api_key="wrong-key-0000", base_url=simulator.url, max_retries=0)
    with pytest.raises(fmp_data.AuthenticationError):
        stranger.company.get_quote("AAPL")
    stranger.close()


def wait_until(is_true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
