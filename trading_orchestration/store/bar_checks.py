"""What is there of the daily bars, and what looks wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True)
class Gap:
    """Sessions inside a symbol's bars of which it has none: the first, the last, and how many."""

    symbol: str
    first: date
    last: date
    count: int


def bars_of_sessions(
    connection: Connection, symbols: Sequence[str], sessions: Sequence[date]
) -> tuple[dict[date, int], dict[date, list[str]]]:
    """How many of the symbols have a daily bar in each session, and which have none in it.

    A symbol counts from its first bar on: before that it was not listed, or nobody asked for it.
    """
    rows = run(connection, "bars_of_sessions", symbols=list(symbols), sessions=list(sessions))
    bars: dict[date, int] = {}
    missing: dict[date, list[str]] = {}
    for row in rows:
        bars[row.session] = row.bars
        if row.missing:
            missing[row.session] = row.missing
    return bars, missing


def gaps(connection: Connection, sessions: Sequence[date]) -> list[Gap]:
    """Sessions between a symbol's first and last daily bar without one; what is held counts to the end."""
    rows = run(connection, "bar_gaps", sessions=list(sessions)).mappings()
    return [Gap(**row) for row in rows]


def bars_on_closed_days(connection: Connection, sessions: Sequence[date]) -> list[RowMapping]:
    """Daily bars (`symbol`, `session`) of days that are no sessions."""
    return list(run(connection, "bars_on_closed_days", sessions=list(sessions)).mappings())


def suspicious_bars(
    connection: Connection, *, jump: Decimal, spike: Decimal, revision: Decimal
) -> list[RowMapping]:
    """Daily bars that hardly can be: `symbol`, `session`, `what` and the `change` (a fraction, or NULL).

    `jump` is the largest change of a close from the one before, adjusted by splits and dividends; `spike` the
    largest that is undone by the next bar; `revision` the largest that a correction may make.
    """
    found = run(connection, "suspicious_bars", jump=jump, spike=spike, revision=revision)
    return list(found.mappings())


def bars_version(connection: Connection) -> str:
    """Another text whenever a daily bar or a corporate action has come, changed or gone."""
    return str(run(connection, "bars_version").scalar_one())


def accept_bar(connection: Connection, symbol: str, session: date, *, reason: str, actor: str) -> None:
    """Keep that a person looked at a bar that looks wrong and found it right."""
    run(connection, "accept_bar", symbol=symbol, session=session, reason=reason, actor=actor)
