"""`trades`, `positions` and `snapshots` on books in which two weeks were traded."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from trading_orchestration_tests.cli.command import Trading, start_process, without_replays


@pytest.fixture(scope="module")
def traded_url(books_url: str, calendar_home: Path) -> Iterator[str]:
    """The database of a replay, kept."""
    books = Trading(books_url)
    with without_replays(books):
        process = start_process(
            *("replay", "--from", "2012-01-03", "--to", "2012-01-31", "--keep", "--json"),
            DATABASE_URL=books_url,
            TRADING_HOME=str(calendar_home),
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        yield books.url_of(json.loads(out)["database"])


@pytest.fixture
def traded(on_database: Callable[[str], Trading], traded_url: str) -> Trading:
    return on_database(traded_url)


def test_a_trade_is_told_in_full_and_in_json(traded: Trading) -> None:
    first = traded("trades", "--json").json[0]
    assert list(first) == [
        *("id", "portfolio", "strategy", "session", "decided_at", "symbol", "side", "order_type", "quantity"),
        *("limit_price", "stop_price", "status", "filled_quantity", "average_price", "reason"),
        *("status_reason", "client_order_id"),
    ]
    assert (first["portfolio"], first["strategy"], first["status"]) == ("growth", "trend", "filled")
    assert first["decided_at"].endswith("+00:00")
    assert first["quantity"] == first["filled_quantity"] == str(int(first["quantity"]))
    assert first["limit_price"] is None


def test_trades_are_filtered(traded: Trading) -> None:
    everything = traded("trades", "--json").json
    assert {row["symbol"] for row in everything} == {"AAPL", "IBM"}
    of_symbol = traded("trades", "--symbol", "ibm", "--json").json
    assert of_symbol == [row for row in everything if row["symbol"] == "IBM"]
    day = everything[-1]["session"]
    assert traded("trades", "--session", day, "--json").json == [r for r in everything if r["session"] == day]
    assert traded("trades", "--portfolio", "growth", "--json").json == everything


def test_a_limit_leaves_the_newest_and_says_that_there_are_more(traded: Trading) -> None:
    everything = traded("trades", "--json").json
    newest = traded("trades", "--limit", 2, "--json")
    assert newest.json == everything[-2:]
    assert newest.err == "These are the newest 2; --limit shows more.\n"
    assert traded("trades", "--limit", len(everything), "--json").err == ""
    snapshots = traded("snapshots", "--json").json
    assert traded("snapshots", "--limit", 3, "--json").json == snapshots[-3:]


def test_positions_are_what_trades_add_up_to(traded: Trading) -> None:
    bought: dict[str, Decimal] = {}
    for trade in traded("trades", "--json").json:
        sign = 1 if trade["side"] == "buy" else -1
        bought[trade["symbol"]] = bought.get(trade["symbol"], Decimal(0)) + sign * Decimal(trade["quantity"])
    held = traded("positions", "--json").json
    assert {row["symbol"]: Decimal(row["quantity"]) for row in held} == {s: q for s, q in bought.items() if q}
    for row in held:
        assert Decimal(row["market_value"]) == Decimal(row["quantity"]) * Decimal(row["market_price"])


def test_positions_of_a_session_are_those_of_its_snapshot(traded: Trading) -> None:
    [snapshot] = traded("snapshots", "--session", "2012-01-20", "--json").json
    held = traded("positions", "--session", "2012-01-20", "--json").json
    assert sum(Decimal(row["value"]) for row in held) == Decimal(snapshot["positions_value"])
    assert len(held) == snapshot["position_count"]
    symbol = held[0]["symbol"]
    assert traded("positions", "--session", "2012-01-20", "--symbol", symbol, "--json").json == held[:1]


def test_snapshots_chain_from_what_was_put_in(traded: Trading) -> None:
    rows = traded("snapshots", "--portfolio", "growth", "--json").json
    assert [row["session"] for row in rows][:2] == ["2012-01-03", "2012-01-04"]
    first, last = rows[0], rows[-1]
    assert Decimal(first["daily_return"]) == Decimal(first["total_value"]) / 100000 - 1
    growth = Decimal(1)
    for row in rows:
        growth *= 1 + Decimal(row["daily_return"])
    assert abs(growth - 1 - Decimal(last["total_return"])) < Decimal("1e-9")
    assert abs(Decimal(last["total_value"]) / 100000 - growth) < Decimal("1e-9")


def test_tables_have_one_line_a_row(traded: Trading) -> None:
    trades = traded("trades", "--json").json
    lines = traded("trades").out.splitlines()
    assert len(lines) == len(trades) + 1
    assert lines[1].split()[:4] == [trades[0]["session"], "growth", "trend", trades[0]["symbol"]]
    assert traded("positions").out.splitlines()[0].split()[:3] == ["portfolio", "symbol", "quantity"]
    assert traded("snapshots", "--limit", 1).out.splitlines()[1].split()[:2] == ["2012-01-31", "growth"]


@pytest.mark.parametrize("command", ["trades", "positions", "snapshots"])
def test_an_empty_answer_is_an_empty_list(trading: Trading, command: str) -> None:
    assert trading(command, "--json").json == []
    assert trading(command).out == f"No {command}.\n"
