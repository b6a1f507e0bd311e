"""Pictures show the numbers they are given, and come out the same every time."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from trading_orchestration.domain.trade import Side
from trading_orchestration.reporting import pictures
from trading_orchestration.services.portfolio_review import Review
from trading_orchestration.store.performance import Holding
from trading_orchestration_tests.fixtures.reviewed import reviewed


def drawn(review: Review, closes: Any) -> list[Figure]:
    return [
        pictures.equity_and_drawdown(review),
        pictures.monthly_returns(review),
        pictures.allocation(review),
        pictures.trades_on_prices(review, closes),
    ]


@pytest.mark.parametrize("count", [1, 2, 100])
def test_each_picture_is_a_png_of_the_asked_width(count: int) -> None:
    for figure in drawn(*reviewed(count, fills_a_symbol=min(count, 10))):
        with Image.open(BytesIO(pictures.png(figure, dpi=100))) as picture:
            assert (picture.format, picture.width) == ("PNG", 720)


def test_the_same_review_gives_the_same_bytes() -> None:
    first, second = ([pictures.png(figure, dpi=80) for figure in drawn(*reviewed(10))] for _ in range(2))
    assert first == second


def test_the_equity_line_holds_every_sessions_total() -> None:
    review, _ = reviewed(30)
    value, paid_in = pictures.equity_and_drawdown(review).axes[0].lines
    assert list(value.get_ydata()) == [float(v.total_value) for v in review.values]  # type: ignore[arg-type]
    assert set(paid_in.get_ydata()) == {100_000.0}  # type: ignore[arg-type]


def test_the_equity_of_portfolios_is_drawn_with_their_drawdowns_from_highs_before_it() -> None:
    """A return that is not known leaves a hole, and does not move the high."""
    rows = [
        {"portfolio": name, "session": date(2014, 1, day), "total_value": total, "total_return": earned}
        for day, total_a, return_a in [(6, 110, Decimal("0.1")), (7, 120, None), (8, 121, Decimal("0.21"))]
        for name, total, earned in [("a", total_a, return_a), ("b", 50, Decimal("-0.5"))]
    ]
    upper, lower = pictures.equity_of_portfolios(rows, {"a": Decimal("0.2")}).axes  # type: ignore[arg-type]
    assert [line.get_label() for line in upper.lines] == ["a", "b"]
    assert list(upper.lines[0].get_ydata()) == [110, 120, 121]  # type: ignore[arg-type]
    depths = [np.asarray(line.get_ydata()).tolist() for line in lower.lines]
    assert depths == [pytest.approx([1.1 / 1.2 - 1, np.nan, 0], nan_ok=True), [-0.5] * 3]


def test_what_a_missing_session_makes_unknown_is_not_drawn() -> None:
    review, _ = reviewed(60)  # 2014-01-02 to 2014-03-26
    gap = replace(review, gaps=[date(2014, 2, 3), date(2014, 2, 4)])
    assert len(pictures.equity_and_drawdown(gap).axes[1].lines) == 0
    assert len(pictures.equity_and_drawdown(review).axes[1].lines) == 1
    texts = [text.get_text() for text in pictures.monthly_returns(gap).axes[0].texts]
    whole = [text.get_text() for text in pictures.monthly_returns(review).axes[0].texts]
    assert len(whole) == 4
    assert texts == [whole[0], whole[2]]


def test_each_fill_is_marked_at_its_price() -> None:
    review, closes = reviewed(30, symbols=("AAPL",), fills_a_symbol=7)
    (axes,) = pictures.trades_on_prices(review, closes).axes
    bought, sold = (np.asarray(marks.get_offsets())[:, 1].tolist() for marks in axes.collections)
    assert bought == [float(fill.price) for fill in review.fills if fill.side is Side.BUY]
    assert sold == [float(fill.price) for fill in review.fills if fill.side is Side.SELL]
    assert [len(bought), len(sold)] == [4, 3]


def test_the_symbols_that_were_traded_most_are_drawn() -> None:
    names = tuple("ABCDEFGH")
    review, closes = reviewed(30, symbols=names, fills_a_symbol=2)
    chosen = pictures.most_traded(review)
    assert len(chosen) == pictures.TRADED_SYMBOLS_MAX
    labels = [axes.get_ylabel() for axes in pictures.trades_on_prices(review, closes).axes]
    assert labels == chosen


def test_the_months_and_the_year_are_written_in_their_cells() -> None:
    review, _ = reviewed(25)  # 2014-01-02 to 2014-02-05
    texts = [text.get_text() for text in pictures.monthly_returns(review).axes[0].texts]
    assert len(texts) == 3
    assert texts[2] == f"{review.performance.total_return:z.1%}"


@pytest.mark.parametrize("value", [Decimal(50), Decimal(-50)])
def test_a_short_position_is_a_negative_share(value: Decimal) -> None:
    review, _ = reviewed(2)
    held = Holding(
        portfolio_id=1, symbol="AAPL", quantity=value, average_cost=value, close=Decimal(1), value=value
    )
    total = replace(review.performance, end_value=Decimal(100))
    figure = pictures.allocation(replace(review, holdings=[held], performance=total))
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert f"{float(value) / 100:.1%}" in labels
