"""Two sets of books are compared, and a repair is split so that it adds up."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.reconciliation import (
    AdjustmentCause,
    Discrepancy,
    allocate,
    compare_cash,
    compare_positions,
)
from trading_orchestration.errors import LedgerError

QUANTUM = Decimal("1e-9")
quantities = st.integers(-(10**14), 10**14).map(lambda n: Decimal(n).scaleb(-9))
held = st.integers(0, 10**14).map(lambda n: Decimal(n).scaleb(-9))
books = st.dictionaries(st.sampled_from(["AAPL", "GOOG", "IBM", "MSFT"]), quantities)
accounts = st.dictionaries(st.integers(1, 50), held, min_size=1, max_size=8)


def difference(amount: str | Decimal) -> Discrepancy:
    amount = Decimal(amount)
    return Discrepancy(symbol="AAPL", ours=Decimal(0), brokers=amount, difference=amount)


def found(symbol: str | None, ours: str, brokers: str, apart: str) -> Discrepancy:
    return Discrepancy(
        symbol=symbol,
        ours=Decimal(ours),
        brokers=Decimal(brokers),
        difference=Decimal(apart),
        cause=AdjustmentCause.UNKNOWN,
    )


def test_every_symbol_that_differs_is_found_and_nothing_else() -> None:
    ours = {"AAPL": Decimal(10), "GOOG": Decimal(5), "IBM": Decimal(3), "MSFT": Decimal(0)}
    brokers = {"AAPL": Decimal("10.000000000"), "GOOG": Decimal("4.5"), "TSLA": Decimal(-1)}
    assert compare_positions(ours, brokers, skip=()) == [
        found("GOOG", "5", "4.5", "-0.5"),
        found("IBM", "3", "0", "-3"),
        found("TSLA", "0", "-1", "-1"),
    ]


def test_a_symbol_that_is_moving_is_left_out() -> None:
    ours = {"AAPL": Decimal(10), "GOOG": Decimal(5)}
    assert compare_positions(ours, {}, skip={"AAPL"}) == [found("GOOG", "5", "0", "-5")]


def test_a_difference_of_a_billionth_counts_and_less_does_not() -> None:
    ours = {"AAPL": Decimal("1.000000001")}
    assert compare_positions(ours, {"AAPL": Decimal(1)}, skip=()) == [
        found("AAPL", "1.000000001", "1", "-0.000000001")
    ]
    assert compare_positions({"AAPL": Decimal(1)}, {"AAPL": Decimal("1.0000000004")}, skip=()) == []


@settings(deadline=None)
@given(books, books)
def test_booking_every_difference_makes_the_books_equal(
    ours: dict[str, Decimal], brokers: dict[str, Decimal]
) -> None:
    repaired = dict(ours)
    for discrepancy in compare_positions(ours, brokers, skip=()):
        assert discrepancy.symbol is not None
        repaired[discrepancy.symbol] = repaired.get(discrepancy.symbol, Decimal(0)) + discrepancy.difference
    assert compare_positions(repaired, brokers, skip=()) == []


@pytest.mark.parametrize("brokers", ["1000", "1000.01", "999.99"])
def test_cash_within_the_tolerance_is_equal(brokers: str) -> None:
    assert compare_cash(Decimal(1000), Decimal(brokers), Decimal("0.01")) is None


def test_cash_beyond_the_tolerance_is_a_discrepancy_without_a_symbol() -> None:
    assert compare_cash(Decimal(1000), Decimal("999.98"), Decimal("0.01")) == found(
        None, "1000", "999.98", "-0.02"
    )


@pytest.mark.parametrize(
    ("amount", "holders", "shares"),
    [
        pytest.param("-9", {1: "10", 2: "5"}, {1: "-6", 2: "-3"}, id="10 : 5 is 2 : 1"),
        pytest.param(
            "1",
            {1: "1", 2: "1", 3: "1"},
            {1: "0.333333334", 2: "0.333333333", 3: "0.333333333"},
            id="what is left goes to the smallest id among equals",
        ),
        pytest.param(
            # 1 × 2/3 = 0.666666666|6 and 1 × 1/3 = 0.333333333|3 leave one step, for the larger holder
            "1",
            {1: "1", 2: "2"},
            {1: "0.333333333", 2: "0.666666667"},
            id="what is left goes to the largest",
        ),
        pytest.param("5", {4: "0", 3: "0"}, {3: "5"}, id="nobody holds it: the smallest id"),
        pytest.param("5", {3: "0", 4: "7"}, {4: "5"}, id="who holds nothing takes nothing"),
        pytest.param("-15", {1: "10", 2: "5"}, {1: "-10", 2: "-5"}, id="all of it is gone"),
        pytest.param("3", {1: "-2", 2: "-1"}, {1: "2", 2: "1"}, id="shorts are weighed by their size"),
        pytest.param(
            "-0.000000002",
            {1: "0.000000001", 2: "0.000000001", 3: "0.000000001"},
            {1: "-0.000000001", 2: "-0.000000001"},
            id="dust takes no one below zero",
        ),
        pytest.param("-5", {1: "10", 2: "-5"}, {1: "-5"}, id="a short does not grow while a long can shrink"),
        pytest.param("4", {1: "10", 2: "-5"}, {2: "4"}, id="a long does not grow while a short can shrink"),
        pytest.param("6", {1: "10", 2: "-5"}, {1: "4", 2: "2"}, id="more than the shorts: by size"),
        pytest.param("0", {1: "1"}, {}, id="nothing to split"),
    ],
)
def test_a_repair_is_split_by_hand(amount: str, holders: dict[int, str], shares: dict[int, str]) -> None:
    split = allocate(difference(amount), {i: Decimal(quantity) for i, quantity in holders.items()})
    assert split == {i: Decimal(share) for i, share in shares.items()}


@settings(deadline=None)
@given(quantities, accounts)
def test_the_shares_add_up_to_the_difference_on_the_grid(
    amount: Decimal, holders: dict[int, Decimal]
) -> None:
    shares = allocate(difference(amount), holders)
    assert sum(shares.values(), Decimal(0)) == amount
    for share in shares.values():
        assert share != 0
        assert share == share.quantize(QUANTUM)
        assert (share > 0) == (amount > 0)


@settings(deadline=None)
@given(quantities, accounts)
def test_each_share_is_within_one_step_of_its_proportion(
    amount: Decimal, holders: dict[int, Decimal]
) -> None:
    total = sum(holders.values(), Decimal(0))
    shares = allocate(difference(amount), holders)
    if total > 0:
        for portfolio_id, quantity in holders.items():
            exact = amount * quantity / total
            assert abs(shares.get(portfolio_id, Decimal(0)) - exact) <= QUANTUM


@settings(deadline=None)
@given(accounts, st.integers(0, 10**9))
def test_a_reduction_takes_no_portfolio_below_zero(holders: dict[int, Decimal], part: int) -> None:
    total = sum(holders.values(), Decimal(0))
    gone = (total * part / 10**9).quantize(QUANTUM)
    for portfolio_id, share in allocate(difference(-gone), holders).items():
        assert holders[portfolio_id] + share >= 0


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 50), quantities, min_size=1, max_size=8))
def test_a_broker_that_is_flat_makes_no_position_grow_or_turn(holders: dict[int, Decimal]) -> None:
    """Units that come need a cost, and nobody knows one."""
    gone = -sum(holders.values(), Decimal(0))
    for portfolio_id, share in allocate(difference(gone), holders).items():
        before, after = holders[portfolio_id], holders[portfolio_id] + share
        assert abs(after) < abs(before)
        assert after * before >= 0


def test_cash_is_split_by_size_whatever_its_sign() -> None:
    cash = Discrepancy(symbol=None, ours=Decimal(90), brokers=Decimal(101), difference=Decimal(11))
    assert allocate(cash, {1: Decimal(100), 2: Decimal(-10)}) == {1: Decimal(10), 2: Decimal(1)}


@settings(deadline=None)
@given(quantities, accounts)
def test_the_split_does_not_depend_on_the_order_of_the_portfolios(
    amount: Decimal, holders: dict[int, Decimal]
) -> None:
    backwards = dict(reversed(holders.items()))
    assert allocate(difference(amount), holders) == allocate(difference(amount), backwards)


def test_an_account_without_portfolios_cannot_take_a_repair() -> None:
    with pytest.raises(LedgerError, match="A difference of 5 has no portfolio"):
        allocate(difference("5"), {})
