"""Instruments, quotes and bars. Rows move in sets: one COPY and one merge, however many there are."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store.database import copy_rows, run

_BAR_COLUMNS = (
    "symbol",
    "timeframe",
    "starts_at",
    "ends_at",
    "session",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "source",
)
_HISTORY = ("first_session", "closes", "highs", "lows", "volumes")


@dataclass(frozen=True, slots=True)
class SavedQuotes:
    """What became of a batch: symbols taken over, and those of them whose price is another than before."""

    updated: list[str]
    changed: list[str]


@dataclass(frozen=True, slots=True)
class SavedBars:
    """What became of a file of bars."""

    added: int
    corrected: int


@dataclass(frozen=True, slots=True)
class History:
    """The last completed bars of a symbol, oldest first, as floats for indicators; raw prices."""

    first_session: date
    closes: list[float]
    highs: list[float]
    lows: list[float]
    volumes: list[float]


@dataclass(frozen=True, slots=True)
class Instrument:
    """What may be done with a symbol."""

    symbol: str
    is_tradable: bool
    is_fractionable: bool


def wanted_symbols(connection: Connection) -> list[str]:
    """Every symbol that is held, being traded, in an enabled strategy's universe, or alerted."""
    return list(run(connection, "wanted_symbols").scalars())


def symbols_between(
    connection: Connection, first: date, last: date, *, benchmark: str | None = None
) -> list[str]:
    """Every symbol that matters between two dates (inclusive), sorted.

    What is wanted now, what was held or traded then, a benchmark, and what these were called before; less
    what was not traded any more on the first of them.
    """
    symbols = {*wanted_symbols(connection), *([benchmark] if benchmark else [])}
    symbols |= set(run(connection, "traded_symbols_between", first=first, last=last).scalars())
    symbols |= set(run(connection, "names_before", symbols=sorted(symbols)).scalars())
    return sorted(symbols - set(run(connection, "ended_symbols", session=first).scalars()))


def save_quotes(connection: Connection, quotes: Sequence[Quote], *, received_at: datetime) -> SavedQuotes:
    """Take over the quotes that are not older than ours and mark the held positions.

    Three statements, however many quotes.
    """
    run(connection, "hold_quotes")
    merged = run(
        connection,
        "merge_quotes",
        symbols=_text_array(q.symbol for q in quotes),
        prices=_array(q.price for q in quotes),
        bids=_array(q.bid for q in quotes),
        asks=_array(q.ask for q in quotes),
        previous_closes=_array(q.previous_close for q in quotes),
        quoted_at=_array(q.quoted_at.isoformat() for q in quotes),
        sources=_text_array(q.source for q in quotes),
        received_at=received_at,
    ).one()
    run(connection, "mark_positions")
    return SavedQuotes(updated=merged.updated, changed=merged.changed)


def _text_array(values: Iterable[str]) -> str:
    """An array of any texts as PostgreSQL reads it."""
    return _array('"' + value.replace("\\", r"\\").replace('"', r"\"") + '"' for value in values)


def _array(values: Iterable[Decimal | str | None]) -> str:
    """An array as PostgreSQL reads it, of values that need no quotes; the driver takes thrice as long."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def read_quotes(connection: Connection, symbols: Collection[str] | None = None) -> dict[str, Quote]:
    """The newest quote of each symbol that has one."""
    rows = run(connection, "quotes", symbols=None if symbols is None else list(symbols)).mappings()
    return {
        row["symbol"]: Quote(
            symbol=row["symbol"],
            price=row["price"],
            quoted_at=row["quoted_at"],
            source=row["source"],
            bid=row["bid"],
            ask=row["ask"],
            previous_close=row["previous_close"],
        )
        for row in rows
    }


def newest_quote_at(connection: Connection) -> datetime | None:
    """Of when the newest quote of any symbol is (UTC); None before the first."""
    return run(connection, "newest_quote_at").scalar()


def stored_quotes(connection: Connection, symbols: Sequence[str], at: datetime, source: str) -> list[Quote]:
    """What our bars say each symbol cost at an instant; symbols without a bar by then are left out."""
    rows = run(connection, "stored_quotes", symbols=list(symbols), at=at).mappings()
    return [
        Quote(
            symbol=row["symbol"],
            price=row["price"],
            quoted_at=row["quoted_at"],
            source=source,
            previous_close=row["previous_close"],
        )
        for row in rows
    ]


def read_bars(
    connection: Connection, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
) -> list[Bar]:
    """Bars that start in [start, end), by symbol and time."""
    rows = run(
        connection, "bars", symbols=list(symbols), timeframe=timeframe.value, start=start, end=end
    ).mappings()
    return [Bar(**{**row, "timeframe": Timeframe(row["timeframe"])}) for row in rows]


def read_histories(
    connection: Connection, symbols: Sequence[str], timeframe: Timeframe, *, at: datetime, count: int
) -> dict[str, History]:
    """The last `count` bars of each symbol that are complete at an instant, in one round trip."""
    rows = run(
        connection, "histories", symbols=list(symbols), timeframe=timeframe.value, at=at, count=count
    ).mappings()
    return {row["symbol"]: History(**{k: row[k] for k in _HISTORY}) for row in rows}


def keep_bars_as_they_are(connection: Connection) -> None:
    """Let nobody write bars until the transaction ends; waits for those who do. Comes before other locks."""
    run(connection, "keep_bars_as_they_are")


def closes_between(
    connection: Connection, symbols: Collection[str], first: date, last: date
) -> dict[tuple[str, date], Decimal]:
    """The official closes of some symbols between two dates (inclusive), by symbol and session."""
    rows = run(connection, "closes_between", symbols=sorted(symbols), first=first, last=last)
    return {(row.symbol, row.session): row.close for row in rows}


def closes_before(
    connection: Connection, wanted: Collection[tuple[str, date]]
) -> dict[tuple[str, date], tuple[Decimal, date]]:
    """Each symbol's last official close before a session, and the session it is of; by symbol and session."""
    rows = run(connection, "closes_before", **_symbols_and_sessions(wanted))
    return {(row.symbol, row.session): (row.close, row.of_session) for row in rows}


