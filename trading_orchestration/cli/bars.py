"""`trading bars`: stored prices."""

from pathlib import Path
from typing import Annotated

import typer

from trading_orchestration.cli.output import Column, Json, print_json, show

app = typer.Typer(help="Stored prices, for strategies, replays and snapshots.", no_args_is_help=True)

_COVERAGE = [
    Column("symbol"),
    Column("timeframe"),
    Column("first_session"),
    Column("last_session"),
    Column("bars"),
]
_REVISIONS = [
    Column("symbol"),
    Column("timeframe"),
    Column("session"),
    Column("old_close"),
    Column("new_close"),
    Column("old_source"),
    Column("source"),
    Column("revised_at"),
]


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV: symbol,timestamp,open,high,low,close,volume (or .gz).")],
    as_json: Json = False,
) -> None:
    """Take over bars from a CSV file, all or nothing; the same file again changes nothing.

    The timestamp is a date for a daily bar, or the instant at which a minute bar starts, with its offset.
    """
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services.bars_import import import_bars
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        saved = import_bars(file, begin=opened.begin, calendar=opened.calendar, now=system_clock())
    if as_json:
        print_json({"added": saved.added, "corrected": saved.corrected})
    else:
        print(f"{saved.added} bars added, {saved.corrected} corrected.")


@app.command("list")
def list_coverage(as_json: Json = False) -> None:
    """Which bars there are: first and last session of each symbol."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.prices import bar_coverage

    with open_installation() as opened, opened.begin() as connection:
        rows = [dict(row) for row in bar_coverage(connection)]
    show(rows, _COVERAGE, as_json=as_json, empty="There are no bars; `trading bars import FILE` adds some.")


@app.command("revisions")
def list_revisions(
    symbol: Annotated[str | None, typer.Argument(help="Only of this symbol.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """Bars that were corrected: what they said before, what they say now, by whom and when."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.prices import bar_revisions

    with open_installation() as opened, opened.begin() as connection:
        rows = [dict(row) for row in bar_revisions(connection, symbol=symbol, limit=limit)]
    show(rows, _REVISIONS, as_json=as_json, empty="No bar has been corrected.")


@app.command()
def accept(
    symbol: str,
    session: Annotated[str, typer.Argument(help="The session of the bar, such as 2000-09-29.")],
    reason: Annotated[str, typer.Option(help="Why it is right, for the record.")],
) -> None:
    """Say that a bar which looks wrong is right; the check of plausible bars no longer names it."""
    from trading_orchestration.cli.amounts import day
    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.errors import InvalidInputError
    from trading_orchestration.store.bar_checks import accept_bar
    from trading_orchestration.store.prices import require_instruments

    if not reason.strip():
        raise InvalidInputError("Say why the bar is right; the reason is kept.")
    on = day(session, what="SESSION")
    with open_installation() as opened, opened.begin() as connection:
        opened.calendar.session(on)
        require_instruments(connection, [symbol.upper()])
        accept_bar(connection, symbol.upper(), on, reason=reason, actor=actor())
    print(f"{symbol.upper()} on {on} is accepted: {reason}")


@app.command("fetch")
def fetch(
    first: Annotated[str, typer.Option("--from", help="The first session, such as 2014-01-02.")],
    last: Annotated[str, typer.Option("--to", help="The last session.")],
    symbols: Annotated[list[str] | None, typer.Argument(help="Further symbols, such as new ones.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch the daily bars of every symbol that matters from the configured source; again changes nothing."""
    from trading_orchestration.cli.amounts import day
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.errors import MarketDataUnavailableError
    from trading_orchestration.wiring import build_trading, system_clock

    days = [day(first, what="--from"), day(last, what="--to")]
    with open_installation() as opened:
        trading = build_trading(opened.settings, opened.engine, system_clock)
        fetched = trading.daily_bars.fetch(days, [symbol.upper() for symbol in symbols or ()])
    if fetched.problems:
        raise MarketDataUnavailableError("; ".join(fetched.problems))
    counts = {"symbols": len(fetched.symbols), "added": fetched.added, "corrected": fetched.corrected}
    if as_json:
        print_json({**counts, "missing": {str(day): names for day, names in fetched.missing.items()}})
    else:
        print(", ".join(f"{name} {count}" for name, count in counts.items()) + ".")
