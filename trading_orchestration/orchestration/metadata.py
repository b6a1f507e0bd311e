"""What the UI shows beside a materialisation: counts, tables, and pictures such as that of the equity."""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_orchestration.services.price_update import PriceUpdate
from trading_orchestration.store import history, ledger
from trading_orchestration.store.history import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trading_orchestration.orchestration.admission import Work

Metadata = dict[str, dg.MetadataValue[Any]]

#: A table longer than this is no longer read; the counts tell of the rest.
_ROWS_MAX = 50
#: How far back the picture reaches at least.
_PLOTTED = timedelta(days=365)
#: So many sessions of one run have tables.
_TABLES_MAX = 60
_DPI = 100


def of_quotes(update: PriceUpdate) -> Metadata:
    """Counts, the newest quotes, and why some are missing."""
    rows = [
        {
            "symbol": quote.symbol,
            "price": _money(quote.price),
            "quoted at (UTC)": f"{quote.quoted_at:%Y-%m-%d %H:%M:%S}",
            "age (s)": f"{update.ages_s[quote.symbol]:,.0f}",
            "source": quote.source,
        }
        for quote in update.quotes
    ]
    found: Metadata = {**_counts(update.counts), "prices": table(rows)}
    if update.quotes:
        found["oldest (s)"] = dg.MetadataValue.float(round(max(update.ages_s.values()), 1))
        sources = Counter(quote.source for quote in update.quotes)
        found["sources"] = dg.MetadataValue.text(
            ", ".join(f"{name}: {n}" for name, n in sources.most_common())
        )
    if update.problems:
        found["sources that failed"] = table(
            [{"source": name, "problem": problem} for name, problem in update.problems.items()]
        )
    if update.failures:
        reasons = [{"symbol": s, "reason": r} for s, r in sorted(update.failures.items())]
        found["missing"] = table(reasons)
    return found


def of_positions(work: "Work", counts: Mapping[str, int]) -> Metadata:
    """Counts and every position with its mark."""
    with work.trading.begin() as connection:
        held = ledger.read_positions(connection)
    rows = [
        {
            "portfolio": row.portfolio,
            "symbol": row.position.symbol,
            "quantity": f"{row.position.quantity.normalize():f}",
            "average cost": _money(row.position.average_cost),
            "price": _money(row.market_price),
            "value": _money(row.market_value),
            "unrealised": _money(row.unrealised_pnl),
        }
        for row in held
    ]
    return {**_counts(counts), "positions": table(rows)}


def of_snapshots(work: "Work", sessions: Sequence[date]) -> Iterator[tuple[date, Metadata]]:
    """The totals of each session; the newest have their tables, the last one the picture of the equity too.

    An event in Dagster's log is read whole: tables of ten years would be read with every look at the asset.
    """
    last = sessions[-1] if sessions else None
    for start in range(0, len(sessions), _TABLES_MAX):
        part = sessions[start : start + _TABLES_MAX]
        with_tables = set(sessions[-_TABLES_MAX:]) & set(part)
        with work.trading.begin() as connection:
            totals = _by_session(history.snapshots_between(connection, part[0], part[-1]))
            lines = _by_session(
                history.holdings_between(connection, min(with_tables), part[-1]) if with_tables else []
            )
        for session in part:
            found = _totals(session, totals[session])
            if session in with_tables:
                found |= _tables(totals[session], lines[session])
            if session == last:
                found |= _equity(work, sessions[0], session)
            yield session, found


def _totals(session: date, snapshots: Sequence[Row]) -> Metadata:
    total = sum((row["total_value"] for row in snapshots), Decimal(0))
    return {
        "session": dg.MetadataValue.text(session.isoformat()),
        "portfolios": dg.MetadataValue.int(len(snapshots)),
        "total value": dg.MetadataValue.float(round(float(total), 2)),
    }


def _tables(snapshots: Sequence[Row], holdings: Sequence[Row]) -> Metadata:
    rows = [
        {
            "portfolio": row["portfolio"],
            "total": _money(row["total_value"]),
            "cash": _money(row["cash"]),
            "positions": _money(row["positions_value"]),
            "count": str(row["position_count"]),
            "exposure": _share(row["exposure"]),
            "day": _percent(row["daily_return"]),
            "since start": _percent(row["total_return"]),
        }
        for row in snapshots
    ]
    is_carried = any(row["close_age"] for row in holdings)
    return {
        "snapshots": table(rows),
        "holdings": table([_holding(row, is_carried=is_carried) for row in holdings]),
    }


def _equity(work: "Work", first: date, last: date) -> Metadata:
    """What portfolios were worth in a run's sessions, and at least in the year up to the last."""
    since = min(first, last - _PLOTTED)
    with work.trading.begin() as connection:
        past = history.snapshots_between(connection, since, last)
        highs = history.highest_returns_before(connection, since)
    if len({row["session"] for row in past}) < 2:
        return {}
    from trading_orchestration.reporting import pictures

    return {"equity": picture("equity", pictures.equity_of_portfolios(past, highs))}


def picture(name: str, figure: "Figure") -> dg.MetadataValue[Any]:
    """A figure as the UI shows it."""
    from trading_orchestration.reporting.pictures import png

    encoded = base64.b64encode(png(figure, dpi=_DPI)).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})")


def _by_session(rows: Sequence[Row]) -> defaultdict[date, list[Row]]:
    found: defaultdict[date, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["session"]].append(row)
    return found


def of_counts(counts: Mapping[str, int]) -> Metadata:
    """What a job counted."""
    return _counts(counts)


def _counts(counts: Mapping[str, int]) -> Metadata:
    return {name: dg.MetadataValue.int(count) for name, count in counts.items()}


def table(rows: Sequence[Mapping[str, str]]) -> dg.MetadataValue[Any]:
    """Rows as the UI shows them; only the first of them where there are many."""
    if not rows:
        return dg.MetadataValue.text("none")
    records = [dg.TableRecord(dict(row)) for row in rows[:_ROWS_MAX]]
    columns = [dg.TableColumn(name, "string") for name in rows[0]]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _holding(row: Row, *, is_carried: bool) -> dict[str, str]:
    """One holding; of when its close is only where some of the session is older."""
    return {
        "portfolio": row["portfolio"],
        "symbol": row["symbol"],
        "quantity": f"{row['quantity'].normalize():f}",
        "average cost": _money(row["average_cost"]),
        "close": _money(row["close"]),
        **({"close of": _close_of(row)} if is_carried else {}),
        "value": _money(row["value"]),
    }


def _money(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:,.2f}"


def _share(fraction: Decimal | None) -> str:
    return "" if fraction is None else f"{fraction:.1%}"


def _close_of(row: Row) -> str:
    """Nothing for the session's own close."""
    age = row["close_age"]
    return "" if not age else f"{row['close_session']}, {age} {'session' if age == 1 else 'sessions'} before"


def _percent(fraction: Decimal | None) -> str:
    return "" if fraction is None else f"{fraction:+.2%}"
