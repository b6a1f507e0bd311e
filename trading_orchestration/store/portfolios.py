"""Accounts, portfolios, strategies and halts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import StrategyDefinition, parse_definition
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account at a broker, through which one or more portfolios trade."""

    id: int
    broker: str
    account_number: str
    environment: str
    executions_read_until: datetime | None
    reconciled_at: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""
        return self.environment == "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """A portfolio with its account, its limits and its cached cash, in `currency`."""

    id: int
    name: str
    currency: str
    is_active: bool
    broker_account_id: int
    broker: str
    account_number: str
    environment: str
    limits: RiskLimits
    cash: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A strategy of a portfolio, as stored."""

    id: int
    portfolio_id: int
    portfolio: str
    name: str
    definition: dict[str, Any]
    is_enabled: bool
    last_error: str | None

    def parsed(self) -> StrategyDefinition:
        """The checked definition; raises StrategyDefinitionError where this code no longer accepts it."""
        return parse_definition(self.definition)


class HaltLevel(StrEnum):
    """How far a halt goes."""

    NO_NEW = "no_new"  # entries are blocked
    CANCEL_OPEN = "cancel_open"  # and open entry orders are cancelled
    FLATTEN = "flatten"  # and positions are closed


_STRICTNESS = {level: strictness for strictness, level in enumerate(HaltLevel)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A halt in force; `portfolio_id` None is for all portfolios."""

    id: int
    portfolio_id: int | None
    portfolio: str | None
    level: HaltLevel
    reason: str
    actor: str
    halted_at: datetime


def read_accounts(connection: Connection) -> list[Account]:
    """Every account that an active portfolio trades through, or that has a trade which is not final."""
    return [Account(**row) for row in run(connection, "broker_accounts").mappings()]


def add_account(connection: Connection, *, broker: str, account_number: str, environment: str) -> int:
    """The id of the account, registered now or before."""
    inserted = run(
        connection,
        "insert_broker_account",
        broker=broker,
        account_number=account_number,
        environment=environment,
    )
    return int(inserted.scalar_one())


def add_portfolio(
    connection: Connection, *, name: str, account_id: int, currency: str, limits: RiskLimits
) -> int:
    """The id of the new portfolio; raises InvalidInputError when the name is taken."""
    portfolio_id = run(
        connection,
        "insert_portfolio",
        broker_account_id=account_id,
        name=name,
        currency=currency,
        max_position_pct=limits.max_position_pct,
        max_positions=limits.max_positions,
        stop_loss_pct=limits.stop_loss_pct,
        take_profit_pct=limits.take_profit_pct,
        max_daily_loss_pct=limits.max_daily_loss_pct,
        min_cash_pct=limits.min_cash_pct,
        max_drawdown_pct=limits.max_drawdown_pct,
    ).scalar()
    if portfolio_id is None:
        raise InvalidInputError(f"A portfolio named '{name}' exists already; choose another name.")
    run(connection, "insert_cash_balance", portfolio_id=portfolio_id)
    return int(portfolio_id)


def read_portfolios(connection: Connection) -> list[Portfolio]:
    """Every portfolio, active or not, by id."""
    return [_portfolio(row) for row in run(connection, "portfolios").mappings()]


def read_portfolio(connection: Connection, portfolio_id: int) -> Portfolio:
    """One portfolio by its id, which exists."""
    return next(p for p in read_portfolios(connection) if p.id == portfolio_id)


def find_portfolio(connection: Connection, name: str) -> Portfolio:
    """The portfolio of that name; raises InvalidInputError with the names there are."""
    portfolios = read_portfolios(connection)
    for portfolio in portfolios:
        if portfolio.name == name:
            return portfolio
    known = ", ".join(portfolio.name for portfolio in portfolios) or "none yet"
    raise InvalidInputError(f"There is no portfolio named '{name}'; there are: {known}.")


def hold_portfolio(connection: Connection, portfolio_id: int) -> None:
    """Become the one writer of a portfolio's books until the transaction ends."""
    run(connection, "lock_portfolio", portfolio_id=portfolio_id)


def hold_portfolios_of(connection: Connection, account_id: int) -> None:
    """Become the one writer of the books of every portfolio of an account."""
    run(connection, "lock_account_portfolios", broker_account_id=account_id)


def hold_all_portfolios(connection: Connection) -> None:
    """Let nobody book anything until the transaction ends; taken in the order of their ids."""
    run(connection, "lock_all_portfolios")


def add_strategy(connection: Connection, portfolio_id: int, definition: StrategyDefinition) -> int:
    """The id of the new strategy; raises InvalidInputError when the portfolio has one of that name."""
    strategy_id = run(
        connection,
        "insert_strategy",
        portfolio_id=portfolio_id,
        name=definition.name,
        definition=json.dumps(definition.to_json()),
    ).scalar()
    if strategy_id is None:
        raise InvalidInputError(f"The portfolio has a strategy named '{definition.name}' already.")
    return int(strategy_id)


def read_strategies(connection: Connection) -> list[Strategy]:
    """Every strategy, enabled or not, by id."""
    return [Strategy(**row) for row in run(connection, "strategies").mappings()]


def set_strategy_enabled(connection: Connection, strategy_id: int, *, is_enabled: bool) -> None:
    """A person's switch of one strategy."""
    run(connection, "set_strategy_enabled", strategy_id=strategy_id, is_enabled=is_enabled)


def set_strategy_error(connection: Connection, strategy_id: int, last_error: str | None) -> None:
    """Keep what was wrong with a strategy at its last evaluation."""
    run(connection, "set_strategy_error", strategy_id=strategy_id, last_error=last_error)


def read_halts(connection: Connection) -> list[Halt]:
    """Halts in force."""
    return [
        Halt(**{**row, "level": HaltLevel(row["level"])})
        for row in run(connection, "active_halts").mappings()
    ]


def halt_of(halts: Sequence[Halt], portfolio_id: int) -> Halt | None:
    """The halt that binds a portfolio, if any: its own or the one for all, whichever is stricter."""
    binding = [h for h in halts if h.portfolio_id in (None, portfolio_id)]
    return max(binding, key=lambda h: _STRICTNESS[h.level], default=None)


def add_halt(
    connection: Connection,
    *,
    portfolio_id: int | None,
    level: HaltLevel,
    reason: str,
    actor: str,
    at: datetime,
) -> bool:
    """Halt; False when one was in force already."""
    inserted = run(
        connection,
        "insert_halt",
        portfolio_id=portfolio_id,
        level=level,
        reason=reason,
        actor=actor,
        at=at,
    )
    return inserted.scalar() is not None


def was_halted(connection: Connection, portfolio_id: int, actor: str, *, since: datetime) -> bool:
    """Whether a rule halted a portfolio since an instant, even if a person has resumed it."""
    found = run(connection, "was_halted", portfolio_id=portfolio_id, actor=actor, since=since)
    return bool(found.scalar())


def was_resumed(connection: Connection, portfolio_id: int, reason: str) -> bool:
    """Whether a person ended a halt of the portfolio with this very reason."""
    return bool(run(connection, "was_resumed", portfolio_id=portfolio_id, reason=reason).scalar_one())


def end_halt(
    connection: Connection, *, portfolio_id: int | None, reason: str, actor: str, at: datetime
) -> bool:
    """Resume; False when nothing was halted."""
    ended = run(connection, "resume", portfolio_id=portfolio_id, reason=reason, actor=actor, at=at)
    return ended.scalar() is not None


def set_reconciled(connection: Connection, account_id: int, at: datetime) -> None:
    """The account's books were compared with the broker's at that instant."""
    run(connection, "set_reconciled_at", broker_account_id=account_id, at=at)


def set_executions_read_until(connection: Connection, account_id: int, until: datetime) -> None:
    """Executions of the account up to that instant are booked."""
    run(connection, "set_executions_read_until", broker_account_id=account_id, until=until)


def _portfolio(row: Any) -> Portfolio:
    limits = {name: row[name] for name in RiskLimits.__dataclass_fields__}
    others = {name: value for name, value in row.items() if name not in limits}
    return Portfolio(limits=RiskLimits(**limits), **others)
