"""`trading export`: whole tables as files for other programs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_orchestration.cli.amounts import day
from trading_orchestration.cli.files import new_file
from trading_orchestration.cli.output import Json, note, print_json
from trading_orchestration.errors import InvalidInputError

if TYPE_CHECKING:
    from trading_orchestration.domain.market_time import MarketCalendar
    from trading_orchestration.reporting.tables import Rows
    from trading_orchestration.store.database import Connection


class TableName(StrEnum):
    """What can be exported."""

    TRADES = "trades"
    FILLS = "fills"
    SNAPSHOTS = "snapshots"
    EXECUTIONS = "executions"


class Format(StrEnum):
    """What a file is written as."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of which portfolio, and after which instant until which."""

    portfolio: str | None
    since: datetime | None
    until: datetime | None


def export(
    tables: Annotated[list[TableName], typer.Argument(help="Which tables.", metavar="TABLE...")],
    file_format: Annotated[Format, typer.Option("--format", help="Parquet keeps the types.")] = Format.CSV,
    output: Annotated[
        Path,
        typer.Option(help="The folder to write TABLE.csv or TABLE.parquet to; - is stdout, for one CSV."),
    ] = Path(),
    portfolio: Annotated[
        str | None, typer.Option(help="Of this portfolio; executions belong to none.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="From this session on.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Until the close of this session.")] = None,
    as_json: Json = False,
) -> None:
    """Write whole tables as CSV or Parquet, all as they are at one instant; files there are replaced.

    Decimals keep every digit, instants are in UTC.
    """
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store import exports
    from trading_orchestration.store.portfolios import find_portfolio

    chosen = list(dict.fromkeys(tables))
    is_stdout = str(output) == "-"
    if is_stdout and (len(chosen) > 1 or file_format is Format.PARQUET or as_json):
        raise InvalidInputError("Only one table as CSV goes to stdout; name a folder with --output.")
    if not is_stdout and not output.is_dir():
        raise InvalidInputError(f"{output} is not a folder; make it first.")
    with open_installation() as opened, opened.begin() as connection:
        wanted = _wanted(opened.calendar, portfolio, first, last)
        exports.read_one_state(connection)
        if portfolio is not None:
            find_portfolio(connection, portfolio)
        if is_stdout:
            _to_stdout(connection, chosen[0], wanted)
            return
        done = [_to_file(connection, table, file_format, output, wanted) for table in chosen]
    _tell(done, as_json=as_json)


def _to_stdout(connection: "Connection", table: TableName, wanted: _Wanted) -> None:
    from trading_orchestration.reporting.tables import write_csv
    from trading_orchestration.store.exports import TABLES

    write_csv(sys.stdout, TABLES[table], _parts(connection, table, wanted))


def _to_file(
    connection: "Connection", table: TableName, file_format: Format, folder: Path, wanted: _Wanted
) -> tuple[str, str, int]:
    """Write one file; answers the table, the file and its rows."""
    from trading_orchestration.reporting.tables import write_csv, write_parquet
    from trading_orchestration.store.exports import TABLES

    path, parts = folder / f"{table}.{file_format}", _parts(connection, table, wanted)
    with new_file(path) as written:
        if file_format is Format.PARQUET:
            rows = write_parquet(written, TABLES[table], parts)
        else:
            with written.open("w", newline="", encoding="utf-8") as file:
                rows = write_csv(file, TABLES[table], parts)
    return table.value, str(path), rows


def _parts(connection: "Connection", table: TableName, wanted: _Wanted) -> "Rows":
    from trading_orchestration.store.exports import table_parts

    return table_parts(connection, table, portfolio=wanted.portfolio, since=wanted.since, until=wanted.until)


def _wanted(
    calendar: "MarketCalendar", portfolio: str | None, first: str | None, last: str | None
) -> _Wanted:
    """The instants between which sessions lie: from the close before the first to the close of the last."""
    start = calendar.session(day(first, what="--from")) if first else None
    end = calendar.session(day(last, what="--to")) if last else None
    if start and end and start.date > end.date:
        raise InvalidInputError(f"--to is {end.date}, before --from, {start.date}; swap them.")
    since = calendar.previous(start.date).closes_at if start else None
    return _Wanted(portfolio, since, end.closes_at if end else None)


def _tell(done: Sequence[tuple[str, str, int]], *, as_json: bool) -> None:
    if as_json:
        print_json([{"table": table, "file": file, "rows": rows} for table, file, rows in done])
        return
    for _, file, rows in done:
        print(f"{file}: {rows:,} rows")
    if not any(rows for _, _, rows in done):
        note("There was nothing to write but headings.")