def last_minute_closes(
    connection: Connection, wanted: Collection[tuple[str, date]]
) -> dict[tuple[str, date], Decimal]:
    """The close of each symbol's last minute bar in a session, of those that have one."""
    rows = run(connection, "last_minute_closes", **_symbols_and_sessions(wanted))
    return {(row.symbol, row.session): row.close for row in rows}


def _symbols_and_sessions(wanted: Collection[tuple[str, date]]) -> dict[str, list[str] | list[date]]:
    pairs = sorted(wanted)
    return {"symbols": [symbol for symbol, _ in pairs], "sessions": [session for _, session in pairs]}


def read_instruments(connection: Connection, symbols: Collection[str]) -> dict[str, Instrument]:
    """The instruments among these symbols."""
    rows = run(connection, "known_symbols", symbols=sorted(symbols)).mappings()
    return {row["symbol"]: Instrument(**row) for row in rows}


def require_instruments(connection: Connection, symbols: Collection[str]) -> None:
    """Raise InvalidInputError naming every symbol that is unknown here."""
    unknown = sorted(set(symbols) - set(read_instruments(connection, symbols)))
    if unknown:
        raise InvalidInputError(
            f"Unknown symbol{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}: "
            "import bars for it first (`trading bars import FILE`), or correct the spelling."
        )


def set_whole_shares_only(connection: Connection, symbol: str) -> None:
    """A broker does not take fractions of this symbol."""
    run(connection, "set_whole_shares_only", symbol=symbol)


def save_bars(connection: Connection, bars: Iterable[Bar]) -> SavedBars:
    """Take over bars and the instruments they name; the same bars again change nothing.

    What a bar said before it is corrected is kept in `bar_revisions`.
    """
    run(connection, "create_incoming_bars")
    symbols: set[str] = set()
    copy_rows(connection, "incoming_bars", _BAR_COLUMNS, (_bar_row(bar, symbols) for bar in bars))
    run(connection, "insert_instruments", symbols=sorted(symbols))
    run(connection, "revise_bars")
    return SavedBars(**run(connection, "merge_bars").mappings().one())


def bar_revisions(
    connection: Connection, *, symbol: str | None = None, session: date | None = None, limit: int
) -> list[RowMapping]:
    """The newest corrections of bars: symbol, session, old and new close, both sources, and when."""
    found = run(connection, "bar_revisions", symbol=symbol, session=session, limit=limit)
    return list(found.mappings())


def bar_coverage(connection: Connection) -> list[RowMapping]:
    """First and last session and number of bars of each symbol and timeframe."""
    return list(run(connection, "bar_coverage").mappings())


def _bar_row(bar: Bar, symbols: set[str]) -> tuple[object, ...]:
    symbols.add(bar.symbol)
    return tuple(
        getattr(bar, column).value if column == "timeframe" else getattr(bar, column)
        for column in _BAR_COLUMNS
    )


def ensure_instruments(connection: Connection, symbols: Collection[str]) -> None:
    """Add the symbols that are new; a broker may hold what we never traded."""
    if symbols:
        run(connection, "insert_instruments", symbols=sorted(symbols))


def session_bars(connection: Connection, session: date) -> list[Bar]:
    """Every bar of a session, minutes before days, by time and symbol."""
    rows = run(connection, "session_bars", session=session).mappings()
    return [Bar(**{**row, "timeframe": Timeframe(row["timeframe"])}) for row in rows]


def sessions_with_bars(connection: Connection, first: date, last: date) -> int:
    """How many sessions between two dates (inclusive) have bars."""
    return int(run(connection, "sessions_with_bars", first=first, last=last).scalar_one())
