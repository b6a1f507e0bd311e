"""Steering the simulator from outside: over HTTP, by its command, and by the clock alone."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.brokers.broker import OrderStatus
from trading_orchestration.errors import BrokerUnknownError, InvalidInputError, SettingsError
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.server import listen
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.contracts.broker_world import BEFORE, CASH, CLOSE, START, order
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world
from trading_orchestration_tests.simulator.stored_bars import market_with_bars

Control = Callable[..., Any]
DAY = {"time_in_force": "day"}


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with market_with_bars(server_url, template) as engine:
        yield engine


@pytest.fixture
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    with simulated_world(market) as world:
        yield world


@pytest.fixture
def control(world: SimulatedWorld) -> Iterator[Control]:
    with httpx.Client(base_url=world.simulator.url, trust_env=False) as client:

        def ask(method: str, path: str = "", body: Any = None, status: int = 200) -> Any:
            answer = client.request(method, f"/simulator{path}", json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        yield ask


def test_prices_and_clock_are_moved_from_outside(world: SimulatedWorld, control: Control) -> None:
    resting = world.broker.submit_order("resting", order(limit="190"))
    control("POST", "/prices", {"AAPL": "189.5"})
    found = world.broker.get_order(resting.broker_order_id)
    assert found is not None
    assert found.filled_average_price == Decimal("189.5")
    control("POST", "/clock", {"to": "2024-07-02T19:00:00Z"})
    assert world.broker.get_clock().now == datetime(2024, 7, 2, 19, tzinfo=UTC)
    control("POST", "/clock", {"to": "2024-07-01T19:00:00Z"}, status=422)


def test_the_book_tells_the_truth_whatever_clients_are_told(world: SimulatedWorld, control: Control) -> None:
    control("POST", "/fills", {"missing": 1})
    control("POST", "/faults", {"kind": "unseen", "method": "POST", "path": "/v2/orders", "reads": 9})
    sent = world.broker.submit_order("one", order(2))
    assert world.broker.get_order(sent.broker_order_id) is None
    assert not world.broker.list_executions(after=BEFORE)
    book = control("GET")
    assert [(one["client_order_id"], one["status"]) for one in book["orders"]] == [("one", "filled")]
    assert [(one["qty"], one["price"]) for one in book["executions"]] == [("2", "205.5")]
    assert (book["positions"], book["cash"]) == ({"AAPL": "2"}, str(CASH - 411))
    control("POST", "/fills", {"missing": 0})
    assert len(world.broker.list_executions(after=BEFORE)) == 1


def test_faults_are_added_told_and_cleared(world: SimulatedWorld, control: Control) -> None:
    control("POST", "/faults", {"kind": "status_after", "method": "POST", "status": 504, "times": None})
    with pytest.raises(BrokerUnknownError):
        world.broker.submit_order("one", order(1))
    assert control("GET", "/faults") == {"status_after": 1}
    control("DELETE", "/faults")
    world.broker.submit_order("two", order(1))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"kind": "earthquake"}, "latency, reset_before"),
        ({"kind": "latency", "colour": "red"}, "colour"),
        ({}, "give a JSON object"),
        ([1], "give a JSON object"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused(control: Control, body: Any, told: str) -> None:
    assert told in control("POST", "/faults", body, status=422)["message"]


def test_orders_are_placed_changed_expired_and_busted_by_hand(
    world: SimulatedWorld, control: Control
) -> None:
    terms = {"symbol": "AAPL", "side": "buy", "qty": 3, "type": "market", "time_in_force": "day"}
    control("POST", "/orders", terms)
    (execution,) = control("GET")["executions"]
    assert [position.quantity for position in world.broker.get_positions()] == [3]
    control("POST", "/busts", {"execution_id": execution["execution_id"]})
    assert not world.broker.get_positions()
    control("POST", "/busts", {"execution_id": "nothing"}, status=404)

    resting = world.broker.submit_order("resting", order(limit="150"))
    control("POST", f"/orders/{resting.broker_order_id}", {"status": "held"})
    found = world.broker.get_order(resting.broker_order_id)
    assert found is not None
    assert (found.status, found.vendor_status) == (OrderStatus.OPEN, "held")
    control("POST", f"/orders/{resting.broker_order_id}", {"expire": True})
    found = world.broker.get_order(resting.broker_order_id)
    assert found is not None
    assert found.status is OrderStatus.EXPIRED


def test_stored_bars_fill_a_resting_order_as_the_clock_moves(world: SimulatedWorld) -> None:
    """The day opens at 205.50 and closes at 206: a stop at 205.80 waits for the close's price."""
    resting = world.broker.submit_order("resting", order(stop="205.80"))
    assert world.broker.get_order(resting.broker_order_id) is not None
    assert not world.broker.list_executions(after=BEFORE)
    world.advance(CLOSE)
    (execution,) = world.broker.list_executions(after=BEFORE)
    assert execution.price == 206


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/orders", {"symbol": "AAPL"}),
        ("POST", "/v2/orders", {"symbol": "AAPL", "qty": "many", "side": "buy"}),
        ("POST", "/v2/orders", {"symbol": "AAPL", "qty": 1, "side": "hold", "type": "market"}),
        ("POST", "/v2/orders", {"symbol": "AAPL", "qty": 1, "notional": 5}),
        ("POST", "/v2/orders", {"symbol": "AAPL", "qty": "NaN", "side": "buy", "type": "market", **DAY}),
        ("POST", "/v2/orders", {"symbol": "AAPL", "qty": 1, "order_class": "bracket", "side": "buy"}),
        ("GET", "/v2/orders?limit=501", None),
        ("GET", "/v2/orders?after=yesterday", None),
        ("GET", "/v2/orders?after_order_id=x&until=2024-07-02", None),
        ("GET", "/v2/orders/not-a-uuid", None),
        ("DELETE", "/v2/positions/AAPL?qty=some", None),
        ("GET", "/v2/account/activities/FILL?page_size=101", None),
        ("GET", "/v2/account/activities/FILL?page_token=nothing", None),
        ("GET", "/v2/calendar?start=soon", None),
        ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=3Weeks", None),
        ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1Day&page_token=$", None),
        ("GET", "/v2/stocks/snapshots", None),
        ("POST", "/simulator/prices", {"AAPL": "cheap"}),
        ("POST", "/simulator/clock", {"when": "now"}),
    ],
)
def test_a_malformed_request_is_refused_with_a_reason(
    world: SimulatedWorld, method: str, path: str, body: Any
) -> None:
    world.broker.submit_order("held", order(1))
    keys = world.simulator.keys
    headers = {"APCA-API-KEY-ID": keys.key_id, "APCA-API-SECRET-KEY": keys.secret_key}
    with httpx.Client(base_url=world.simulator.url, headers=headers, trust_env=False) as client:
        answer = client.request(method, path, json=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["message"]
    assert len(world.market.all_orders()) == 1


def test_the_clock_runs_at_its_speed_and_never_back() -> None:
    still, fast = SimulatorClock(START, speed=0), SimulatorClock(START, speed=1e6)
    assert still() == still() == START
    first, second = fast(), fast()
    assert START <= first < second
    with pytest.raises(InvalidInputError, match="does not go back"):
        still.advance(START - timedelta(seconds=1))
    with pytest.raises(InvalidInputError):
        SimulatorClock(START, speed=-1)


def test_a_port_in_use_is_named() -> None:
    with listen(0) as taken, pytest.raises(SettingsError, match="Port"):
        listen(taken.getsockname()[1])


def test_the_command_serves_until_it_is_told_to_end(database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trading_orchestration.cli.app", "simulate", "--json", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--at", "2024-07-02", "--speed", "0", "--cash", "5000.50"],
        env={"DATABASE_URL": database_url, "TRADING_HOME": str(tmp_path), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or process.communicate()[1])
        variables = told["environment"]
        broker = AlpacaBroker(
            keys=AlpacaKeys(
                SecretStr(variables["APCA_API_KEY_ID"]), SecretStr(variables["APCA_API_SECRET_KEY"])
            ),
            is_live=False,
            limiter=Unlimited(),
            now=lambda: START,
            base_url=variables["APCA_API_BASE_URL"],
        )
        assert broker.get_clock().now == datetime(2024, 7, 2, 13, 30, tzinfo=UTC)
        account = broker.get_account()
        assert (account.cash, account.account_number) == (Decimal("5000.50"), told["account_number"])
        broker.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.communicate()[1] == ""
    finally:
        process.kill()
        process.wait()


def test_corporate_actions_are_announced_from_outside(world: SimulatedWorld, control: Control) -> None:
    split = {"kind": "split", "symbol": "AAPL", "on": "2024-07-03", "ratio": ["7", "1"]}
    control("POST", "/actions", split)
    control(
        "POST",
        "/actions",
        {
            "kind": "dividend",
            "symbol": "AAPL",
            "on": "2024-07-05",
            "pays_on": "2024-07-08",
            "cash_per_unit": "1.5",
        },
    )
    assert [(one.ratio, one.cash_per_unit) for one in world.market.announced] == [
        ((Decimal(7), Decimal(1)), None),
        (None, Decimal("1.5")),
    ]
    refused = control("POST", "/actions", {**split, "ratio": ["0", "1"]}, status=422)
    assert "The ratio of AAPL was 0:1" in refused["message"]
    assert len(world.market.announced) == 2
