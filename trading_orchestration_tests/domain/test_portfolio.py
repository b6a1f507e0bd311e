"""Cash, valuation and time-weighted returns."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.portfolio import (
    Valuation,
    cash_effect,
    chained_return,
    daily_return,
    unpriced,
    value,
)
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import Fill, Side
from trading_orchestration.errors import InvalidInputError

NOON = datetime(2024, 7, 3, 16, 0, tzinfo=UTC)


def fill(side: str, quantity: str, price: str, fee: str = "0") -> Fill:
    return Fill(
        symbol="AAPL",
        side=Side(side),
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        executed_at=NOON,
    )


def on_grid(low: int, high: int) -> st.SearchStrategy[Decimal]:
    return st.integers(low * 10**9, high * 10**9).map(lambda n: Decimal(n).scaleb(-9))


fills = st.builds(
    Fill,
    symbol=st.just("AAPL"),
    side=st.sampled_from(Side),
    quantity=on_grid(1, 100_000),
    price=on_grid(1, 10_000),
    executed_at=st.just(NOON),
    fee=on_grid(-1, 10),
)
totals = on_grid(1, 10**9)
returns = st.integers(-(10**12) + 10**6, 10**12).map(lambda n: Decimal(n).scaleb(-12))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (fill("buy", "10", "190.25", "1"), "-1903.5"),  # −10 × 190.25 − 1
        (fill("sell", "10", "190.25", "1"), "1901.5"),  # 10 × 190.25 − 1
        (fill("sell", "10", "190.25", "-0.02"), "1902.52"),  # a rebate of 0.02
        (fill("buy", "0.333333333", "3.33"), "-1.109999999"),  # 1.10999999889, up
        (fill("buy", "0.000000001", "0.5"), "-0.000000001"),  # half a step, away from zero
        (fill("sell", "0.000000001", "0.5"), "0.000000001"),
    ],
)
def test_the_cash_effect_of_a_fill_by_hand(entry: Fill, expected: str) -> None:
    assert cash_effect(entry) == Decimal(expected)


@settings(deadline=None)
@given(st.lists(fills, max_size=20), totals)
def test_cash_is_deposits_and_signed_notional_less_fees(entries: list[Fill], deposit: Decimal) -> None:
    """Every fill rounds its notional once, by half a step of 1e-9 at most; fees are never rounded."""
    cash = Fraction(deposit + sum(map(cash_effect, entries), Decimal(0)))
    exact = Fraction(deposit) - sum(
        entry.side.sign * Fraction(entry.quantity) * Fraction(entry.price) + Fraction(entry.fee)
        for entry in entries
    )
    assert abs(cash - exact) <= Fraction(len(entries), 2 * 10**9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 10**6), st.integers(1, 10**7)), max_size=20))
def test_whole_shares_at_whole_cents_never_round(trades: list[tuple[Side, int, int]]) -> None:
    cents = -sum(side.sign * quantity * price for side, quantity, price in trades)
    entries = (fill(side, str(quantity), f"{price}e-2") for side, quantity, price in trades)
    assert sum(map(cash_effect, entries), Decimal(0)) == Decimal(cents).scaleb(-2)


@settings(deadline=None)
@given(fills)
def test_what_a_buy_takes_a_sell_without_fees_gives(entry: Fill) -> None:
    buy, sell = (fill(side, str(entry.quantity), str(entry.price)) for side in ("buy", "sell"))
    assert cash_effect(buy) == -cash_effect(sell)


def test_a_portfolio_by_hand() -> None:
    """Cash 1000; 10 × 190.25 = 1902.5 (cost 1850); −2 × 50.5 = −101 (sold at 55); the flat one is nothing.

    Unrealised: 10 × (190.25 − 185) = 52.5 and −2 × (50.5 − 55) = 9.
    """
    positions = [
        Position("AAPL", Decimal(10), Decimal(185)),
        Position("IBM", Decimal(-2), Decimal(55)),
        Position("MSFT", realised_pnl=Decimal(12)),
    ]
    assert value(Decimal(1000), positions, {"AAPL": Decimal("190.25"), "IBM": Decimal("50.5")}) == Valuation(
        cash=Decimal(1000),
        positions_value=Decimal("1801.5"),
        total=Decimal("2801.5"),
        unrealised_pnl=Decimal("61.5"),
        position_count=2,
    )


def test_a_portfolio_without_positions_is_its_cash() -> None:
    assert value(Decimal(-5), [], {}) == Valuation(
        cash=Decimal(-5),
        positions_value=Decimal(0),
        total=Decimal(-5),
        unrealised_pnl=Decimal(0),
        position_count=0,
    )


def test_every_held_symbol_without_a_price_is_named() -> None:
    held = [Position(symbol, Decimal(1), Decimal(1)) for symbol in ("MSFT", "AAPL", "IBM", "ORCL")]
    prices = {"AAPL": Decimal(1), "IBM": Decimal(0), "ORCL": Decimal(-1)}
    assert unpriced(held, prices) == ["IBM", "MSFT", "ORCL"]
    with pytest.raises(InvalidInputError, match="No price is known for IBM, MSFT, ORCL, which"):
        value(Decimal(0), held, prices)


@settings(deadline=None)
@given(
    totals,
    st.lists(st.tuples(on_grid(-1000, 1000), on_grid(1, 1000), on_grid(1, 1000)), max_size=10),
)
def test_the_total_is_cash_and_the_rounded_value_of_each_position(
    cash: Decimal, rows: list[tuple[Decimal, Decimal, Decimal]]
) -> None:
    """What the checks on the snapshot tables demand."""
    positions = [Position(f"S{i}", quantity, cost) for i, (quantity, cost, _) in enumerate(rows)]
    prices = {f"S{i}": price for i, (*_, price) in enumerate(rows)}
    found = value(cash, positions, prices)
    assert found.total == found.cash + found.positions_value
    assert found.positions_value == sum(
        (position.market_value(prices[position.symbol]) for position in positions), Decimal(0)
    )
    assert found.position_count == sum(1 for quantity, *_ in rows if quantity != 0)


@pytest.mark.parametrize(
    ("total", "previous", "net_deposits", "expected"),
    [
        ("10100", "10000", "0", "0.01"),
        ("9900", "10000", "0", "-0.01"),
        ("15150", "10000", "5000", "0.01"),  # 15150 / (10000 + 5000) − 1
        ("4950", "10000", "-5000", "-0.01"),  # 4950 / (10000 − 5000) − 1
        ("10010", "0", "10000", "0.001"),  # opened this session
        ("10001", "30000", "0", "-0.666633333333"),  # 10001 / 30000 = 0.3333666666…
        ("0", "10000", "0", "-1"),
    ],
)
def test_a_daily_return_takes_deposits_out(
    total: str, previous: str, net_deposits: str, expected: str
) -> None:
    found = daily_return(Decimal(total), Decimal(previous), Decimal(net_deposits))
    assert found == Decimal(expected)


@pytest.mark.parametrize(
    ("previous", "net_deposits"), [(None, "100"), ("0", "0"), ("100", "-100"), ("100", "-200"), ("-5", "0")]
)
def test_a_return_on_nothing_is_none(previous: str | None, net_deposits: str) -> None:
    earlier = None if previous is None else Decimal(previous)
    assert daily_return(Decimal(100), earlier, Decimal(net_deposits)) is None


@settings(deadline=None)
@given(totals, on_grid(-1000, 1000))
def test_money_that_only_moves_in_or_out_earns_nothing(previous: Decimal, net_deposits: Decimal) -> None:
    moved = previous + net_deposits
    assert daily_return(moved, previous, net_deposits) == (Decimal(0) if moved > 0 else None)


def test_returns_chain_by_hand() -> None:
    """1.10 × 0.90 − 1 = −0.01; then 0.99 × 1.5 − 1 = 0.485."""
    first = chained_return(Decimal("0.1"), Decimal("-0.1"))
    assert first == Decimal("-0.01")
    assert chained_return(first, Decimal("0.5")) == Decimal("0.485")


@settings(deadline=None)
@given(returns)
def test_a_session_without_a_return_changes_nothing(known: Decimal) -> None:
    assert chained_return(known, None) == known
    assert chained_return(None, known) == known
    assert chained_return(None, None) is None


@settings(deadline=None)
@given(st.lists(on_grid(100, 200), min_size=2, max_size=30))
def test_chained_daily_returns_are_the_return_of_the_whole(closes: list[Decimal]) -> None:
    """Without deposits; prices within a factor of two keep every session's rounding below 3e-12."""
    chained: Decimal | None = None
    for earlier, later in pairwise(closes):
        chained = chained_return(chained, daily_return(later, earlier, Decimal(0)))
    assert chained is not None
    whole = Fraction(closes[-1]) / Fraction(closes[0]) - 1
    assert abs(Fraction(chained) - whole) <= Fraction(3 * len(closes), 10**12)
