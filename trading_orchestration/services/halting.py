"""Stopping and resuming trading by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import portfolios
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Halt, HaltLevel

_SEVERITY = {level: severity for severity, level in enumerate(HaltLevel)}


@dataclass(frozen=True, slots=True)
class Halted:
    """The halt that is in force now, and whether one at least as strict was before."""

    halt: Halt
    was_halted: bool


def halt_trading(
    begin: Begin, portfolio: str | None, *, level: HaltLevel, reason: str, actor: str, at: datetime
) -> Halted:
    """Halt a portfolio, or all with None. A halt in force is made stricter, never laxer.

    Raises InvalidInputError for an unknown portfolio or an empty reason.
    """
    _require_reason(reason)
    with begin() as connection:
        portfolio_id = _portfolio_id(connection, portfolio)
        before = _halt(connection, portfolio_id)
        if before is not None and _SEVERITY[before.level] >= _SEVERITY[level]:
            return Halted(before, was_halted=True)
        if before is not None:
            stricter = f"Made stricter, {level}: {reason}"
            portfolios.end_halt(connection, portfolio_id=portfolio_id, reason=stricter, actor=actor, at=at)
        portfolios.add_halt(
            connection, portfolio_id=portfolio_id, level=level, reason=reason, actor=actor, at=at
        )
        after = _halt(connection, portfolio_id)
        if after is not None:
            title = f"{actor} halted trading of {scope_of(after)} ({level})"
            _tell(connection, after, Severity.CRITICAL, title, reason, at=at)
    if after is None:
        raise InvalidInputError("Trading was resumed at the same moment; halt it again.")
    return Halted(after, was_halted=False)


def resume_trading(
    begin: Begin, portfolio: str | None, *, reason: str, actor: str, at: datetime
) -> Sequence[Halt]:
    """End the halt of a portfolio, or the one for all with None; answers the halts that stay in force.

    Raises InvalidInputError for an unknown portfolio, an empty reason, or where there is no such halt.
    """
    _require_reason(reason)
    with begin() as connection:
        portfolio_id = _portfolio_id(connection, portfolio)
        ended = _halt(connection, portfolio_id)
        if ended is None or not portfolios.end_halt(
            connection, portfolio_id=portfolio_id, reason=reason, actor=actor, at=at
        ):
            raise InvalidInputError(_nothing_halted(portfolio, portfolios.read_halts(connection)))
        title = f"{actor} resumed trading of {scope_of(ended)}"
        _tell(connection, ended, Severity.INFO, title, reason, at=at)
        return portfolios.read_halts(connection)


def scope_of(halt: Halt) -> str:
    """What a halt binds, for a sentence."""
    return "all portfolios" if halt.portfolio is None else f"portfolio {halt.portfolio}"


def _tell(
    connection: Connection, halt: Halt, severity: Severity, title: str, reason: str, *, at: datetime
) -> None:
    """Whoever did it knows; the others hear of it."""
    message = Notification(
        severity=severity,
        kind="halt",
        title=title,
        body=reason,
        portfolio_id=halt.portfolio_id,
        dedupe_key=f"halt:{halt.id}:{title}",
    )
    add_notifications(connection, [message], at=at)


def _portfolio_id(connection: Connection, portfolio: str | None) -> int | None:
    return None if portfolio is None else portfolios.find_portfolio(connection, portfolio).id


def _halt(connection: Connection, portfolio_id: int | None) -> Halt | None:
    halts = portfolios.read_halts(connection)
    return next((halt for halt in halts if halt.portfolio_id == portfolio_id), None)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInputError("The reason was empty; say why, for whoever looks at this later.")


def _nothing_halted(portfolio: str | None, halts: Sequence[Halt]) -> str:
    subject = "all portfolios" if portfolio is None else f"portfolio {portfolio}"
    others = ", ".join(scope_of(halt) for halt in halts) or "none"
    return f"There is no halt of {subject} to end; halts in force: {others}."
