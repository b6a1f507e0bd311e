"""A fill changes a position in one place; average cost, P&L and flips come out to the last digit."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.portfolio import cash_effect
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, apply_fill, fold
from trading_orchestration.domain.trade import Fill, Side
from trading_orchestration.errors import LedgerError

OPEN = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
HALF_STEP = Fraction(1, 2 * 10**9)


def fill(side: str, quantity: str, price: str, fee: str = "0", minute: int = 0) -> Fill:
    return Fill(
        symbol="AAPL",
        side=Side(side),
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        executed_at=OPEN + timedelta(minutes=minute),
    )


def adjustment(quantity: str, unit_cost: str | None = None, minute: int = 0) -> Adjustment:
    return Adjustment(
        symbol="AAPL",
        quantity=Decimal(quantity),
        unit_cost=None if unit_cost is None else Decimal(unit_cost),
        occurred_at=OPEN + timedelta(minutes=minute),
    )


def position(quantity: str, average_cost: str, realised_pnl: str = "0") -> Position:
    return Position("AAPL", Decimal(quantity), Decimal(average_cost), Decimal(realised_pnl))


def amounts(low: int, high: int) -> st.SearchStrategy[Decimal]:
    """Amounts on the grid, from dust and odd fractions to round numbers."""
    whole = st.integers(low, high).map(Decimal)
    dust = st.integers(1, 10**6).map(lambda n: Decimal(n).scaleb(-9))
    odd = st.integers(low * 10**9, high * 10**9).map(lambda n: Decimal(n).scaleb(-9))
    return whole | dust | odd


fills = st.builds(
    Fill,
    symbol=st.just("AAPL"),
    side=st.sampled_from(Side),
    quantity=amounts(1, 100_000),
    price=amounts(1, 10_000),
    executed_at=st.just(OPEN),
    fee=st.integers(-(10**8), 10**10).map(lambda n: Decimal(n).scaleb(-9)),
)
adjustments = st.builds(
    Adjustment,
    symbol=st.just("AAPL"),
    quantity=st.integers(-(10**14), 10**14).map(lambda n: Decimal(n).scaleb(-9)),
    unit_cost=amounts(1, 10_000),
    occurred_at=st.just(OPEN),
)
ledgers = st.lists(fills, max_size=15)


# ── By hand ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "entry", "after"),
    [
        pytest.param(
            # The fee is realised at once; it does not enter the cost.
            position("0", "0"),
            fill("buy", "10", "100", "1.25"),
            position("10", "100", "-1.25"),
            id="opens long",
        ),
        pytest.param(
            # (10 × 100 + 30 × 110) / 40 = 4300 / 40 = 107.5
            position("10", "100"),
            fill("buy", "30", "110"),
            position("40", "107.5"),
            id="adds to long",
        ),
        pytest.param(
            # (1 × 10 + 2 × 11) / 3 = 32 / 3 = 10.666…, up at the ninth place
            position("1", "10"),
            fill("buy", "2", "11"),
            position("3", "10.666666667"),
            id="rounds the average cost half up",
        ),
        pytest.param(
            # 15 × (120 − 105) = 225, less a fee of 0.5
            position("20", "105", "3"),
            fill("sell", "15", "120", "0.5"),
            position("5", "105", "227.5"),
            id="reduces long",
        ),
        pytest.param(
            # 5 × (90 − 105) = −75
            position("5", "105"),
            fill("sell", "5", "90"),
            position("0", "0", "-75"),
            id="closes long",
        ),
        pytest.param(
            # closes 5 × (90 − 105) = −75, opens −3 at 90; the whole fee falls on the realised P&L
            position("5", "105"),
            fill("sell", "8", "90", "0.08"),
            position("-3", "90", "-75.08"),
            id="flips long to short",
        ),
        pytest.param(
            position("0", "0"),
            fill("sell", "4", "50"),
            position("-4", "50"),
            id="opens short",
        ),
        pytest.param(
            # (4 × 50 + 6 × 60) / 10 = 560 / 10 = 56
            position("-4", "50"),
            fill("sell", "6", "60"),
            position("-10", "56"),
            id="adds to short",
        ),
        pytest.param(
            # bought back 6 × (56 − 40) = 96
            position("-10", "56"),
            fill("buy", "6", "40"),
            position("-4", "56", "96"),
            id="reduces short",
        ),
        pytest.param(
            # 4 × (56 − 61) = −20, opens +2 at 61
            position("-4", "56"),
            fill("buy", "6", "61"),
            position("2", "61", "-20"),
            id="flips short to long",
        ),
        pytest.param(
            # 0.000000001 × (200.5 − 100) = 0.0000001005, rounded to 0.000000101
            position("0.000000003", "100"),
            fill("sell", "0.000000001", "200.5"),
            position("0.000000002", "100", "0.000000101"),
            id="dust of a billionth share",
        ),
        pytest.param(
            # (0.333333333 × 3 + 0.666666667 × 6) / 1 = 0.999999999 + 4.000000002 = 5.000000001
            position("0.333333333", "3"),
            fill("buy", "0.666666667", "6"),
            position("1", "5.000000001"),
            id="fractions add up to a whole",
        ),
    ],
)
def test_a_fill_by_hand(before: Position, entry: Fill, after: Position) -> None:
    assert apply_fill(before, entry) == after


def test_a_day_by_hand() -> None:
    """Buys 20 at 105 on average; 15 × 15 = 225; 5 × −15 = −75 and short 3 at 90; 3 × (90 − 80) = 30 − 1."""
    day = [
        fill("buy", "10", "100", minute=0),
        fill("buy", "10", "110", minute=1),
        fill("sell", "15", "120", minute=2),
        fill("sell", "8", "90", minute=3),
        fill("buy", "3", "80", "1", minute=4),
    ]
    assert fold("AAPL", day) == position("0", "0", "179")


@pytest.mark.parametrize(
    ("before", "repair", "after"),
    [
        pytest.param(
            # (10 × 100 + 5 × 130) / 15 = 1650 / 15 = 110
            position("10", "100", "7"),
            adjustment("5", "130"),
            position("15", "110", "7"),
            id="adds at its unit cost",
        ),
        pytest.param(
            position("10", "100", "7"),
            adjustment("-4"),
            position("6", "100", "7"),
            id="reduces at the average cost",
        ),
        pytest.param(
            position("10", "100", "7"), adjustment("-10", "55"), position("0", "0", "7"), id="closes"
        ),
        pytest.param(
            position("10", "100"), adjustment("-12", "55"), position("-2", "55"), id="flips at its unit cost"
        ),
        pytest.param(
            # 7:1: 6 new shares for each at no cost; 700 / 7 = 100
            position("10", "700"),
            adjustment("60", "0"),
            position("70", "100"),
            id="a split keeps the cost of the whole",
        ),
        pytest.param(position("10", "100"), adjustment("0"), position("10", "100"), id="nothing"),
    ],
)
def test_an_adjustment_by_hand(before: Position, repair: Adjustment, after: Position) -> None:
    assert apply_adjustment(before, repair) == after


@pytest.mark.parametrize(("quantity", "value", "pnl"), [("10", "1500", "500"), ("-10", "-1500", "-500")])
def test_value_and_unrealised_pnl_take_the_sign_of_the_position(quantity: str, value: str, pnl: str) -> None:
    """10 × 150 = 1500; 10 × (150 − 100) = 500."""
    held = position(quantity, "100")
    assert held.market_value(Decimal(150)) == Decimal(value)
    assert held.unrealised_pnl(Decimal(150)) == Decimal(pnl)


# ── Refused ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            replace(fill("buy", "1", "1"), symbol="MSFT"),
            "An entry of MSFT was applied to the position of AAPL",
        ),
        (fill("buy", "0", "1"), "quantity and price must be above 0"),
        (fill("buy", "-1", "1"), "quantity and price must be above 0"),
        (fill("buy", "1", "0"), "quantity and price must be above 0"),
        (fill("buy", "1.0000000001", "1"), "The fill's quantity in AAPL was 1.0000000001; round it"),
        (fill("buy", "1", "NaN"), "The fill's price in AAPL was NaN"),
        (fill("buy", "1", "1", "Infinity"), "The fill's fee in AAPL was Infinity"),
        (replace(adjustment("1", "1"), symbol="MSFT"), "An entry of MSFT was applied"),
        (adjustment("1"), "An adjustment of 1 AAPL adds to a holding of 5 without a unit cost"),
        (adjustment("-6"), "An adjustment of -6 AAPL adds to a holding of 5 without a unit cost"),
        (adjustment("1", "-1"), "An adjustment of AAPL had the unit cost -1; give 0 or more"),
        (adjustment("1e-10", "1"), "The adjustment's quantity in AAPL was 1E-10"),
        (adjustment("1", "1e-10"), "The adjustment's unit cost in AAPL was 1E-10"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(entry: Fill | Adjustment, message: str) -> None:
    with pytest.raises(LedgerError) as refused:
        fold("AAPL", [fill("buy", "5", "1"), entry])
    assert message in str(refused.value)


def test_a_fold_out_of_execution_order_is_refused() -> None:
    with pytest.raises(LedgerError, match="fold the ledger in execution order"):
        fold("AAPL", [fill("buy", "1", "1", minute=1), adjustment("1", "1", minute=0)])


def test_a_fold_takes_equal_instants_in_the_order_given() -> None:
    """Sold first: 1 × (8 − 5) = 3, then 2 at 9. Bought first: (5 + 2 × 9) / 3 = 7.666666667, 8 less that."""
    first, sell, buy = fill("buy", "1", "5"), fill("sell", "1", "8"), fill("buy", "2", "9")
    assert fold("AAPL", [first, sell, buy]) == position("2", "9", "3")
    assert fold("AAPL", [first, buy, sell]) == position("2", "7.666666667", "0.333333333")


def test_a_fold_of_nothing_is_flat() -> None:
    assert fold("AAPL", []) == Position("AAPL")
    assert Position("AAPL").is_flat


# ── Always ───────────────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(st.lists(fills | adjustments, max_size=15))
def test_the_quantity_is_the_sum_of_signed_fills_and_adjustments(
    entries: Sequence[Fill | Adjustment],
) -> None:
    signed = (e.side.sign * e.quantity if isinstance(e, Fill) else e.quantity for e in entries)
    assert fold("AAPL", entries).quantity == sum(signed, Decimal(0))


@settings(deadline=None)
@given(st.lists(fills | adjustments, max_size=15))
def test_a_flat_position_has_no_cost_and_no_cost_is_negative(entries: Sequence[Fill | Adjustment]) -> None:
    """What the checks on the table `positions` demand."""
    end = fold("AAPL", entries)
    assert end.average_cost >= 0
    assert not end.is_flat or end.average_cost == 0


@settings(deadline=None)
@given(ledgers, fills)
def test_a_reducing_fill_never_changes_the_average_cost(before: list[Fill], last: Fill) -> None:
    held = fold("AAPL", before)
    assume(held.quantity * last.side.sign < 0)
    last = replace(last, quantity=min(last.quantity, abs(held.quantity)))
    after = apply_fill(held, last)
    assert after.average_cost == (held.average_cost if after.quantity else 0)


@settings(deadline=None)
@given(ledgers, fills)
def test_an_adding_fill_puts_the_average_cost_between_the_two_and_realises_only_its_fee(
    before: list[Fill], last: Fill
) -> None:
    held = fold("AAPL", before)
    assume(held.quantity * last.side.sign > 0)
    after = apply_fill(held, last)
    assert min(held.average_cost, last.price) <= after.average_cost <= max(held.average_cost, last.price)
    assert after.realised_pnl == held.realised_pnl - last.fee


@settings(deadline=None)
@given(ledgers, fills, amounts(1, 1000))
def test_a_flip_is_a_close_and_an_opening(before: list[Fill], last: Fill, beyond: Decimal) -> None:
    held = fold("AAPL", before)
    assume(held.quantity * last.side.sign < 0)
    closing = replace(last, quantity=abs(held.quantity))
    opening = replace(last, quantity=beyond, fee=Decimal(0))
    flipping = replace(last, quantity=closing.quantity + beyond)
    assert apply_fill(held, flipping) == apply_fill(apply_fill(held, closing), opening)


@settings(deadline=None)
@given(fills, fills)
def test_long_and_short_mirror_each_other(first: Fill, second: Fill) -> None:
    """The same prices the other way round give the opposite quantity and, before fees, the opposite P&L."""
    entries = [replace(first, fee=Decimal(0)), replace(second, fee=Decimal(0))]
    mirrored = [replace(e, side=Side.SELL if e.side is Side.BUY else Side.BUY) for e in entries]
    one, other = fold("AAPL", entries), fold("AAPL", mirrored)
    assert (one.quantity, one.average_cost) == (-other.quantity, other.average_cost)
    assert one.realised_pnl == -other.realised_pnl


@settings(deadline=None)
@given(st.lists(fills, min_size=1, max_size=15), amounts(1, 10_000))
def test_realised_and_unrealised_are_the_whole_gain(entries: list[Fill], price: Decimal) -> None:
    """Gain = cash effects + quantity × price, up to rounding.

    Each fill rounds its cash effect (half a step of 1e-9). One that adds rounds the average cost, half a
    step for each unit held after it; one that reduces rounds the realised P&L, half a step. Valuing rounds
    twice more. Nothing else is rounded, so that is the bound.
    """
    held, cash, bound = Position("AAPL"), Decimal(0), 2 * HALF_STEP
    for entry in entries:
        adds = held.quantity * entry.side.sign > 0
        held, cash = apply_fill(held, entry), cash + cash_effect(entry)
        bound += HALF_STEP * (1 + (Fraction(abs(held.quantity)) if adds else 1))
    gain = Fraction(cash) + Fraction(held.market_value(price))
    claimed = Fraction(held.realised_pnl) + Fraction(held.unrealised_pnl(price))
    assert abs(gain - claimed) <= bound


@settings(deadline=None)
@given(ledgers, adjustments)
def test_an_adjustment_leaves_the_realised_pnl_alone(before: list[Fill], repair: Adjustment) -> None:
    held = fold("AAPL", before)
    assert apply_adjustment(held, repair).realised_pnl == held.realised_pnl


@settings(deadline=None)
@given(st.lists(fills | adjustments, max_size=15))
def test_a_position_can_be_stored_as_it_is(entries: Sequence[Fill | Adjustment]) -> None:
    """Nine places at most, so that the cache read back equals the fold."""
    end = fold("AAPL", entries)
    for value in (end.quantity, end.average_cost, end.realised_pnl):
        assert isinstance(value, Decimal)
        assert (Fraction(value) * 10**9).denominator == 1
