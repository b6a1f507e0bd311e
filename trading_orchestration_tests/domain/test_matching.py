"""Whether a price fills an order, and at what price."""

import gzip
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from importlib import resources

import pytest
from hypothesis import given

from trading_orchestration.domain.matching import (
    OrderState,
    PaperSettings,
    PriceRange,
    PriceTick,
    Touch,
    match,
    touch,
)
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side
from trading_orchestration.errors import InvalidInputError, SettingsError
from trading_orchestration_tests.domain.orders_and_prices import (
    ANY_TERMS,
    AT,
    BUY,
    NO_COST,
    SELL,
    ended,
    price_paths,
    prices_of,
    resting,
    terms,
    tick,
)


@pytest.mark.parametrize(
    ("of", "prices", "price"),
    [
        pytest.param(terms(BUY), "100", "100", id="market at the price"),
        pytest.param(terms(BUY), "101 106 99 104", "101", id="market at the open"),
        pytest.param(terms(BUY, limit="98"), "101 106 99 104", None, id="limit buy not reached"),
        pytest.param(terms(BUY, limit="99"), "101 106 99 104", "99", id="limit buy touched at the low"),
        pytest.param(terms(BUY, limit="100"), "101 106 99 104", "100", id="limit buy at its limit"),
        pytest.param(terms(BUY, limit="103"), "101 106 99 104", "101", id="limit buy at a better open"),
        pytest.param(terms(SELL, limit="107"), "101 106 99 104", None, id="limit sell not reached"),
        pytest.param(terms(SELL, limit="106"), "101 106 99 104", "106", id="limit sell touched at the high"),
        pytest.param(terms(SELL, limit="100"), "101 106 99 104", "101", id="limit sell at a better open"),
        pytest.param(terms(BUY, stop="107"), "101 106 99 104", None, id="stop buy not reached"),
        pytest.param(terms(BUY, stop="105"), "101 106 99 104", "105", id="stop buy at its stop"),
        pytest.param(terms(BUY, stop="100"), "101 106 99 104", "101", id="stop buy past it at the open"),
        pytest.param(terms(SELL, stop="98"), "101 106 99 104", None, id="stop sell not reached"),
        pytest.param(terms(SELL, stop="100"), "101 106 99 104", "100", id="stop sell at its stop"),
        pytest.param(terms(SELL, stop="103"), "101 106 99 104", "101", id="stop sell past it at the open"),
    ],
)
def test_an_order_is_filled_where_the_price_touches_it_or_at_the_open_on_a_gap(
    of: OrderTerms, prices: str, price: str | None
):
    touched = touch(of, prices_of(prices), is_stop_triggered=False)
    assert touched.price == (None if price is None else Decimal(price))


@pytest.mark.parametrize(
    ("of", "prices", "expected"),
    [
        pytest.param(terms(BUY, stop="107", limit="108"), "101 106 99 104", (False, None), id="untouched"),
        pytest.param(terms(BUY, stop="105", limit="105"), "101 106 99 104", (True, "105"), id="at the stop"),
        pytest.param(
            terms(BUY, stop="105", limit="103"), "101 106 99 104", (True, None), id="low came first?"
        ),
        pytest.param(terms(BUY, stop="105", limit="103"), "101 106 99 102", (True, "103"), id="fell through"),
        pytest.param(terms(BUY, stop="100", limit="99"), "101 106 99 104", (True, "99"), id="open triggers"),
        pytest.param(
            terms(BUY, stop="100", limit="98"), "101 106 99 104", (True, None), id="gapped past both"
        ),
        pytest.param(
            terms(SELL, stop="100", limit="100"), "101 106 99 104", (True, "100"), id="sell at stop"
        ),
        pytest.param(terms(SELL, stop="100", limit="103"), "101 106 99 102", (True, None), id="high first?"),
        pytest.param(
            terms(SELL, stop="100", limit="103"), "101 106 99 104", (True, "103"), id="rose through"
        ),
    ],
)
def test_a_stop_limit_order_is_filled_in_the_bar_of_its_stop_only_when_that_is_certain(
    of: OrderTerms, prices: str, expected: tuple[bool, str | None]
):
    is_triggered, price = expected
    expected_touch = Touch(is_triggered, None if price is None else Decimal(price))
    assert touch(of, prices_of(prices), is_stop_triggered=False) == expected_touch


def test_a_triggered_stop_limit_order_is_a_limit_order():
    of = terms(BUY, stop="105", limit="103")
    assert touch(of, prices_of("104 104 102 103"), is_stop_triggered=True) == Touch(True, Decimal(103))
    triggered = match(resting(of), tick("106"), at=AT, settings=NO_COST)
    assert triggered is not None
    assert triggered.execution is None
    assert triggered.order.is_stop_triggered
    assert triggered.order.state is OrderState.ACCEPTED


def test_an_order_that_came_after_the_bar_began_meets_only_the_price_at_its_end():
    late = replace(resting(terms(BUY, limit="100")), active_from=AT + timedelta(seconds=1))
    assert match(late, tick("101 106 99 104"), at=AT, settings=NO_COST) is None
    assert match(late, tick("101 106 99 100"), at=AT, settings=NO_COST) is not None


@pytest.mark.parametrize(
    ("of", "opening", "price"),
    [
        pytest.param(terms(BUY, limit="98"), "97", "97", id="limit buy at a better open"),
        pytest.param(terms(SELL, stop="98"), "97", "97", id="stop sell past it at the open"),
        pytest.param(terms(SELL, stop="99"), "97", "99", id="stop sell inside the bar before"),
        pytest.param(terms(BUY, stop="105", limit="103"), "97", "97", id="stop-limit triggered before"),
        pytest.param(terms(BUY), "97", "101", id="market at the first price"),
    ],
)
def test_after_the_bar_an_order_meets_the_open_of_the_next(of: OrderTerms, opening: str, price: str):
    both = PriceTick("AAPL", Decimal(opening), ended("101 106 99 104"))
    matched = match(resting(of), both, at=AT, settings=NO_COST)
    assert matched is not None
    assert matched.execution is not None
    assert matched.execution.fill.price == Decimal(price)


