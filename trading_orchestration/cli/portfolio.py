"""`trading portfolio`: what money is traded, through which account, within which limits."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.amounts import fraction, fraction_or_none
from trading_orchestration.cli.output import (
    Column,
    Json,
    minute,
    money,
    print_fields,
    print_json,
    print_table,
    share,
    show,
    yes_or_no,
)
from trading_orchestration.cli.rows import halt_row, position_row

if TYPE_CHECKING:
    from trading_orchestration.services.portfolio_overview import PortfolioDetail, PortfolioOverview

app = typer.Typer(help="Portfolios: their cash, their account, their limits.", no_args_is_help=True)

_LIST = [
    Column("name"),
    Column("broker"),
    Column("account_number", "account"),
    Column("cash", write=money),
    Column("positions_value", "positions", money),
    Column("total_value", "total", money),
    Column("position_count", "held"),
    Column("is_halted", "halted", yes_or_no),
]
_FIELDS = [
    *_LIST[:3],
    Column("environment"),
    Column("currency"),
    *_LIST[3:6],
    Column("max_position_pct", "largest position", share),
    Column("max_positions"),
    Column("stop_loss_pct", "stop loss", share),
    Column("take_profit_pct", "take profit", share),
    Column("max_daily_loss_pct", "largest daily loss", share),
    Column("max_drawdown_pct", "largest drawdown", share),
    Column("min_cash_pct", "least cash", share),
]
_POSITIONS = [
    Column("symbol"),
    Column("quantity"),
    Column("average_cost", write=money),
    Column("market_price", "price", money),
    Column("market_value", "value", money),
    Column("unrealised_pnl", "unrealised", money),
]
_OPEN_TRADES = [
    Column("decided_at", "decided", minute),
    Column("symbol"),
    Column("side"),
    Column("quantity"),
    Column("filled_quantity", "filled"),
    Column("status"),
    Column("strategy"),
]
_STRATEGIES = [Column("name", "strategy"), Column("is_enabled", "enabled", yes_or_no), Column("last_error")]
_HALTS = [Column("level"), Column("reason"), Column("actor", "by"), Column("halted_at", "since", minute)]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="a-z, 0-9, _ and -.")],
    cash: Annotated[str, typer.Option(help="What it starts with, such as 100000.")],
    broker: Annotated[str, typer.Option(help="paper or alpaca.")] = "paper",
    account: Annotated[
        str | None, typer.Option(help="Account number; a paper portfolio gets one of its own.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="The account's money is real.")] = False,
    max_position_pct: Annotated[str, typer.Option(help="Largest share of equity in one symbol.")] = "0.25",
    max_positions: Annotated[int, typer.Option(help="Most symbols held at a time.")] = 10,
    stop_loss_pct: Annotated[str, typer.Option(help="Loss at which a position is sold, or none.")] = "none",
    take_profit_pct: Annotated[str, typer.Option(help="Gain at which a position is sold, or none.")] = "none",
    max_daily_loss_pct: Annotated[
        str, typer.Option(help="Loss since the open after which nothing is bought, or none.")
    ] = "0.05",
    max_drawdown_pct: Annotated[
        str, typer.Option(help="Fall below the highest value that halts the portfolio, or none.")
    ] = "none",
    min_cash_pct: Annotated[str, typer.Option(help="Share of equity that stays cash.")] = "0.02",
    as_json: Json = False,
) -> None:
    """Open a portfolio. Shares and limits are fractions (0.25) or percentages (25%)."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.domain.money import parse_amount
    from trading_orchestration.domain.risk import RiskLimits
    from trading_orchestration.services.portfolio_overview import portfolio_detail
    from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
    from trading_orchestration.wiring import system_clock

    new = NewPortfolio(
        name=name,
        cash=parse_amount(cash, what="--cash"),
        broker=broker,
        account_number=account,
        environment="live" if live else "paper",
        limits=RiskLimits(
            max_position_pct=fraction(max_position_pct, what="--max-position-pct"),
            max_positions=max_positions,
            stop_loss_pct=fraction_or_none(stop_loss_pct, what="--stop-loss-pct"),
            take_profit_pct=fraction_or_none(take_profit_pct, what="--take-profit-pct"),
            max_daily_loss_pct=fraction_or_none(max_daily_loss_pct, what="--max-daily-loss-pct"),
            min_cash_pct=fraction(min_cash_pct, what="--min-cash-pct"),
            max_drawdown_pct=fraction_or_none(max_drawdown_pct, what="--max-drawdown-pct"),
        ),
    )
    with open_installation() as opened:
        open_portfolio(opened.engine, new, at=system_clock())
        detail = portfolio_detail(opened.begin, name)
    if as_json:
        print_json(_detail_json(detail))
    else:
        account_number = detail.overview.portfolio.account_number
        print(f"Portfolio {name} starts with {money(new.cash)} in account {account_number} at {broker}.")
        if live:
            print(
                f"It trades nothing until TRADING_LIVE_ACCOUNT is {account_number} and "
                f"`trading live allow {account_number} --reason …` was run."
            )


@app.command("list")
def list_portfolios(as_json: Json = False) -> None:
    """Every portfolio with its cash and value."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.portfolio_overview import portfolio_overviews

    with open_installation() as opened:
        overviews = portfolio_overviews(opened.begin)
    rows = [_overview_json(overview) for overview in overviews]
    empty = "There are no portfolios; `trading portfolio add NAME --cash 100000` opens one."
    show(rows, _LIST, as_json=as_json, empty=empty)


@app.command("show")
def show_one(name: str, as_json: Json = False) -> None:
    """One portfolio: cash, value, limits, positions, open trades, strategies, halts."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.portfolio_overview import portfolio_detail

    with open_installation() as opened:
        found = _detail_json(portfolio_detail(opened.begin, name))
    if as_json:
        print_json(found)
        return
    print_fields(found, _FIELDS)
    for key, columns, empty in (
        ("positions", _POSITIONS, "No positions."),
        ("open_trades", _OPEN_TRADES, "No open trades."),
        ("strategies", _STRATEGIES, "No strategies."),
        ("halts", _HALTS, "Not halted."),
    ):
        print()
        print_table(found[key], columns, empty=empty)


def _overview_json(overview: "PortfolioOverview") -> dict[str, Any]:
    portfolio = overview.portfolio
    return {
        "name": portfolio.name,
        "broker": portfolio.broker,
        "account_number": portfolio.account_number,
        "environment": portfolio.environment,
        "currency": portfolio.currency,
        "is_active": portfolio.is_active,
        "is_halted": bool(overview.halts),
        "cash": portfolio.cash,
        "positions_value": overview.positions_value,
        "total_value": overview.total_value,
        "position_count": len(overview.positions),
    }


def _detail_json(detail: "PortfolioDetail") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **_overview_json(detail.overview),
        **asdict(detail.overview.portfolio.limits),
        "positions": [position_row(held) for held in detail.overview.positions],
        "open_trades": [dict(trade) for trade in detail.open_trades],
        "strategies": [
            {"name": strategy.name, "is_enabled": strategy.is_enabled, "last_error": strategy.last_error}
            for strategy in detail.strategies
        ],
        "halts": [halt_row(halt) for halt in detail.overview.halts],
    }
