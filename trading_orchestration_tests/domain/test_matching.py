"""When a price fills an order, at what price, and how much of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.matching import (
    BookExecution,
    BookOrder,
    OrderState,
    PaperSettings,
    PriceRange,
    PriceTick,
    Touch,
    cash_change,
    holdings_after,
    match,
    touch,
)
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.trade import Fill, OrderTerms, OrderType, Side
from trading_orchestration.errors import InvalidInputError, SettingsError

AT = datetime(2024, 7, 2, 14, 0, tzinfo=UTC)
NO_COST = PaperSettings()


def terms(
    side: str, *, limit: str | None = None, stop: str | None = None, quantity: str = "10"
) -> OrderTerms:
    types = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (False, True): OrderType.STOP,
        (True, True): OrderType.STOP_LIMIT,
    }
    return OrderTerms(
        symbol="AAPL",
        side=Side(side),
        quantity=Decimal(quantity),
        order_type=types[limit is not None, stop is not None],
        limit_price=None if limit is None else Decimal(limit),
        stop_price=None if stop is None else Decimal(stop),
    )


def resting(of: OrderTerms) -> BookOrder:
    return BookOrder(
        order_id="order-1",
        client_order_id="client-1",
        terms=of,
        state=OrderState.ACCEPTED,
        submitted_at=AT,
        active_from=AT,
        expires_at=None,
        updated_at=AT,
    )


def ended(text: str, symbol: str = "AAPL") -> Bar:
    """A bar from "open high low close" that began at `AT`."""
    opening, high, low, close = map(Decimal, text.split())
    return Bar(
        symbol=symbol,
        timeframe=Timeframe.MINUTE,
        session=AT.date(),
        starts_at=AT,
        ends_at=AT + timedelta(minutes=1),
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=Decimal(1),
        source="test",
    )


def prices_of(text: str) -> PriceRange:
    """A range from "open high low close", or from a price alone."""
    values = list(map(Decimal, text.split()))
    return PriceRange.at(values[0]) if len(values) == 1 else PriceRange(*values)


def tick(text: str) -> PriceTick:
    """A tick at the end of the bar "open high low close", or of a price alone."""
    price = Decimal(text.split()[-1])
    return PriceTick("AAPL", price, ended(text) if " " in text else None)


BUY, SELL = "buy", "sell"


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

CENTS = st.integers(90, 110)
SIDES = st.sampled_from([BUY, SELL])
PRICES = CENTS.map(str)
ANY_TERMS = st.builds(terms, SIDES, limit=st.none() | PRICES, stop=st.none() | PRICES)


@st.composite
def price_paths(draw: st.DrawFn) -> list[int]:
    """A price that goes from turn to turn in steps of one, as a market that skips nothing does."""
    turns = draw(st.lists(CENTS, min_size=1, max_size=7))
    path = turns[:1]
    for start, end in pairwise(turns):
        step = 1 if end > start else -1
        path += range(start + step, end + step, step) if start != end else []
    return path


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


# How much, and at what cost ────────────────────────────────────────────────────────────────────────────

QUANTITIES = st.integers(1, 10**13).map(lambda units: str(Decimal(units).scaleb(-9))) | st.integers(
    1, 1000
).map(str)
SETTINGS = st.builds(
    PaperSettings,
    partial_fill_fraction=st.none() | st.decimals("0.001", "1", places=3),
    fee_per_trade=st.decimals(0, 10, places=2),
    slippage_bps=st.decimals(0, 100, places=1),
)
ORDERS = st.builds(
    lambda side, limit, stop, quantity: resting(terms(side, limit=limit, stop=stop, quantity=quantity)),
    SIDES,
    st.none() | PRICES,
    st.none() | PRICES,
    QUANTITIES,
)
BARS = price_paths().map(lambda path: tick(f"{path[0]} {max(path)} {min(path)} {path[-1]}"))


def best_price(of: PriceTick, side: Side) -> Decimal:
    """The best price of a tick for that side."""
    assert of.ended is not None
    return of.ended.low if side is Side.BUY else of.ended.high


def run(
    order: BookOrder, ticks: list[PriceTick], settings: PaperSettings
) -> tuple[BookOrder, list[BookExecution]]:
    """The order and its executions after the ticks, or until it was filled."""
    executions = []
    for given_tick in ticks:
        matched = match(order, given_tick, at=AT, settings=settings)
        if matched is None:
            continue
        order = matched.order
        executions += [matched.execution] if matched.execution else []
        if order.state is OrderState.FILLED:
            break
    return order, executions


@given(order=ORDERS, ticks=st.lists(BARS, min_size=1, max_size=6), settings=SETTINGS)
def test_fills_add_up_to_the_filled_quantity_and_never_to_more_than_the_order(
    order: BookOrder, ticks: list[PriceTick], settings: PaperSettings
):
    after, executions = run(order, ticks, settings)
    quantities = [execution.fill.quantity for execution in executions]
    assert all(quantity > 0 for quantity in quantities)
    assert [execution.cumulative_quantity for execution in executions] == list(accumulate(quantities))
    assert sum(quantities) == after.filled_quantity <= order.terms.quantity
    expected = {0: OrderState.ACCEPTED, order.terms.quantity: OrderState.FILLED}
    assert after.state is expected.get(after.filled_quantity, OrderState.PARTIALLY_FILLED)
    assert len({execution.execution_id for execution in executions}) == len(executions)
    assert sum(execution.fill.fee for execution in executions) == (
        settings.fee_per_trade if executions else 0
    )


@given(order=ORDERS, ticks=st.lists(BARS, min_size=1, max_size=6), settings=SETTINGS)
def test_no_fill_is_worse_than_its_limit_or_better_than_the_market(
    order: BookOrder, ticks: list[PriceTick], settings: PaperSettings
):
    _, executions = run(order, ticks, settings)
    sign, limit = order.terms.side.sign, order.terms.limit_price
    best = min(best_price(one, order.terms.side) * sign for one in ticks)
    for execution in executions:
        assert limit is None or sign * execution.fill.price <= sign * limit
        assert sign * execution.fill.price >= best


@given(order=ORDERS, ticks=st.lists(BARS, min_size=1, max_size=6), settings=SETTINGS)
def test_cash_and_holding_are_the_sum_of_the_fills(
    order: BookOrder, ticks: list[PriceTick], settings: PaperSettings
):
    fills = [execution.fill for execution in run(order, ticks, settings)[1]]
    held = holdings_after({"AAPL": Position("AAPL", Decimal(3), Decimal(90))}, fills)
    expected = 3 + sum(fill.side.sign * fill.quantity for fill in fills)
    assert [one.quantity for one in held.values()] == ([expected] if fills else [])
    assert sum(map(cash_change, fills)) == sum(
        -fill.side.sign * (fill.quantity * fill.price).quantize(Decimal("1e-9"), "ROUND_HALF_UP") - fill.fee
        for fill in fills
    )


@pytest.mark.parametrize(
    ("quantity", "fraction", "fills"),
    [
        ("10", "0.25", "2 2 2 2 2"),
        ("3", "0.1", "1 1 1"),
        ("1.5", "0.5", "0.75 0.75"),
        ("0.000000003", "0.1", "0.000000001 0.000000001 0.000000001"),
        ("7", "1", "7"),
    ],
)
def test_a_touch_fills_its_share_in_whole_units_where_the_order_has_whole_units(
    quantity: str, fraction: str, fills: str
):
    settings = PaperSettings(partial_fill_fraction=Decimal(fraction), fee_per_trade=Decimal(1))
    after, executions = run(resting(terms(BUY, quantity=quantity)), [tick("100")] * 9, settings)
    assert [execution.fill.quantity for execution in executions] == list(map(Decimal, fills.split()))
    assert [execution.fill.fee for execution in executions] == [1] + [0] * (len(executions) - 1)
    assert after.state is OrderState.FILLED
    assert after.filled_average_price == 100


def test_the_average_price_weighs_the_fills_by_their_quantity():
    settings = PaperSettings(partial_fill_fraction=Decimal("0.7"))
    after, executions = run(resting(terms(BUY)), [tick("100"), tick("110")], settings)
    assert [execution.fill.quantity for execution in executions] == [7, 3]
    assert after.filled_average_price == 103


@pytest.mark.parametrize(
    ("of", "price"),
    [
        pytest.param(terms(BUY), "100.05", id="market buy pays more"),
        pytest.param(terms(SELL), "99.95", id="market sell gets less"),
        pytest.param(terms(BUY, stop="99"), "100.05", id="stop buy pays more"),
        pytest.param(terms(BUY, limit="101"), "100", id="a limit has no slippage"),
        pytest.param(terms(SELL, stop="101", limit="99"), "100", id="nor has a stop-limit"),
    ],
)
def test_slippage_moves_the_price_of_market_and_stop_orders_against_them(of: OrderTerms, price: str):
    matched = match(resting(of), tick("100"), at=AT, settings=PaperSettings(slippage_bps=Decimal(5)))
    assert matched is not None
    assert matched.execution is not None
    assert matched.execution.fill.price == Decimal(price)


def test_an_execution_is_named_after_the_order_and_what_was_filled_by_then():
    matched = match(resting(terms(BUY, quantity="2.50")), tick("100"), at=AT, settings=NO_COST)
    assert matched is not None
    assert matched.execution is not None
    assert matched.execution.execution_id == "order-1:2.5"
    assert matched.execution.fill.executed_at == AT


def test_a_sale_brings_its_notional_less_the_fee():
    fill = Fill(
        symbol="AAPL",
        side=Side.SELL,
        quantity=Decimal("0.333333333"),
        price=Decimal("100.01"),
        executed_at=AT,
        fee=Decimal("0.35"),
    )
    assert cash_change(fill) == Decimal("33.336666633") - Decimal("0.35")


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
        ("fee_per_trade", "-0.01"),
        ("fee_per_trade", "NaN"),
        ("slippage_bps", "-1"),
        ("slippage_bps", "5001"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: str):
    values = {name: Decimal(value)}
    with pytest.raises(SettingsError, match=name):
        PaperSettings(**values)  # type: ignore[arg-type]
