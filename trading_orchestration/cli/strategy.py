"""`trading strategy`: the rules by which portfolios trade."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.output import Column, Json, print_json, show, yes_or_no

if TYPE_CHECKING:
    from trading_orchestration.store.portfolios import Strategy

app = typer.Typer(help="The rules by which portfolios trade.", no_args_is_help=True)

Portfolio = Annotated[str | None, typer.Option("--portfolio", help="The portfolio it trades for.")]

_LIST = [
    Column("portfolio"),
    Column("name"),
    Column("is_enabled", "enabled", yes_or_no),
    Column("universe"),
    Column("factors"),
    Column("last_error"),
]


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="YAML; see examples/strategies/.")],
    portfolio: Portfolio = None,
    as_json: Json = False,
) -> None:
    """Give a portfolio a strategy from a file. Every symbol of its universe must have bars already."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.cli.strategy_file import read_strategy_file
    from trading_orchestration.services.strategy_setup import add_strategy

    definition = read_strategy_file(file)
    with open_installation() as opened:
        owner = add_strategy(opened.begin, definition, portfolio)
    if as_json:
        print_json({"portfolio": owner.name, "name": definition.name, "is_enabled": True})
    else:
        print(f"Strategy {definition.name} trades {len(definition.universe)} symbols for {owner.name}.")


@app.command("list")
def list_strategies(as_json: Json = False) -> None:
    """Every strategy, with what was wrong at its last evaluation."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.portfolios import read_strategies

    with open_installation() as opened, opened.begin() as connection:
        rows = [_row(strategy) for strategy in read_strategies(connection)]
    empty = "There are no strategies; `trading strategy add FILE.yaml` adds one."
    show(rows, _LIST, as_json=as_json, empty=empty)


@app.command()
def enable(name: str, portfolio: Portfolio = None, as_json: Json = False) -> None:
    """Let a strategy trade."""
    _switch(name, portfolio, is_enabled=True, as_json=as_json)


@app.command()
def disable(name: str, portfolio: Portfolio = None, as_json: Json = False) -> None:
    """Keep a strategy from trading; what it holds stays."""
    _switch(name, portfolio, is_enabled=False, as_json=as_json)


def _switch(name: str, portfolio: str | None, *, is_enabled: bool, as_json: bool) -> None:
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.strategy_setup import switch_strategy

    with open_installation() as opened:
        strategy = switch_strategy(opened.begin, name, portfolio, is_enabled=is_enabled)
    if as_json:
        print_json({"portfolio": strategy.portfolio, "name": strategy.name, "is_enabled": is_enabled})
    else:
        was = " already" if strategy.is_enabled == is_enabled else ""
        state = "enabled" if is_enabled else "disabled"
        print(f"Strategy {strategy.name} of {strategy.portfolio} is {state}{was}.")


def _row(strategy: "Strategy") -> dict[str, Any]:
    definition = strategy.definition
    return {
        "portfolio": strategy.portfolio,
        "name": strategy.name,
        "is_enabled": strategy.is_enabled,
        "universe": definition["universe"],
        "factors": [factor["name"] for factor in definition["factors"]],
        "timeframe": definition["timeframe"],
        "last_error": strategy.last_error,
    }
