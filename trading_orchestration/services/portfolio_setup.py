"""Opening portfolios: the account at the broker, the portfolio, and its first cash."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading_orchestration.brokers.paper_account import deposit, open_account
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import ledger, portfolios
from trading_orchestration.store.database import Engine, transaction

PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPortfolio:
    """What a person asks for. `cash` is in `currency`; `account_number` None gives it one of its own."""

    name: str
    cash: Decimal
    limits: RiskLimits
    broker: str = PAPER
    account_number: str | None = None
    environment: str = "paper"
    currency: str = "USD"


def open_portfolio(engine: Engine, new: NewPortfolio, *, at: datetime) -> int:
    """Open a portfolio and book its cash as a deposit; answers its id.

    A paper portfolio's account is opened with it and holds the same cash. Raises InvalidInputError, with
    nothing done, for a name that is taken or an amount that is not positive.
    """
    if new.cash <= 0:
        raise InvalidInputError(f"The cash was {new.cash}; a portfolio starts with more than 0.")
    account_number = new.account_number or f"PAPER-{new.name}"
    with transaction(engine) as connection:
        account_id = portfolios.add_account(
            connection, broker=new.broker, account_number=account_number, environment=new.environment
        )
        portfolio_id = portfolios.add_portfolio(
            connection, name=new.name, account_id=account_id, currency=new.currency, limits=new.limits
        )
        ledger.add_cash_movement(
            connection,
            portfolio_id=portfolio_id,
            kind="deposit",
            amount=new.cash,
            reference="opening deposit",
            occurred_at=at,
        )
        if new.broker == PAPER:
            _fund_paper_account(engine, account_number, new)
    return portfolio_id


def _fund_paper_account(engine: Engine, account_number: str, new: NewPortfolio) -> None:
    """The paper broker's books are its own: funded first, so that a failure leaves ours without it."""
    open_account(engine, account_number, Decimal(0))
    deposit(engine, account_number, new.cash, reference=f"opening deposit of {new.name}")
