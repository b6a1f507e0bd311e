"""Round trips and their owners, by hand and against the fold of the ledger."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.position import Adjustment, fold
from trading_orchestration.domain.round_trip import (
    Owner,
    SymbolBook,
    average_trade,
    keep_book,
    profit_factor,
    win_rate,
)
from trading_orchestration.domain.trade import Fill, Side

START = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
D = Decimal
Entry = tuple[Fill | Adjustment, Owner]


def at(number: int) -> datetime:
    return START + timedelta(minutes=number)


def fill(number: int, quantity: str, price: str, owner: Owner = "a", fee: str = "0") -> Entry:
    signed = Decimal(quantity)
    side = Side.BUY if signed > 0 else Side.SELL
    made = Fill(
        symbol="AAPL",
        side=side,
        quantity=abs(signed),
        price=Decimal(price),
        executed_at=at(number),
        fee=Decimal(fee),
    )
    return made, owner


def repair(number: int, quantity: str, unit_cost: str | None, owner: Owner = None) -> Entry:
    cost = None if unit_cost is None else Decimal(unit_cost)
    made = Adjustment(symbol="AAPL", quantity=Decimal(quantity), unit_cost=cost, occurred_at=at(number))
    return made, owner


def pnls(book: SymbolBook) -> dict[Owner, Decimal]:
    found: dict[Owner, Decimal] = {}
    for share in book.shares:
        found[share.owner] = found.get(share.owner, ZERO) + share.pnl
    return found


def test_a_trip_runs_from_flat_to_flat() -> None:
    book = keep_book("AAPL", [fill(0, "10", "100"), fill(1, "10", "110"), fill(2, "-20", "120", fee="3")])
    (trip,) = book.trips
    assert (trip.opened_at, trip.closed_at, trip.is_long) == (at(0), at(2), True)
    assert (trip.quantity, trip.entry_price, trip.exit_price, trip.pnl) == (D(20), D(105), D(120), D(297))


def test_selling_in_parts_is_one_trip_at_the_mean_price() -> None:
    book = keep_book("AAPL", [fill(0, "10", "100"), fill(1, "-4", "110"), fill(2, "-6", "90")])
    (trip,) = book.trips
    assert (trip.exit_price, trip.pnl, trip.closed_at) == (D(98), D(-20), at(2))
    assert [share.pnl for share in book.shares] == [D(0), D(40), D(-60)]


def test_the_fee_of_the_purchase_belongs_to_the_trip() -> None:
    book = keep_book("AAPL", [fill(0, "10", "100", fee="1"), fill(1, "-10", "101", fee="2")])
    assert book.trips[0].pnl == 7
    assert [(share.at, share.pnl) for share in book.shares] == [(at(0), D(-1)), (at(1), D(8))]


def test_what_is_still_held_is_an_open_trip() -> None:
    (trip,) = keep_book("AAPL", [fill(0, "10", "100"), fill(1, "-4", "110")]).trips
    assert (trip.closed_at, trip.quantity, trip.exit_price, trip.pnl) == (None, D(10), D(110), D(40))


def test_a_sale_through_zero_ends_one_trip_and_opens_another_with_its_share_of_the_fee() -> None:
    book = keep_book("AAPL", [fill(0, "5", "100"), fill(1, "-8", "90", fee="0.8"), fill(2, "3", "80")])
    long, short = book.trips
    assert (long.is_long, long.pnl, long.closed_at) == (True, D("-50.5"), at(1))
    assert (short.is_long, short.quantity, short.pnl) == (False, D(3), D("29.7"))
    assert (short.entry_price, short.exit_price) == (D(90), D(80))


def test_a_seller_gives_its_own_first_and_then_takes_from_the_others() -> None:
    """The example of the module: both hold 10 at 105; `a` sells 15 at 120."""
    entries = [fill(0, "10", "100", "a"), fill(1, "10", "110", "b"), fill(2, "-15", "120", "a")]
    book = keep_book("AAPL", entries)
    assert pnls(book) == {"a": 150, "b": 75}
    assert book.owned == {"b": 5}
    assert [(trip.owner, trip.closed_at, trip.pnl) for trip in book.trips] == [
        ("a", at(2), D(150)),
        ("b", None, D(75)),
    ]


def test_a_stop_loss_takes_from_each_by_what_it_holds() -> None:
    entries = [fill(0, "30", "100", "a"), fill(1, "10", "100", "b"), fill(2, "-20", "90", None, fee="4")]
    book = keep_book("AAPL", entries)
    assert pnls(book) == {"a": -153, "b": -51}
    assert book.owned == {"a": 15, "b": 5}


def test_a_split_changes_every_owners_units_and_no_ones_money() -> None:
    """Seven for one: six more at no cost. 10 at 700 become 70 at 100."""
    entries = [
        fill(0, "6", "700", "a"),
        fill(1, "4", "700", "b"),
        repair(2, "60", "0"),
        fill(3, "-70", "110", None),
    ]
    book = keep_book("AAPL", entries)
    assert pnls(book) == {"a": 420, "b": 280}
    assert [(trip.quantity, trip.entry_price) for trip in book.trips] == [(D(42), D(100)), (D(28), D(100))]


def test_units_that_a_repair_takes_are_no_sale() -> None:
    book = keep_book("AAPL", [fill(0, "10", "100"), repair(1, "-10", None)])
    (trip,) = book.trips
    assert (trip.closed_at, trip.exit_price, trip.pnl) == (at(1), None, D(0))
    assert book.owned == {}


def test_units_that_a_repair_brings_belong_to_the_portfolio() -> None:
    book = keep_book("AAPL", [repair(0, "5", "90"), fill(1, "-5", "100", "a")])
    assert pnls(book) == {None: 50}
    assert book.trips[0].entry_price == 90


def test_a_repair_through_zero_starts_anew_at_its_unit_cost() -> None:
    book = keep_book("AAPL", [fill(0, "5", "100"), repair(1, "-8", "90"), fill(2, "3", "80")])
    assert [(trip.owner, trip.is_long, trip.pnl) for trip in book.trips] == [
        ("a", True, D(0)),
        (None, False, D(30)),
    ]


def test_the_owners_share_what_is_not_realised() -> None:
    book = keep_book("AAPL", [fill(0, "30", "100", "a"), fill(1, "10", "100", "b")])
    assert book.unrealised(Decimal(101)) == {"a": 30, "b": 10}
    assert keep_book("AAPL", []).unrealised(Decimal(101)) == {}


def test_a_trip_that_earned_nothing_did_not_win() -> None:
    gains = [Decimal(30), Decimal(0), Decimal(-10), Decimal(10)]
    assert win_rate(gains) == 0.5
    assert profit_factor(gains) == 4
    assert average_trade(gains) == Decimal("7.5")


def test_trips_that_are_not_there_have_no_rates() -> None:
    assert (win_rate([]), profit_factor([]), average_trade([])) == (None, None, None)
    assert profit_factor([Decimal(1)]) is None


owners = st.sampled_from(["a", "b", "c", None])
amounts = st.integers(1, 30_000).map(lambda n: Decimal(n) / 1000)
prices = st.integers(1, 100_000).map(lambda n: Decimal(n) / 1000)
fees = st.integers(0, 5_000_000).map(lambda n: Decimal(n) / 1_000_000)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(draw(st.integers(0, 12))):
        quantity = draw(amounts) * draw(st.sampled_from([1, -1]))
        if draw(st.integers(0, 4)) == 0:
            entries.append(repair(number, str(quantity), str(draw(prices)), draw(owners)))
        else:
            entries.append(fill(number, str(quantity), str(draw(prices)), draw(owners), fee=str(draw(fees))))
    return entries


@given(ledgers())
def test_trips_and_owners_add_up_to_the_fold_of_the_ledger(entries: list[Entry]) -> None:
    folded, book = fold("AAPL", [entry for entry, _ in entries]), keep_book("AAPL", entries)
    assert (book.position.quantity, book.position.average_cost) == (folded.quantity, folded.average_cost)
    assert sum((trip.pnl for trip in book.trips), ZERO) == folded.realised_pnl
    assert sum(pnls(book).values(), ZERO) == folded.realised_pnl
    assert sum(book.owned.values(), ZERO) == folded.quantity
    fills = [entry for entry, _ in entries if isinstance(entry, Fill)]
    traded = sum((entry.quantity * entry.price for entry in fills), ZERO)
    assert sum((share.traded for share in book.shares), ZERO) == traded
    price = Decimal("17.123456789")
    assert sum(book.unrealised(price).values(), ZERO) == folded.unrealised_pnl(price)


@given(ledgers())
def test_owners_hold_the_same_side_and_have_one_open_trip_each(entries: list[Entry]) -> None:
    book = keep_book("AAPL", entries)
    assert all(quantity * book.position.quantity > 0 for quantity in book.owned.values())
    still_open = [trip.owner for trip in book.trips if trip.closed_at is None]
    assert sorted(still_open, key=str) == sorted(book.owned, key=str)


@given(ledgers())
def test_one_owner_has_the_trips_of_the_whole_portfolio(entries: list[Entry]) -> None:
    book = keep_book("AAPL", [(entry, "all") for entry, _ in entries])
    closed = [trip for trip in book.trips if trip.closed_at is not None]
    assert all((one.closed_at or at(99)) <= after.opened_at for one, after in pairwise(closed))
    assert len(book.trips) - len(closed) == (not book.position.is_flat)


@pytest.mark.parametrize("count", [3, 7])
def test_shares_never_exceed_what_an_owner_holds(count: int) -> None:
    """Owners of a billionth each, of which all but one unit is sold."""
    unit = Decimal("1e-9")
    entries = [fill(n, f"{unit:f}", "1", str(n)) for n in range(count)]
    book = keep_book("AAPL", [*entries, fill(count, f"{-unit * (count - 1):f}", "2", None)])
    assert sum(book.owned.values()) == unit
