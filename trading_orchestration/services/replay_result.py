"""What a replay came to: equity, returns and drawdown of each portfolio, and the trades in full."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from trading_orchestration.domain.money import EXACT, plain
from trading_orchestration.domain.round_trip import RoundTrip, keep_book
from trading_orchestration.store import performance, portfolios, snapshots, trades
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin

#: What the trade list says of a trade: nothing that depends on ids, on the machine or on the time of day.
TRADE_COLUMNS = (
    "session",
    "decided_at",
    "portfolio",
    "strategy",
    "symbol",
    "side",
    "order_type",
    "quantity",
    "limit_price",
    "stop_price",
    "status",
    "filled_quantity",
    "average_price",
    "reason",
    "status_reason",
)
_PLACES = Decimal("1e-12")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioResult:
    """One portfolio over the replayed sessions. Money in its currency, returns as fractions.

    `trades` are orders that were decided, `round_trips` positions that were opened and closed, `open_trips`
    those still open at the end.
    """

    portfolio: str
    start_equity: Decimal
    end_equity: Decimal
    total_return: Decimal
    max_drawdown: Decimal
    trades: int
    round_trips: int
    open_trips: int


def portfolio_results(begin: Begin, cash: Mapping[str, Decimal]) -> list[PortfolioResult]:
    """The result of each portfolio, by its cash at the start, from its snapshots."""
    with begin() as connection:
        taken = snapshots.list_snapshots(connection)
        traded = Counter(row["portfolio"] for row in trades.list_trades(connection))
        trips = _trips(connection)
    totals: dict[str, list[Decimal]] = defaultdict(list)
    for row in taken:
        totals[row["portfolio"]].append(row["total_value"])
    return [
        _result(portfolio, [start, *totals[portfolio]], traded[portfolio], trips[portfolio])
        for portfolio, start in cash.items()
    ]


def trade_list(begin: Begin) -> list[tuple[str, ...]]:
    """Every trade as text, under `TRADE_COLUMNS`: by instant, portfolio, strategy and order of decision."""
    with begin() as connection:
        rows = trades.list_trades(connection)
    rows.sort(key=lambda row: (row["decided_at"], row["portfolio"], row["strategy"] or ""))
    return [tuple(_text(row[column]) for column in TRADE_COLUMNS) for row in rows]


def max_drawdown(equities: Iterable[Decimal]) -> Decimal:
    """The deepest fall below an earlier high, as a fraction from -1 to 0, to 12 places."""
    peak = deepest = Decimal(0)
    for equity in equities:
        peak = max(peak, equity)
        if peak > 0:
            deepest = min(deepest, EXACT.divide(equity - peak, peak))
    return deepest.quantize(_PLACES, context=EXACT)


def _trips(connection: Connection) -> Mapping[str, Sequence[RoundTrip]]:
    names = {portfolio.id: portfolio.name for portfolio in portfolios.read_portfolios(connection)}
    entries = performance.owned_entries(connection, list(names), until=datetime.max.replace(tzinfo=UTC))
    found: dict[str, list[RoundTrip]] = defaultdict(list)
    for portfolio_id, by_symbol in entries.items():
        for symbol, of_symbol in by_symbol.items():
            # One holding of the portfolio, whichever of its strategies opened it.
            book = keep_book(symbol, ((entry, None) for entry, _ in of_symbol))
            found[names[portfolio_id]] += book.trips
    return found


def _result(
    portfolio: str, equities: Sequence[Decimal], count: int, trips: Sequence[RoundTrip]
) -> PortfolioResult:
    start, end = equities[0], equities[-1]
    return PortfolioResult(
        portfolio=portfolio,
        start_equity=start,
        end_equity=end,
        total_return=EXACT.divide(end - start, start).quantize(_PLACES, context=EXACT),
        max_drawdown=max_drawdown(equities),
        trades=count,
        round_trips=sum(trip.closed_at is not None for trip in trips),
        open_trips=sum(trip.closed_at is None for trip in trips),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
