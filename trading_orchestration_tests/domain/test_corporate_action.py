"""What actions do to holdings conserves value and cost, and adds up over the portfolios of an account."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.corporate_action import (
    ActionKind,
    CorporateAction,
    Effect,
    effects,
    price_factor,
    session_return,
)
from trading_orchestration.domain.money import EXACT, QUANTUM
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, fold
from trading_orchestration.domain.round_trip import keep_book
from trading_orchestration.domain.trade import Fill, Side

AAPL = "AAPL"
AT = datetime(2014, 6, 9, 4, tzinfo=UTC)
#: What sixty digits may be off by.
_ARITHMETIC = Decimal("1e-45")
RATIOS = [(7, 1), (2, 1), (3, 2), (1, 10), (1, 3), (5, 4), (20, 1), (1, 25)]


def action(kind: ActionKind = ActionKind.SPLIT, **terms: Any) -> CorporateAction:
    return CorporateAction(kind=kind, symbol=AAPL, session=date(2014, 6, 9), effective_at=AT, **terms)


def split(new: int, old: int, *, fraction_price: str | None = None) -> CorporateAction:
    price = None if fraction_price is None else Decimal(fraction_price)
    return action(new_units=Decimal(new), old_units=Decimal(old), fraction_price=price)


def held(quantity: int | Decimal, cost: str | Decimal = "100") -> Position:
    return Position(AAPL, Decimal(quantity), Decimal(cost) if Decimal(quantity) else Decimal(0))


def after(one: CorporateAction, position: Position, portfolio_id: int = 1) -> Position:
    for effect in effects(one, {portfolio_id: position}):
        entry = Adjustment(
            symbol=effect.symbol,
            quantity=effect.quantity,
            unit_cost=None if effect.keeps_cost else effect.unit_cost,
            occurred_at=AT,
            keeps_cost=effect.keeps_cost,
        )
        position = apply_adjustment(position, entry)
    return position


longs = st.decimals("0.001", "10000", places=9)
quantities = longs | longs.map(lambda quantity: -quantity)
costs = st.decimals("0.01", "5000", places=9)


@given(quantities, costs, st.lists(st.sampled_from(RATIOS), min_size=1, max_size=6))
def test_no_sequence_of_splits_at_consistent_prices_changes_a_value_or_a_cost(
    quantity: Decimal, price: Decimal, ratios: Sequence[tuple[int, int]]
):
    position, exact_price = held(quantity, price), price
    for new, old in ratios:
        before, position = position, after(split(new, old), position)
        exact_price = EXACT.divide(EXACT.multiply(exact_price, Decimal(old)), Decimal(new))
        assert (position.quantity > 0) == (before.quantity > 0)
    # Each split rounds the quantity once, to half of the last of nine places; later splits multiply that.
    bound, error = Decimal(0), QUANTUM / 2
    for new, old in ratios:
        bound = EXACT.divide(EXACT.multiply(bound, Decimal(new)), Decimal(old)) + error
    value = EXACT.multiply(position.quantity, exact_price)
    was = EXACT.multiply(quantity, price)
    assert abs(EXACT.subtract(value, was)) <= EXACT.multiply(bound, exact_price) + _ARITHMETIC
    cost = EXACT.multiply(position.quantity, position.average_cost)
    drift = sum((abs(q) for q in _sizes(quantity, ratios)), Decimal(0)) * QUANTUM
    assert abs(EXACT.subtract(cost, was)) <= drift
    assert position.realised_pnl == 0


def _sizes(quantity: Decimal, ratios: Sequence[tuple[int, int]]) -> list[Decimal]:
    """How large the holding was after each split: its cost may be off by so many times the last place."""
    sizes = []
    for new, old in ratios:
        quantity = EXACT.divide(EXACT.multiply(quantity, Decimal(new)), Decimal(old))
        sizes.append(abs(quantity) + 1)
    largest = max(sizes)
    return [largest * (1 + largest / size) for size in sizes]


@given(st.lists(longs, min_size=1, max_size=5), st.sampled_from(RATIOS))
def test_the_parts_of_portfolios_are_what_the_broker_makes_of_the_whole(
    parts: list[Decimal], ratio: tuple[int, int]
):
    one = split(*ratio)
    holders = {number: held(quantity) for number, quantity in enumerate(parts)}
    alone = effects(one, {0: held(sum(parts, Decimal(0)))})
    assert _moved(effects(one, holders)) == _moved(alone)


def _moved(found: Sequence[Effect]) -> Decimal:
    return sum((effect.quantity for effect in found), Decimal(0))


@given(
    st.lists(longs, min_size=1, max_size=5),
    st.sampled_from(RATIOS),
    st.decimals("0.5", "500", places=2),
)
def test_an_account_keeps_whole_units_and_its_fraction_is_paid_once(
    parts: list[Decimal], ratio: tuple[int, int], price: Decimal
):
    one = split(*ratio, fraction_price=str(price))
    holders = {number: held(quantity) for number, quantity in enumerate(parts)}
    found = effects(one, holders)
    units = sum(parts, Decimal(0)) + sum((effect.quantity for effect in found), Decimal(0))
    assert units == units.to_integral_value()
    sold = -sum((e.quantity for e in found if not e.keeps_cost), Decimal(0))
    assert 0 <= sold < 1
    assert abs(sum((e.cash for e in found), Decimal(0)) - sold * price) <= len(parts) * QUANTUM
    for number in holders:
        mine = parts[number] + sum((e.quantity for e in found if e.portfolio_id == number), Decimal(0))
        assert mine >= 0


def test_a_split_of_seven_for_one_is_exact():
    position = after(split(7, 1), held(100, "645.57"))
    assert (position.quantity, position.average_cost) == (Decimal(700), Decimal("92.224285714"))


def test_a_dividend_is_paid_to_the_cent_for_the_account_and_shorts_pay_it():
    dividend = action(ActionKind.DIVIDEND, cash_per_unit=Decimal("0.335"))
    assert [e.cash for e in effects(dividend, {1: held(1)})] == [Decimal("0.34")]
    shared = effects(dividend, {1: held(1), 2: held(2), 3: held(0)})
    assert {e.portfolio_id: e.cash for e in shared} == {1: Decimal("0.335"), 2: Decimal("0.675")}
    assert [e.cash for e in effects(dividend, {1: held(-100)})] == [Decimal("-33.50")]


def test_what_nobody_holds_is_touched_by_nothing():
    for one in (split(7, 1), action(ActionKind.DELISTING, cash_per_unit=Decimal(1))):
        assert effects(one, {1: held(0)}) == []
        assert effects(one, {}) == []


def test_a_delisting_that_does_not_say_what_it_pays_does_nothing():
    assert effects(action(ActionKind.DELISTING), {1: held(5)}) == []


def fill(quantity: int, price: str, side: Side = Side.BUY) -> Fill:
    return Fill(symbol=AAPL, side=side, quantity=Decimal(quantity), price=Decimal(price), executed_at=AT)


def test_a_round_trip_over_a_split_stays_one_with_its_owner():
    entry = Adjustment(symbol=AAPL, quantity=Decimal(600), unit_cost=None, occurred_at=AT, keeps_cost=True)
    book = keep_book(
        AAPL,
        [(fill(100, "70"), "trend"), (entry, None), (fill(700, "12", Side.SELL), "trend")],
    )
    (trip,) = book.trips
    found: tuple[Any, ...] = (trip.owner, trip.quantity, trip.entry_price, trip.exit_price, trip.pnl)
    assert found == ("trend", 700, 10, 12, 1400)


def test_a_trip_that_was_closed_in_part_before_a_split_is_counted_in_its_new_units():
    entry = Adjustment(symbol=AAPL, quantity=Decimal(50), unit_cost=None, occurred_at=AT, keeps_cost=True)
    book = keep_book(
        AAPL,
        [
            (fill(100, "70"), "trend"),
            (fill(50, "80", Side.SELL), "trend"),
            (entry, None),
            (fill(100, "45", Side.SELL), "trend"),
        ],
    )
    (trip,) = book.trips
    found: tuple[Any, ...] = (trip.quantity, trip.entry_price, trip.exit_price)
    assert found == (200, 35, Decimal("42.5"))
    assert trip.pnl == 500 + 1000


@pytest.mark.parametrize("late", [-100, -150, -30])
def test_a_split_that_a_late_sale_overtook_can_be_made_good(late: int):
    """The ledger is folded with the sale before the split is corrected; nothing may be lost on the way."""
    entries: list[Fill | Adjustment] = [
        fill(100, "70"),
        fill(-late, "70", Side.SELL),
        Adjustment(symbol=AAPL, quantity=Decimal(600), unit_cost=None, occurred_at=AT, keeps_cost=True),
        Adjustment(symbol=AAPL, quantity=Decimal(6 * late), unit_cost=None, occurred_at=AT, keeps_cost=True),
    ]
    position = fold(AAPL, entries)
    assert position.quantity == 7 * (100 + late)
    # The cost is rounded once on the way.
    assert abs(position.average_cost - (10 if position.quantity else 0)) <= QUANTUM


def test_the_factors_of_prices_before_an_action():
    assert price_factor(split(7, 1), None) == pytest.approx(1 / 7)
    dividend = action(ActionKind.DIVIDEND, cash_per_unit=Decimal(3))
    assert price_factor(dividend, Decimal(100)) == pytest.approx(0.97)
    assert price_factor(dividend, Decimal(3)) == price_factor(dividend, None) == 1


@pytest.mark.parametrize(
    ("close", "before", "one", "earned"),
    [
        # Apple in 2014: split 7:1 on 9 June (+1.60 % that day), 3.29 a share on 8 May; its official closes.
        ("93.70", "645.57", split(7, 1), 0.016001),
        ("587.99", "592.33", action(ActionKind.DIVIDEND, cash_per_unit=Decimal("3.29")), -0.001773),
    ],
)
def test_a_return_over_a_split_or_dividend_is_what_a_holder_earned(
    close: str, before: str, one: CorporateAction, earned: float
):
    assert session_return(Decimal(close), Decimal(before), [one]) == pytest.approx(earned, abs=5e-7)
