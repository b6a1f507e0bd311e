"""Pictures of a portfolio: equity and drawdown, allocation, monthly returns, trades on prices.

The same review gives the same bytes. Colours are told apart by people who see red and green alike.
"""

import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trading_orchestration.domain import performance as metrics
from trading_orchestration.domain.trade import Fill, Side
from trading_orchestration.reporting.wording import NO_STRATEGY
from trading_orchestration.services.portfolio_review import Review
from trading_orchestration.store.history import Row
from trading_orchestration.store.performance import Close

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.2
#: Symbols in the picture of trades; the report's table has the rest.
TRADED_SYMBOLS_MAX = 6

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#D55E00", "#8A8F98", "#24292F"
#: One a portfolio, where several are in one picture.
_COLOURS = (_BLUE, _ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", _INK, _GREY)
#: Of those that share a colour.
_STYLES = ("-", "--", ":")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: A month that earned or lost as much is drawn in the full colour.
_FULL_COLOUR = 0.1
_FONT_SIZE = 8
#: Enough for these flat colours and their edges; keeps a picture to some 20 kB.
_PALETTE_SIZE = 128


def equity_and_drawdown(review: Review) -> "Figure":
    """What the portfolio was worth beside what was paid in, and below it how far it was under its high.

    That is not drawn where a session has no snapshot: the returns then do not tell.
    """
    figure = _figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    days = _days([value.session for value in review.values])
    upper.plot(days, [float(v.total_value) for v in review.values], color=_BLUE, linewidth=1.3, label="value")
    upper.plot(
        days,
        [float(amount) for amount in review.paid_in],
        color=_GREY,
        linewidth=1,
        linestyle="--",
        label="paid in",
    )
    upper.yaxis.set_major_formatter(_thousands)
    upper.set_ylabel(review.performance.currency)
    _legend(upper)
    sessions, returns = review.returns
    depths = metrics.drawdowns(returns)
    if depths is not None and not review.gaps:
        lower.fill_between(_days(sessions), depths, 0, color=_ORANGE, alpha=0.35, linewidth=0)
        lower.plot(_days(sessions), depths, color=_ORANGE, linewidth=0.8)
        lower.set_ylim(top=0)
    _finish_drawdown(upper, lower)
    return figure


def equity_of_portfolios(snapshots: Sequence[Row], highs: Mapping[str, Decimal]) -> "Figure":
    """What each portfolio was worth, and below it how far it was under its high.

    `snapshots` are rows of `history.snapshots_between`; `highs` are the best returns since the start
    (fractions) that portfolios had before these. No drawdown is drawn where a return is not known.
    """
    portfolios: defaultdict[str, list[Row]] = defaultdict(list)
    for row in snapshots:
        portfolios[row["portfolio"]].append(row)
    figure = _figure(3.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for number, (name, rows) in enumerate(portfolios.items()):
        again, colour = divmod(number, len(_COLOURS))
        look: Any = {"color": _COLOURS[colour], "linestyle": _STYLES[again % len(_STYLES)]}
        days = _days([row["session"] for row in rows])
        totals = [float(row["total_value"]) for row in rows]
        depths = _depths([row["total_return"] for row in rows], highs.get(name))
        upper.plot(days, totals, linewidth=1.3, label=name, **look)
        lower.plot(days, depths, linewidth=0.8, **look)
    upper.yaxis.set_major_formatter(_thousands)
    upper.set_ylabel("total value")
    _legend(upper, columns=5)
    lower.set_ylim(top=0)
    _finish_drawdown(upper, lower)
    return figure


def _finish_drawdown(upper: "Axes", lower: "Axes") -> None:
    lower.yaxis.set_major_formatter(_percent)
    lower.set_ylabel("drawdown")
    _finish(upper, lower)
    _date_axis(lower)


def _depths(returns: Sequence[Decimal | None], best_before: Decimal | None) -> list[float]:
    """How far each return since the start is under the best so far; not a number where it is not known."""
    high = max(1.0, 1 + float(best_before or 0))
    found = []
    for total_return in returns:
        worth = math.nan if total_return is None else 1 + float(total_return)
        high = max(high, worth) if total_return is not None else high
        found.append(worth / high - 1)
    return found


def allocation(review: Review) -> "Figure":
    """What the portfolio consists of at the last close, as shares of its total value; shorts are negative."""
    total = review.performance.end_value
    parts = sorted(
        [("cash", review.values[-1].cash), *((h.symbol, h.value) for h in review.holdings)],
        key=lambda part: part[1],
    )
    figure = _figure(0.8 + 0.3 * len(parts))
    axes = figure.subplots()
    shares = [float(value / total) if total > 0 else 0.0 for _, value in parts]
    colours = [_GREY if name == "cash" else _BLUE for name, _ in parts]
    bars = axes.barh([name for name, _ in parts], shares, color=colours, height=0.65)
    axes.bar_label(bars, [f"{share:.1%}" for share in shares], padding=3, color=_INK, fontsize=_FONT_SIZE)
    axes.set_xlim(min(0.0, *shares) * 1.15, max(1.0, *shares) * 1.12)
    axes.xaxis.set_major_formatter(_percent)
    _finish(axes, grid="x")
    return figure


def monthly_returns(review: Review) -> "Figure":
    """A row a year and a column a month, with the year's return at the end; time-weighted.

    A month in which a session has no snapshot stays empty, and so does its year's return.
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    months = metrics.monthly_returns(*review.returns)
    months |= {(day.year, day.month): None for day in review.gaps}
    years = sorted({year for year, _ in months})
    grid = np.full((max(len(years), 1), 13), np.nan)
    for (year, month), earned in months.items():
        grid[years.index(year), month - 1] = np.nan if earned is None else earned
    for row, year in enumerate(years):
        of_year = [earned for (of, _), earned in months.items() if of == year]
        known = [earned for earned in of_year if earned is not None]
        whole = metrics.total_return(known) if len(known) == len(of_year) else None
        grid[row, 12] = np.nan if whole is None else whole
    figure = _figure(0.7 + 0.28 * len(grid))
    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("returns", [_ORANGE, "#FFFFFF", _BLUE])
    axes.imshow(grid, cmap=colours, vmin=-_FULL_COLOUR, vmax=_FULL_COLOUR, aspect="auto")
    for (row, column), earned in np.ndenumerate(grid):
        if np.isfinite(earned):
            ink = "white" if abs(earned) > _FULL_COLOUR * 0.7 else _INK
            axes.text(column, row, f"{earned:z.1%}", ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(13), [*_MONTHS, "year"])
    axes.set_yticks(range(len(years)), [str(year) for year in years])
    axes.axvline(11.5, color="white", linewidth=3)
    axes.tick_params(length=0, labelsize=_FONT_SIZE)
    axes.spines[:].set_visible(False)
    return figure


def trades_on_prices(review: Review, closes: Mapping[str, Sequence[Close]]) -> "Figure":
    """The closes of the symbols that were traded most, with every purchase and sale at its price."""
    symbols = [symbol for symbol in most_traded(review) if symbol in closes]
    figure = _figure(0.5 + 1.35 * max(len(symbols), 1))
    panels = figure.subplots(max(len(symbols), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, symbol in zip(panels, symbols, strict=False):
        of_symbol = closes[symbol]
        days = _days([close.session for close in of_symbol])
        axes.plot(days, [float(close.price) for close in of_symbol], color=_GREY, linewidth=0.9)
        fills = [fill for fill in review.fills if fill.symbol == symbol]
        for side, marker, colour in ((Side.BUY, "^", _BLUE), (Side.SELL, "v", _ORANGE)):
            _mark(axes, [fill for fill in fills if fill.side is side], marker, colour)
        axes.set_ylabel(symbol)
        axes.yaxis.set_major_formatter(_thousands)
    if symbols:
        _legend(panels[0])
    _finish(*panels)
    _date_axis(panels[-1])
    return figure


def strategy_profits(reviews: Sequence[Review]) -> "Figure":
    """What each strategy earned: realised, and what it would be if all were sold at the last close."""
    earned = [
        (f"{review.performance.portfolio} / {of.strategy or NO_STRATEGY}", of.trades)
        for review in reviews
        for of in review.strategies
    ]
    figure = _figure(0.8 + 0.4 * max(len(earned), 1))
    axes = figure.subplots()
    rows = range(len(earned))
    realised = [float(trades.realised_pnl) for _, trades in earned]
    unrealised = [float(trades.unrealised_pnl or 0) for _, trades in earned]
    axes.barh([row - 0.18 for row in rows], realised, height=0.34, color=_BLUE, label="realised")
    axes.barh([row + 0.18 for row in rows], unrealised, height=0.34, color=_GREY, label="unrealised")
    axes.set_yticks(list(rows), [name for name, _ in earned])
    axes.invert_yaxis()
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.xaxis.set_major_formatter(_thousands)
    _legend(axes)
    _finish(axes, grid="x")
    return figure


def most_traded(review: Review) -> list[str]:
    """The symbols with the largest |quantity × price| of fills in the period, most first."""
    traded: dict[str, Decimal] = defaultdict(Decimal)
    for fill in review.fills:
        traded[fill.symbol] += fill.quantity * fill.price
    return sorted(traded, key=lambda symbol: (-traded[symbol], symbol))[:TRADED_SYMBOLS_MAX]


def png(figure: "Figure", *, dpi: int) -> bytes:
    """The picture as a PNG, 7.2 × dpi pixels wide. Its size does not grow with the number of sessions."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(_PALETTE_SIZE).save(packed, format="png", optimize=True)
    return packed.getvalue()


def _figure(height_in: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def _finish(*panels: "Axes", grid: str = "y") -> None:
    for axes in panels:
        axes.grid(visible=True, axis="x" if grid == "x" else "y", color="#E5E7EB", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#C4C8CE")
        axes.tick_params(labelsize=_FONT_SIZE, color="#C4C8CE")
        axes.yaxis.label.set_fontsize(_FONT_SIZE)


def _date_axis(axes: "Axes") -> None:
    """Few dates, each as short as it can be told apart from its neighbours."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set_fontsize(_FONT_SIZE)


def _legend(axes: "Axes", *, columns: int = 2) -> None:
    """Above the axes, where no line runs."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=_FONT_SIZE)


def _mark(axes: "Axes", fills: Sequence[Fill], marker: str, colour: str) -> None:
    label = "bought" if marker == "^" else "sold"
    days = _days([fill.executed_at.date() for fill in fills])
    prices = [float(fill.price) for fill in fills]
    axes.scatter(days, prices, marker=marker, s=16, color=colour, linewidth=0, zorder=3, label=label)


def _days(sessions: Sequence[date]) -> Any:
    import numpy as np

    return np.array(sessions, "datetime64[D]")


def _thousands(value: float, _position: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:,.2f}"


def _percent(value: float, _position: object = None) -> str:
    return f"{value * 100:.3g}%"
