"""Opening portfolios: the account at the broker, the portfolio, and its first cash."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading_orchestration.brokers import BROKER_NAMES
from trading_orchestration.brokers.paper_account import deposit, open_account
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import ledger, portfolios
from trading_orchestration.store.database import Engine, transaction

PAPER, LIVE = "paper", "live"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
#: What is kept of a limit, and the most it may be.
_LIMIT_QUANTUM = Decimal("0.000001")
_FRACTIONS = {
    "max_position_pct": Decimal(1),
    "stop_loss_pct": Decimal("0.999999"),
    "take_profit_pct": Decimal(999),
    "max_daily_loss_pct": Decimal("0.999999"),
    "max_drawdown_pct": Decimal("0.999999"),
}


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
    nothing done, for a name that is taken, an unknown broker, or an amount or a limit out of its bounds.
    """
    _check(new)
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


def _check(new: NewPortfolio) -> None:
    if not _NAME.fullmatch(new.name):
        raise InvalidInputError(
            f"The portfolio's name was '{new.name}'; use a to z, 0 to 9, _ and -, at most 64 of them."
        )
    if new.broker not in BROKER_NAMES:
        raise InvalidInputError(
            f"There is no broker named '{new.broker}'; there are: {', '.join(BROKER_NAMES)}."
        )
    if new.broker == PAPER and new.environment == LIVE:
        raise InvalidInputError("The paper broker has no real money; leave --live out, or name a broker.")
    if new.broker != PAPER and not new.account_number:
        raise InvalidInputError(f"A portfolio at {new.broker} needs the number of its account there.")
    if new.cash <= 0:
        raise InvalidInputError(f"The cash was {new.cash}; a portfolio starts with more than 0.")
    _check_limits(new.limits)


def _check_limits(limits: RiskLimits) -> None:
    for name, highest in _FRACTIONS.items():
        value: Decimal | None = getattr(limits, name)
        if value is not None:
            _check_fraction(name, value, highest=highest, is_zero_allowed=False)
    _check_fraction("min_cash_pct", limits.min_cash_pct, highest=Decimal("0.999999"), is_zero_allowed=True)
    if limits.max_positions < 1:
        raise InvalidInputError(f"max_positions was {limits.max_positions}; it is 1 or more.")


def _check_fraction(name: str, value: Decimal, *, highest: Decimal, is_zero_allowed: bool) -> None:
    is_high_enough = value >= 0 if is_zero_allowed else value > 0
    if not (is_high_enough and value <= highest and value == value.quantize(_LIMIT_QUANTUM)):
        lowest = "0" if is_zero_allowed else "above 0"
        raise InvalidInputError(
            f"{name} was {plain(value)}; it is a fraction, {lowest} to {plain(highest)}, to 6 places "
            "(0.05 is 5 %)."
        )


def _fund_paper_account(engine: Engine, account_number: str, new: NewPortfolio) -> None:
    """The paper broker's books are its own: funded first, so that a failure leaves ours without it."""
    open_account(engine, account_number, Decimal(0))
    deposit(engine, account_number, new.cash, reference=f"opening deposit of {new.name}")
