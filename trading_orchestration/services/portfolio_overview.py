"""What a portfolio holds, is worth, has open, and is kept from."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_orchestration.store import ledger, portfolios, trades
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.ledger import HeldPosition
from trading_orchestration.store.portfolios import Halt, Portfolio, Strategy
from trading_orchestration.store.snapshots import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioOverview:
    """One portfolio at the newest prices, in its currency."""

    portfolio: Portfolio
    positions: Sequence[HeldPosition]
    halts: Sequence[Halt]

    @property
    def positions_value(self) -> Decimal | None:
        """What the positions are worth; None where one of them has no price yet."""
        values = [held.market_value for held in self.positions]
        return None if None in values else sum((v for v in values if v is not None), Decimal(0))

    @property
    def total_value(self) -> Decimal | None:
        """Cash and positions; None where a position has no price yet."""
        value = self.positions_value
        return None if value is None else self.portfolio.cash + value


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioDetail:
    """One portfolio with everything that concerns it."""

    overview: PortfolioOverview
    strategies: Sequence[Strategy]
    open_trades: Sequence[Row]


def portfolio_overviews(begin: Begin) -> list[PortfolioOverview]:
    """Every portfolio, by id: three statements, however many there are."""
    with begin() as connection:
        found = portfolios.read_portfolios(connection)
        held = ledger.read_positions(connection)
        halts = portfolios.read_halts(connection)
    return [_overview(portfolio, held, halts) for portfolio in found]


def portfolio_detail(begin: Begin, name: str) -> PortfolioDetail:
    """One portfolio. Raises InvalidInputError, with the names there are, for an unknown one."""
    with begin() as connection:
        portfolio = portfolios.find_portfolio(connection, name)
        held = ledger.read_positions(connection, [portfolio.id])
        halts = portfolios.read_halts(connection)
        strategies = portfolios.read_strategies(connection)
        opened = trades.list_trades(connection, portfolio=name, is_open=True)
    return PortfolioDetail(
        overview=_overview(portfolio, held, halts),
        strategies=[strategy for strategy in strategies if strategy.portfolio_id == portfolio.id],
        open_trades=opened,
    )


def _overview(portfolio: Portfolio, held: Sequence[HeldPosition], halts: Sequence[Halt]) -> PortfolioOverview:
    return PortfolioOverview(
        portfolio=portfolio,
        positions=[position for position in held if position.portfolio_id == portfolio.id],
        halts=[halt for halt in halts if halt.portfolio_id in (None, portfolio.id)],
    )
