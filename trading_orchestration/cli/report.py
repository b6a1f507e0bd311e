"""`trading report`: how a portfolio did, on one page or as numbers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_orchestration.cli.amounts import day
from trading_orchestration.cli.files import new_file
from trading_orchestration.cli.output import Json, print_json

if TYPE_CHECKING:
    from trading_orchestration.cli.installation import Installation
    from trading_orchestration.services.portfolio_review import Review

Name = Annotated[str, typer.Argument(help="The portfolio.", metavar="PORTFOLIO")]
First = Annotated[
    str | None, typer.Option("--from", help="The first session; else that of the first snapshot.")
]
Last = Annotated[str | None, typer.Option("--to", help="The last session; else that of the last snapshot.")]
Benchmark = Annotated[
    str | None, typer.Option(help="A symbol with daily bars to compare with; else TRADING_BENCHMARK.")
]
Output = Annotated[Path | None, typer.Option("--output", help="The page; else PORTFOLIO.html.")]


def report(
    portfolio: Name,
    first: First = None,
    last: Last = None,
    benchmark: Benchmark = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Equity, returns, risk, trades and strategies of a portfolio as one HTML file that needs nothing else.

    With --json its numbers go to stdout, and a page is written only where --output names one.
    """
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.performance import Period, review_portfolio

    period = Period(
        first=day(first, what="--from") if first else None, last=day(last, what="--to") if last else None
    )
    with open_installation() as opened:
        review = review_portfolio(
            portfolio,
            begin=opened.begin,
            calendar=opened.calendar,
            period=period,
            benchmark=(benchmark or opened.settings.trading_benchmark).upper() or None,
        )
        if output or not as_json:
            path = output or Path(f"{portfolio}.html")
            size = _write_page(opened, review, path)
    if as_json:
        print_json(
            {
                "performance": asdict(review.performance),
                "strategies": [asdict(strategy) for strategy in review.strategies],
            }
        )
    else:
        print(f"{path}: {review.performance.sessions:,} sessions, {max(size // 1000, 1)} kB")


def _write_page(opened: "Installation", review: "Review", path: Path) -> int:
    from trading_orchestration.reporting import pictures
    from trading_orchestration.reporting.report import report as page_of
    from trading_orchestration.services.performance import session_closes

    with new_file(path) as file:
        closes = session_closes(review, pictures.most_traded(review), begin=opened.begin)
        return file.write_bytes(page_of(review, closes).encode())
