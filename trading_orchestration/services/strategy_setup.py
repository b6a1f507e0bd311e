"""Giving strategies to portfolios, and switching them on and off."""

from collections.abc import Sequence

from trading_orchestration.domain.strategy import StrategyDefinition
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Portfolio, Strategy


def add_strategy(begin: Begin, definition: StrategyDefinition, portfolio: str | None) -> Portfolio:
    """Give a portfolio a strategy, enabled; answers the portfolio.

    It is the one that is named here, or else the one that the definition names. Raises InvalidInputError
    where neither or two different ones are named, and for an unknown symbol, an unknown portfolio, or a name
    that is taken.
    """
    name = _one_portfolio(definition, portfolio)
    with begin() as connection:
        found = portfolios.find_portfolio(connection, name)
        prices.require_instruments(connection, definition.universe)
        portfolios.add_strategy(connection, found.id, definition)
    return found


def switch_strategy(begin: Begin, name: str, portfolio: str | None, *, is_enabled: bool) -> Strategy:
    """Switch a strategy on or off; answers it as it was before.

    Raises InvalidInputError for an unknown name, and for one that several portfolios have when none is
    named.
    """
    with begin() as connection:
        strategy = _find(portfolios.read_strategies(connection), name, portfolio)
        portfolios.set_strategy_enabled(connection, strategy.id, is_enabled=is_enabled)
    return strategy


def _one_portfolio(definition: StrategyDefinition, portfolio: str | None) -> str:
    named = definition.portfolio
    if portfolio is not None and named is not None and portfolio != named:
        raise InvalidInputError(
            f"The file gives strategy '{definition.name}' to portfolio '{named}', the command to "
            f"'{portfolio}'; name one."
        )
    name = portfolio or named
    if name is None:
        raise InvalidInputError(
            f"No portfolio is named for strategy '{definition.name}'; give --portfolio, or `portfolio:` in "
            "its file."
        )
    return name


def _find(strategies: Sequence[Strategy], name: str, portfolio: str | None) -> Strategy:
    found = [s for s in strategies if s.name == name and portfolio in (None, s.portfolio)]
    if len(found) > 1:
        owners = ", ".join(strategy.portfolio for strategy in found)
        raise InvalidInputError(f"Portfolios {owners} have a strategy '{name}' each; name one of them.")
    if not found:
        known = ", ".join(f"{s.name} of {s.portfolio}" for s in strategies) or "none yet"
        raise InvalidInputError(f"There is no such strategy '{name}'; there are: {known}.")
    return found[0]
