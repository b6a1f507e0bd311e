"""The assets `portfolio_performance` and `strategy_attribution`, downstream of `portfolio_snapshots`.

They change nothing and keep nothing but what the UI shows, so that they need neither admission nor a breaker;
anyone may materialise them at any time.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_orchestration.errors import TradingError
from trading_orchestration.orchestration.descriptions import OWNERS
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.services.portfolio_review import Review
    from trading_orchestration.wiring import Trading

#: An event in Dagster's log is read whole: portfolios beyond these have their row, and `trading report`.
_PICTURED_MAX = 6
_GROUP = "performance"


@dg.asset(
    deps=["portfolio_snapshots"],
    description="Return, risk and trading figures of every portfolio over all its snapshots.",
    group_name=_GROUP,
    kinds={"postgres"},
    owners=OWNERS,
)
def portfolio_performance(trading: TradingResource) -> dg.MaterializeResult[None]:
    """Every figure with its formula is in docs/performance.md."""
    from trading_orchestration.orchestration.metadata import table
    from trading_orchestration.reporting.wording import overview_row

    opened, reviews = _reviews(trading)
    metadata: dict[str, Any] = {
        "portfolios": len(reviews),
        "overview": table([overview_row(review.performance) for review in reviews]),
    }
    for review in reviews[:_PICTURED_MAX]:
        metadata |= _of_portfolio(opened, review)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    deps=["portfolio_snapshots"],
    description="What each strategy earned; the strategies of a portfolio add up to its P&L.",
    group_name=_GROUP,
    kinds={"postgres"},
    owners=OWNERS,
)
def strategy_attribution(trading: TradingResource) -> dg.MaterializeResult[None]:
    """Who owns what of a position that strategies share is told in docs/performance.md."""
    from trading_orchestration.orchestration.metadata import picture, table
    from trading_orchestration.reporting import pictures
    from trading_orchestration.reporting.wording import strategy_rows

    _, reviews = _reviews(trading)
    rows: list[Mapping[str, str]] = [
        {"portfolio": review.performance.portfolio, **row}
        for review in reviews
        for row in strategy_rows(review)
    ]
    metadata: dict[str, Any] = {"rows": len(rows), "strategies": table(rows)}
    if rows:
        metadata["earned"] = picture("earned", pictures.strategy_profits(reviews))
    return dg.MaterializeResult(metadata=metadata)


def _reviews(trading: TradingResource) -> "tuple[Trading, Sequence[Review]]":
    from trading_orchestration.services.performance import review_portfolios

    try:
        opened = trading.open()
        benchmark = opened.settings.trading_benchmark.upper() or None
        reviews = review_portfolios(begin=opened.begin, calendar=opened.calendar, benchmark=benchmark)
    except TradingError as error:
        raise dg.Failure(str(error)) from error
    return opened, reviews


def _of_portfolio(opened: "Trading", review: "Review") -> dict[str, dg.MetadataValue[Any]]:
    from trading_orchestration.orchestration.metadata import picture, table
    from trading_orchestration.reporting import pictures
    from trading_orchestration.reporting.wording import metrics_of
    from trading_orchestration.services.performance import session_closes

    name = review.performance.portfolio
    figures = [
        {"figure": m.name, "value": m.value, "formula": m.formula} for m in metrics_of(review.performance)
    ]
    closes = session_closes(review, pictures.most_traded(review), begin=opened.begin)
    found = {
        f"{name}: value": dg.MetadataValue.float(round(float(review.performance.end_value), 2)),
        f"{name}: figures": table(figures),
        f"{name}: equity": picture("equity", pictures.equity_and_drawdown(review)),
        f"{name}: months": picture("months", pictures.monthly_returns(review)),
        f"{name}: allocation": picture("allocation", pictures.allocation(review)),
    }
    if review.fills:
        found[f"{name}: trades"] = picture("trades", pictures.trades_on_prices(review, closes))
    if review.performance.notes:
        found[f"{name}: notes"] = dg.MetadataValue.text(" ".join(review.performance.notes))
    return found
