"""A session beside its replay: every difference is named, with its place and its amount."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.day_comparison import (
    DayDecision,
    DayRecord,
    DayTrade,
    DayValue,
    compare_days,
    pair_trades,
)
from trading_orchestration.domain.trade import Side

OPEN = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
SIGNAL = {"symbol": "AAPL", "action": "buy", "score": 0.5, "price": "187.15", "outcome": "buy 10"}
TRADE = DayTrade(
    tick=OPEN,
    portfolio="growth",
    strategy="trend",
    symbol="AAPL",
    side=Side.BUY,
    quantity=Decimal(10),
    status="filled",
    filled_quantity=Decimal(10),
    price=Decimal("187.2"),
    fee=Decimal(0),
    status_reason=None,
)


def decision(*signals: Mapping[str, Any], strategy: str | None = "trend") -> DayDecision:
    return DayDecision(
        tick=OPEN,
        portfolio="growth",
        strategy=strategy,
        equity=Decimal(1),
        cash=Decimal(1),
        signals=signals,
    )


def day(*decisions: DayDecision, trades: tuple[DayTrade, ...] = (), total: str = "100") -> DayRecord:
    value = DayValue(
        portfolio="growth", cash=Decimal(0), positions_value=Decimal(total), total_value=Decimal(total)
    )
    return DayRecord(decisions=decisions, trades=trades, values={"growth": value})


def told(
    happened: DayRecord, replayed: DayRecord
) -> list[tuple[str, str | None, str | None, Decimal | None]]:
    return [(d.what, d.happened, d.replayed, d.by) for d in compare_days(happened, replayed)]


def test_days_that_are_alike_have_no_difference_however_their_numbers_are_written() -> None:
    other = replace(TRADE, price=Decimal("187.20"))
    same = SIGNAL | {"score": 0.50, "price": "187.150"}
    assert told(day(decision(SIGNAL), trades=(TRADE,)), day(decision(same), trades=(other,))) == []


def test_signals_differ_by_action_score_price_and_outcome() -> None:
    other = SIGNAL | {"action": "hold", "score": 0.25, "price": "187.10", "outcome": None}
    assert told(day(decision(SIGNAL)), day(decision(other))) == [
        ("signal action", "buy", "hold", None),
        ("signal score", "0.5", "0.25", Decimal("-0.25")),
        ("signal price", "187.15", "187.10", Decimal("-0.05")),
        ("signal outcome", "buy 10", None, None),
    ]


def test_a_decision_that_one_side_lacks_is_one_difference() -> None:
    both = decision(strategy=None)
    assert told(day(both, decision(SIGNAL)), day(both)) == [("decision", "decided", None, None)]
    assert told(day(both), day(both, decision(SIGNAL))) == [("decision", None, "decided", None)]


def test_trades_are_paired_in_their_order_and_differ_by_what_their_fills_came_to() -> None:
    second = replace(TRADE, quantity=Decimal(3), filled_quantity=Decimal(3))
    other = replace(second, quantity=Decimal(4), price=Decimal("187.25"), fee=Decimal(1))
    happened, replayed = day(trades=(TRADE, second)), day(trades=(TRADE, other))
    assert [(p.happened, p.replayed) for p in pair_trades(happened, replayed)] == [
        (TRADE, TRADE),
        (second, other),
    ]
    assert told(happened, replayed) == [
        ("trade quantity", "3", "4", Decimal(1)),
        ("trade price", "187.2", "187.25", Decimal("0.05")),
        ("trade fee", "0", "1", Decimal(1)),
    ]


def test_a_trade_that_one_side_lacks_is_told_whole() -> None:
    assert told(day(trades=(TRADE,)), day()) == [("trade", "buy 10", None, None)]
    assert told(day(), day(trades=(TRADE,))) == [("trade", None, "buy 10", None)]


def test_the_values_at_the_close_are_compared() -> None:
    assert told(day(), day(total="99.5")) == [
        ("close positions value", "100", "99.5", Decimal("-0.5")),
        ("close total value", "100", "99.5", Decimal("-0.5")),
    ]
    missing = DayRecord(decisions=(), trades=(), values={})
    assert [what for what, *_ in told(day(), missing)] == [
        "close cash",
        "close positions value",
        "close total value",
    ]
