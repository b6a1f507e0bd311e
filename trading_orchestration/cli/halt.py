"""`trading halt` and `trading resume`: stopping trading by hand, and going on."""

from enum import StrEnum
from typing import Annotated

import typer

from trading_orchestration.cli.output import Json, minute, print_json
from trading_orchestration.cli.rows import halt_row

Portfolio = Annotated[str | None, typer.Argument(help="A portfolio; all of them without it.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


class Level(StrEnum):
    """How far a halt goes, as it is stored."""

    NO_NEW = "no_new"
    CANCEL_OPEN = "cancel_open"
    FLATTEN = "flatten"


def halt(
    reason: Reason,
    portfolio: Portfolio = None,
    level: Annotated[Level, typer.Option(help="How far it goes.")] = Level.NO_NEW,
    as_json: Json = False,
) -> None:
    """Stop trading: no new positions. Exits, order checks, syncs and snapshots go on.

    A halt in force is made stricter by this, never laxer.
    """
    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.services.halting import halt_trading, scope_of
    from trading_orchestration.store.portfolios import HaltLevel
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        done = halt_trading(
            opened.begin,
            portfolio,
            level=HaltLevel(level.value),
            reason=reason,
            actor=actor(),
            at=system_clock(),
        )
    if as_json:
        print_json({**halt_row(done.halt), "was_halted": done.was_halted})
    elif done.was_halted:
        since = minute(done.halt.halted_at)
        print(
            f"Trading was halted already for {scope_of(done.halt)}: {done.halt.level} since {since} by "
            f"{done.halt.actor} ({done.halt.reason})."
        )
    else:
        print(f"Trading is halted for {scope_of(done.halt)} ({done.halt.level}).")


def resume(reason: Reason, portfolio: Portfolio = None, as_json: Json = False) -> None:
    """End a halt: that of a portfolio, or the one for all."""
    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.services.halting import resume_trading, scope_of
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        left = resume_trading(opened.begin, portfolio, reason=reason, actor=actor(), at=system_clock())
    if as_json:
        print_json({"resumed": portfolio, "halts_in_force": [halt_row(one) for one in left]})
        return
    print(f"The halt of {'all portfolios' if portfolio is None else f'portfolio {portfolio}'} has ended.")
    for one in left:
        print(f"Still halted: {scope_of(one)} ({one.level}): {one.reason}")