def test_nothing_happens_to_an_order_that_the_price_does_not_meet():
    assert match(resting(terms(BUY, limit="98")), tick("100"), at=AT, settings=NO_COST) is None
    triggered = replace(resting(terms(BUY, stop="105", limit="103")), is_stop_triggered=True)
    assert match(triggered, tick("106"), at=AT, settings=NO_COST) is None


# Every way the price can have gone ─────────────────────────────────────────────────────────────────────


def fill_along(of: OrderTerms, path: list[int]) -> Decimal | None:
    """The price at which an order is filled that meets each price of the path in turn."""
    is_triggered = False
    for price in path:
        touched = touch(of, PriceRange.at(Decimal(price)), is_stop_triggered=is_triggered)
        if touched.price is not None:
            return touched.price
        is_triggered = touched.is_stop_triggered
    return None


@given(of=ANY_TERMS, path=price_paths())
def test_a_bar_fills_an_order_as_the_path_inside_it_did(of: OrderTerms, path: list[int]):
    """All but a stop-limit order are filled alike; that one never where its path had not filled it."""
    opening, high, low, close = path[0], max(path), min(path), path[-1]
    in_bar = touch(of, prices_of(f"{opening} {high} {low} {close}"), is_stop_triggered=False)
    along = fill_along(of, path)
    if of.order_type is not OrderType.STOP_LIMIT or in_bar.price is not None:
        assert in_bar.price == along


@given(of=ANY_TERMS, path=price_paths())
def test_a_stop_is_triggered_in_a_bar_exactly_when_the_path_inside_it_touched_it(
    of: OrderTerms, path: list[int]
):
    in_bar = touch(
        of, prices_of(f"{path[0]} {max(path)} {min(path)} {path[-1]}"), is_stop_triggered=False
    ).is_stop_triggered
    stop = of.stop_price
    is_buy = of.side is Side.BUY
    assert in_bar == (stop is not None and (max(path) >= stop if is_buy else min(path) <= stop))


# Bad input ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "prices",
    [
        "0",
        "-1",
        "NaN",
        "Infinity",
        "1.0000000001",
        "101 99 98 100",
        "101 106 102 104",
        "101 103 99 104",
        "101 106 105 104",
        "101 106 NaN 104",
    ],
)
def test_prices_that_cannot_be_are_refused(prices: str):
    with pytest.raises(InvalidInputError, match="AAPL"):
        tick(prices)


def test_a_bar_of_another_symbol_is_refused():
    with pytest.raises(InvalidInputError, match="A price of AAPL came with a bar of MSFT"):
        PriceTick("AAPL", Decimal(100), ended("100 101 99 100", "MSFT"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partial_fill_fraction", "0"),
        ("partial_fill_fraction", "1.1"),
        ("slippage_bps", "-1"),
        ("slippage_bps", "5001"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: str):
    values = {name: Decimal(value)}
    with pytest.raises(SettingsError, match=name):
        PaperSettings(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def goog() -> dict[str, str]:
    """The sample bars of GOOG as "open high low close", by session."""
    sample = resources.files("trading_orchestration") / "sample_data" / "daily_prices.csv.gz"
    rows = (line.split(",") for line in gzip.decompress(sample.read_bytes()).decode().splitlines())
    return {row[1]: " ".join(row[2:6]) for row in rows if row[0] == "GOOG"}


@pytest.mark.parametrize(
    ("after", "of", "filled"),
    [
        ("2004-09-24", terms(BUY, limit="118.33"), "2004-09-27 118.33"),
        ("2004-10-08", terms(BUY, limit="137.49"), "2004-10-11 137.01"),
        ("2006-05-25", terms(BUY, limit="378.9"), "2006-05-30 378.28"),
        ("2009-09-25", terms(SELL, limit="506.78"), "2009-10-07 506.78"),
        ("2009-08-27", terms(SELL, limit="458.38"), "2009-08-28 469.26"),
        ("2005-06-13", terms(BUY, stop="289.27"), "2005-06-21 289.27"),
        ("2008-07-03", terms(BUY, stop="521.18"), "2008-07-07 542.33"),
        ("2005-02-16", terms(SELL, stop="196.7"), "2005-02-18 196.7"),
        ("2011-11-15", terms(SELL, stop="632.9"), "2011-11-16 612.08"),
        ("2005-06-27", terms(BUY, stop="306.36", limit="309.17"), "2005-06-28 306.36"),
        ("2005-02-02", terms(BUY, stop="210.78", limit="209.57"), "2005-02-04 206.47"),
        ("2008-06-05", terms(SELL, stop="577.59", limit="583.19"), None),
    ],
)
def test_orders_that_rest_are_filled_when_and_where_other_engines_fill_them(
    goog: dict[str, str], after: str, of: OrderTerms, filled: str | None
):
    """backtrader 1.9.78 and backtesting.py 0.6.6, for an order that is sent after a close."""
    sessions = [session for session in goog if session > after][:8]
    order = resting(of)
    for session, price in ((s, p) for s in sessions for p in (goog[s].split()[0], goog[s])):
        done = match(order, tick(price), at=AT, settings=NO_COST)
        order = order if done is None else done.order
        if done is not None and done.execution is not None:
            assert f"{session} {done.execution.fill.price.normalize()}" == filled
            return
    assert filled is None
