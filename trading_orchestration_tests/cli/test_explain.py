"""`trading explain` as a tree for a person and as JSON, on a week worked out by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.price import Timeframe
from trading_orchestration.store import prices
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.cli.command import Trading
from trading_orchestration_tests.fixtures.traded_week import execute

MONDAY = datetime(2024, 7, 1, tzinfo=UTC)


def test_the_tree_leads_from_the_total_to_the_quote(fixed_week: Trading) -> None:
    ran = fixed_week("explain", "main", "2024-07-03")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "main at the close of 2024-07-03: 1,022.00 USD"
    wanted = [
        "├─ before: 1,019.00; paid in 0.00, +0.29% in the session, +2.20% since the start",
        "├─ cash 109.00",
        "│     └─ MSFT: -50.00 in 1 entry",
        "├─ positions 913.00, exposure 89.3%",
        "│  ├─ AAPL: 8 × 108 = 864.00 (day bar from test; average cost 105, unrealised 24.00)",
        "│  │  ├─ fill 1, 2024-07-02 14:00:00Z: bought 4 at 100, fee 1.00; then 4 at 100",
        "│  │  │  └─ trade 1: buy 4 AAPL market, filled: score 0.5",
        "│  │  │     └─ decision 1 of trend, 2024-07-02 13:45:00Z: equity 1,000.00, cash 500.00",
        "│  │  │        ├─ signal: buy 0.500 (momentum 0.500) → buy 4",
        "│  │  │        ├─ quote: 100 of 2024-07-02 13:44:00Z from stored",
        "│  │  │        └─ bars: by the day, the newest complete one ended 2024-07-01 17:00Z at 99",
        "└─ now the ledger and the bars say",
        "   └─ the same, to the last digit",
    ]
    shown = ran.out.splitlines()
    assert [line for line in shown if line in wanted] == wanted


def test_a_decision_saw_what_a_bar_said_before_it_was_corrected(
    week: Trading, week_engine: sa.Engine
) -> None:
    with transaction(week_engine) as connection:
        bars = prices.read_bars(
            connection, ["AAPL"], Timeframe.DAY, start=MONDAY, end=MONDAY + timedelta(days=1)
        )
        prices.save_bars(connection, [replace(bars[0], close=Decimal("98.5"), low=Decimal(98))])
    shown = week("explain", "main", "2024-07-03").out
    assert "the newest complete one ended 2024-07-01 17:00Z at 99, since corrected to 98.5" in shown


def test_an_exit_of_the_portfolios_own_is_told_as_such(fixed_week: Trading) -> None:
    lines = fixed_week("explain", "main", "2024-07-05").out.splitlines()
    assert any("decision 4 of the portfolio's own limits" in line for line in lines)


def test_what_is_another_now_stands_at_the_end(week: Trading, week_engine: sa.Engine) -> None:
    execute(
        week_engine, "UPDATE bars SET close = 107, low = 107 WHERE symbol = 'AAPL' AND session = '2024-07-03'"
    )
    last = week("explain", "main", "2024-07-03").out.splitlines()[-1]
    assert last == "   └─ The snapshot values AAPL at 108, its bar now closes at 107."


def test_an_adjustment_has_its_cause_and_no_trade(week: Trading, week_engine: sa.Engine) -> None:
    execute(
        week_engine,
        "INSERT INTO adjustments (portfolio_id, symbol, quantity, unit_cost, cause, note, actor, "
        "occurred_at) VALUES (1, 'AAPL', 2, 5, 'unknown', 'found two', 'test', '2024-07-02T15:00Z')",
    )
    out = week("explain", "main", "2024-07-02").out
    assert "adjustment 1, 2024-07-02 15:00:00Z: 2 at 5, unknown: found two; then 6 at 68.333333333" in out
    assert "The snapshot holds 4 AAPL, the ledger 6." in out


def test_the_json_adds_up(fixed_week: Trading) -> None:
    found = fixed_week("explain", "main", "2024-07-03", "--json").json
    total = Decimal(found["snapshot"]["total_value"])
    parts = [Decimal(row["amount"]) for row in (*found["movements"], *found["cash_of_symbols"])]
    parts += [Decimal(of["holding"]["value"]) for of in found["positions"]]
    assert total == sum(parts)
    trade = found["positions"][0]["steps"][0]["trade"]
    assert (trade["strategy"], trade["signal"]["factors"]) == ("trend", {"momentum": 0.5})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nobody", "2024-07-03"), "no portfolio named 'nobody'"),
        (("main", "2024-07-04"), "July 4th"),
        (("main", "2024-07-01"), "main has no snapshot of 2024-07-01"),
        (("main", "2099-01-05"), "2099-01-05"),
        (("main", "today"), "'today'"),
    ],
)
def test_bad_input_is_one_sentence(fixed_week: Trading, arguments: tuple[str, str], sentence: str) -> None:
    ran = fixed_week("explain", *arguments)
    assert ran.code == 2
    assert sentence in ran.error
