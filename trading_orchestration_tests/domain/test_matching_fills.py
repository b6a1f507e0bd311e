"""How much of an order a price fills, and what it costs."""

from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.matching import (
    BookExecution,
    BookOrder,
    OrderState,
    PaperSettings,
    PriceTick,
    cash_change,
    holdings_after,
    match,
)
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import Fill, OrderTerms, Side
from trading_orchestration_tests.domain.orders_and_prices import (
    AT,
    BUY,
    NO_COST,
    PRICES,
    SELL,
    SIDES,
    price_paths,
    resting,
    terms,
    tick,
)

QUANTITIES = st.integers(1, 10**13).map(lambda units: str(Decimal(units).scaleb(-9))) | st.integers(
    1, 1000
).map(str)
SETTINGS = st.builds(
    PaperSettings,
    partial_fill_fraction=st.none() | st.decimals("0.001", "1", places=3),
    commission=st.builds(
        Commission,
        per_share=st.decimals(0, 1, places=3),
        per_order=st.decimals(0, 10, places=2),
        rate=st.decimals("0", "0.01", places=4),
        minimum=st.decimals(0, 5, places=2),
    ),
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
    owed = settings.commission.fee(after.filled_quantity, after.filled_average_price or Decimal(0))
    assert abs(sum(execution.fill.fee for execution in executions) - owed) <= Decimal("1e-8")


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
    settings = PaperSettings(
        partial_fill_fraction=Decimal(fraction), commission=Commission(per_order=Decimal(1))
    )
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
