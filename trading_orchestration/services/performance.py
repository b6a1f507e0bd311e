"""How portfolios did over a range of sessions, as a whole and strategy by strategy.

Everything is read from the snapshots and the ledger in a number of statements that does not depend on how
many portfolios, sessions or trades there are.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from trading_orchestration.domain.corporate_action import CorporateAction
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.portfolio_review import Benchmark, Measured, Review
from trading_orchestration.store import corporate_actions, ledger, portfolios, prices
from trading_orchestration.store import performance as store
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.performance import Close, SessionValue
from trading_orchestration.store.portfolios import Portfolio


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The sessions to look at, both inclusive; None is as far as there are snapshots."""

    first: date | None = None
    last: date | None = None


def review_portfolios(
    *, begin: Begin, calendar: MarketCalendar, period: Period = Period(), benchmark: str | None = None
) -> list[Review]:
    """Every portfolio that has a snapshot in the period, by id; raises InvalidInputError as below."""
    with begin() as connection:
        found = portfolios.read_portfolios(connection)
        return _review(connection, calendar, found, period, benchmark)


def review_portfolio(
    name: str,
    *,
    begin: Begin,
    calendar: MarketCalendar,
    period: Period = Period(),
    benchmark: str | None = None,
) -> Review:
    """One portfolio.

    Raises InvalidInputError for an unknown portfolio or benchmark, for a benchmark without bars in the
    period, for a period that ends before it starts, and where there is no snapshot in it.
    """
    with begin() as connection:
        portfolio = portfolios.find_portfolio(connection, name)
        reviews = _review(connection, calendar, [portfolio], period, benchmark)
    if not reviews:
        raise InvalidInputError(
            f"{name} has no snapshot{_within(period)}; materialise portfolio_snapshots for its sessions."
        )
    return reviews[0]


def session_closes(review: Review, symbols: Sequence[str], *, begin: Begin) -> Mapping[str, Sequence[Close]]:
    """The official closes of some symbols over the period of a review, oldest first."""
    first, last = review.performance.first_session, review.performance.last_session
    with begin() as connection:
        return store.daily_closes(connection, symbols, first, last)


def _review(
    connection: Connection,
    calendar: MarketCalendar,
    found: Sequence[Portfolio],
    period: Period,
    benchmark: str | None,
) -> list[Review]:
    if period.first and period.last and period.first > period.last:
        raise InvalidInputError(
            f"The period ends on {period.last}, before it starts on {period.first}; swap the dates."
        )
    ids = [portfolio.id for portfolio in found]
    values = store.session_values(connection, ids, first=period.first, last=period.last)
    if not values:
        return []
    last = {portfolio_id: of_one[-1].session for portfolio_id, of_one in values.items()}
    until = calendar.session(max(last.values())).closes_at
    entries = store.owned_entries(connection, list(values), until=until)
    holdings = store.holdings_of_sessions(connection, last)
    flows = ledger.external_flows(connection, until=until)
    strategies = portfolios.read_strategies(connection)
    beside = _read_benchmark(connection, calendar, benchmark, values)
    return [
        Measured(
            portfolio=portfolio,
            calendar=calendar,
            values=values[portfolio.id],
            entries=entries.get(portfolio.id, {}),
            holdings=holdings.get(portfolio.id, []),
            flows=flows.get(portfolio.id, []),
            strategies=[s.name for s in strategies if s.portfolio_id == portfolio.id],
            benchmark=beside,
        ).review()
        for portfolio in found
        if portfolio.id in values
    ]


def _read_benchmark(
    connection: Connection,
    calendar: MarketCalendar,
    symbol: str | None,
    values: Mapping[int, Sequence[SessionValue]],
) -> Benchmark | None:
    if symbol is None:
        return None
    prices.require_instruments(connection, [symbol])
    first = calendar.previous(min(of_one[0].session for of_one in values.values())).date
    last = max(of_one[-1].session for of_one in values.values())
    closes = store.daily_closes(connection, [symbol], first, last)[symbol]
    if not closes:
        raise InvalidInputError(
            f"The benchmark {symbol} has no daily bar from {first} to {last}; `trading bars import FILE` "
            "brings them in."
        )
    actions: dict[date, list[CorporateAction]] = defaultdict(list)
    for recorded in corporate_actions.list_actions(connection, symbol):
        if recorded.withdrawn_at is None and recorded.action.symbol == symbol:
            actions[recorded.action.session].append(recorded.action)
    return Benchmark(symbol, {close.session: close.price for close in closes}, actions)


def _within(period: Period) -> str:
    return (f" from {period.first}" if period.first else "") + (f" to {period.last}" if period.last else "")
