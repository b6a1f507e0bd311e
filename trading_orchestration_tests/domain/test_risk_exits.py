"""Stop loss and take profit close what no open order closes already."""

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_orchestration.domain.position import Position
from trading_orchestration.domain.risk import Approved, Holdings, RiskLimits, plan_exits
from trading_orchestration.domain.trade import OrderTerms, Side

LIMITS = RiskLimits(
    max_position_pct=Decimal("0.25"),
    max_positions=3,
    stop_loss_pct=Decimal("0.1"),
    take_profit_pct=Decimal("0.2"),
    max_daily_loss_pct=None,
    min_cash_pct=Decimal(0),
)
WHOLE_ONLY: frozenset[str] = frozenset()


def holding(
    quantity: str, average_cost: str, *, price: str = "100", buys: str = "0", sells: str = "0"
) -> Holdings:
    return Holdings(
        cash=Decimal(0),
        reserved_cash=Decimal(0),
        positions={"AAPL": Position("AAPL", Decimal(quantity), Decimal(average_cost))},
        open_buys={"AAPL": Decimal(buys)},
        open_sells={"AAPL": Decimal(sells)},
        prices={"AAPL": Decimal(price)},
        equity_at_open=None,
    )


@pytest.mark.parametrize(
    ("quantity", "price", "reason"),
    [
        ("10", "90", "Stop loss: AAPL at 90 is 10.00% below its average cost of 100; the limit is 10.00%."),
        ("10", "85", "Stop loss: AAPL at 85 is 15.00% below its average cost of 100; the limit is 10.00%."),
        ("10", "120", "Take profit: AAPL at 120 is 20.00% above its average cost of 100; the aim is 20.00%."),
        ("-8", "110", "Stop loss: AAPL at 110 is 10.00% above its average cost of 100; the limit is 10.00%."),
        ("-8", "80", "Take profit: AAPL at 80 is 20.00% below its average cost of 100; the aim is 20.00%."),
    ],
)
def test_a_position_at_its_limit_is_closed_at_the_market(quantity: str, price: str, reason: str) -> None:
    """Covering a short of 8 at 110 reserves 8 × 110 × 1.04 = 915.2; selling reserves nothing."""
    short = quantity.startswith("-")
    side = Side.BUY if short else Side.SELL
    terms = OrderTerms(symbol="AAPL", side=side, quantity=abs(Decimal(quantity)))
    reserved = {"110": Decimal("915.2"), "80": Decimal("665.6")}[price] if short else Decimal(0)
    assert plan_exits(holding(quantity, "100", price=price), LIMITS) == [
        Approved(terms=terms, reserved_cash=reserved, reason=reason)
    ]


@pytest.mark.parametrize(
    ("quantity", "average_cost", "price"),
    [
        pytest.param("10", "100", "90.000000001", id="a long just above its stop loss"),
        pytest.param("10", "100", "119.999999999", id="a long just below its take profit"),
        pytest.param("-10", "100", "109.999999999", id="a short just below its stop loss"),
        pytest.param("-10", "100", "80.000000001", id="a short just above its take profit"),
        pytest.param("10", "0", "50", id="what cost nothing"),
        pytest.param("0", "0", "50", id="what is flat"),
        pytest.param("10", "100", "0", id="what has no price"),
    ],
)
def test_everything_else_is_left_alone(quantity: str, average_cost: str, price: str) -> None:
    assert plan_exits(holding(quantity, average_cost, price=price), LIMITS) == []


@pytest.mark.parametrize("price", ["0.01", "100000"])
def test_without_limits_nothing_is_closed(price: str) -> None:
    limits = replace(LIMITS, stop_loss_pct=None, take_profit_pct=None)
    assert plan_exits(holding("10", "100", price=price), limits) == []


@pytest.mark.parametrize(
    ("holdings", "fractionable", "quantity"),
    [
        (holding("10.5", "200", sells="4"), None, "6.5"),
        (holding("10.5", "200", sells="4"), frozenset({"AAPL"}), "6.5"),
        (holding("10.5", "200", sells="4"), WHOLE_ONLY, "6"),
        (holding("10.5", "200", sells="10.5"), None, None),
        (holding("10.5", "200", sells="11"), None, None),
        (holding("10.5", "200", buys="4"), None, "10.5"),
        (holding("-10.5", "50", buys="4.5"), None, "6"),
        (holding("-10.5", "50", sells="4.5"), None, "10.5"),
        (holding("0.5", "200"), WHOLE_ONLY, None),
    ],
)
def test_only_the_quantity_that_is_free_is_closed(
    holdings: Holdings, fractionable: frozenset[str] | None, quantity: str | None
) -> None:
    found = plan_exits(holdings, LIMITS, fractionable=fractionable)
    assert [a.terms.quantity for a in found] == ([] if quantity is None else [Decimal(quantity)])


def test_exits_come_by_symbol() -> None:
    one = holding("10", "200")
    symbols = ("MSFT", "AAPL", "IBM")
    many = replace(
        one,
        positions={s: Position(s, Decimal(1), Decimal(200)) for s in symbols},
        prices=dict.fromkeys(symbols, Decimal(100)),
    )
    assert [a.terms.symbol for a in plan_exits(many, LIMITS)] == ["AAPL", "IBM", "MSFT"]
