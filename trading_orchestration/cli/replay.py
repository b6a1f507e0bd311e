"""`trading replay`: past sessions through the same services, in a database of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.amounts import day
from trading_orchestration.cli.output import Column, Json, money, note, percent, print_json, print_table

if TYPE_CHECKING:
    from datetime import date

    from trading_orchestration.cli.replay_run import How, Replayed

_RESULTS = [
    Column("portfolio"),
    Column("start_equity", "start", money),
    Column("end_equity", "end", money),
    Column("total_return", "return", percent),
    Column("max_drawdown", "drawdown", percent),
    Column("trades"),
    Column("round_trips", "trips"),
    Column("open_trips", "open"),
]
_PROBLEMS_SHOWN = 5


def replay(
    first: Annotated[str | None, typer.Option("--from", help="First session, such as 2012-01-03.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last session.")] = None,
    session: Annotated[str | None, typer.Option(help="One session instead.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare that session with what happened in it.")
    ] = False,
    trades: Annotated[Path | None, typer.Option(help="Write every trade to this CSV file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the replay's database.")] = False,
    commission: Annotated[
        str | None, typer.Option(help="Such as 0.1%, 0.005/share, 1/order, min 0.35, joined by +.")
    ] = None,
    slippage: Annotated[str | None, typer.Option(help="Such as 5bps or 0.05%.")] = None,
    close_out: Annotated[
        bool, typer.Option("--close-out", help="Close all positions at the last decision.")
    ] = False,
    dagster: Annotated[
        bool, typer.Option("--dagster", help="Make every job a Dagster run; keeps the database, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay past sessions on stored bars with the enabled strategies, each portfolio with its net deposits.

    The books are not touched: it works on a copy in a database of its own. The same bars and strategies give
    the same trades, to the last byte. Exits with 1 when a job failed on the way.

    With --session and --compare it starts from the books as they were when that session opened, gives the
    strategies the prices that its decisions saw, and lists what differs; it exits with 1 when anything does.
    """
    from trading_orchestration.cli.interruption import ending_on_signals
    from trading_orchestration.cli.replay_costs import costs_given
    from trading_orchestration.cli.replay_run import How, replay_sessions

    start, end = _days(first, last, session)
    how = How(
        is_kept=keep or dagster,
        is_dagster=dagster,
        is_silent=as_json,
        closes_out=close_out,
        costs=costs_given(commission=commission, slippage=slippage),
    )
    if compare:
        _compare(session, how, trades, as_json=as_json)
        return
    with ending_on_signals() as interruption, _written_whole(trades) as file:
        replayed = replay_sessions(start, end, interruption, how)
        if file is not None:
            _write_trades(file, replayed.trades)
    if as_json:
        print_json(_json(replayed))
    else:
        _print(replayed)
    if replayed.problems:
        raise typer.Exit(1)


def _days(first: str | None, last: str | None, session: str | None) -> tuple["date", "date"]:
    from trading_orchestration.errors import InvalidInputError

    if session is not None and first is None and last is None:
        return day(session, what="--session"), day(session, what="--session")
    if session is not None or first is None or last is None:
        raise InvalidInputError("Give the sessions to replay as --from and --to, or one as --session.")
    return day(first, what="--from"), day(last, what="--to")


def _compare(session: str | None, how: "How", trades: Path | None, *, as_json: bool) -> None:
    from trading_orchestration.cli.interruption import ending_on_signals
    from trading_orchestration.cli.replay_compare import compare_session
    from trading_orchestration.cli.replay_difference import print_compared
    from trading_orchestration.errors import InvalidInputError

    if session is None or trades is not None or how.closes_out or how.is_dagster:
        raise InvalidInputError(
            "--compare goes with --session, and not with --trades, --close-out or --dagster."
        )
    with ending_on_signals() as interruption:
        compared = compare_session(day(session, what="--session"), interruption, how)
    print_compared(compared, as_json=as_json)
    if compared.differences or compared.problems:
        raise typer.Exit(1)


def _json(replayed: "Replayed") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "first_session": replayed.sessions[0].date,
        "last_session": replayed.sessions[-1].date,
        "sessions": len(replayed.sessions),
        "seconds": round(replayed.seconds, 3),
        "sessions_per_second": round(replayed.sessions_per_second, 1),
        "portfolios": [asdict(result) for result in replayed.results],
        "left_out": list(replayed.left_out),
        "problems": list(replayed.problems),
        "database": replayed.database,
    }


def _print(replayed: "Replayed") -> None:
    sessions = replayed.sessions
    print(
        f"{len(sessions)} sessions, {sessions[0].date} to {sessions[-1].date}, in {replayed.seconds:.1f} s "
        f"({replayed.sessions_per_second:.0f} sessions/s)."
    )
    from dataclasses import asdict

    print_table([asdict(result) for result in replayed.results], _RESULTS, empty="No portfolios.")
    if replayed.left_out:
        note(f"Left out, because nothing was put into them: {', '.join(replayed.left_out)}.")
    if replayed.problems:
        note(f"{len(replayed.problems)} jobs failed:")
        for problem in replayed.problems[:_PROBLEMS_SHOWN]:
            note(f"  {problem}")
    if replayed.database:
        note(f"The replay is kept in database {replayed.database}.")
    if replayed.is_dagster:
        note(f"To look at its Dagster runs: trading exec --replay {replayed.database} -- dagster dev")


def _write_trades(file: Path, trades: Sequence[Sequence[str]]) -> None:
    import csv

    from trading_orchestration.services.replay_result import TRADE_COLUMNS

    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(TRADE_COLUMNS)
        writer.writerows(trades)


@contextmanager
def _written_whole(path: Path | None) -> Iterator[Path | None]:
    """A draft beside the file that takes its place at the end; refused before any work where it cannot be."""
    from trading_orchestration.errors import InvalidInputError

    if path is None:
        yield None
        return
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.touch()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
