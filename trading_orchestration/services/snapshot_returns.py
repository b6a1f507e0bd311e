"""The returns of snapshots one after the other, with what was put in and taken out between them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.portfolio import chained_return, daily_return
from trading_orchestration.store.snapshots import Snapshot, Stored


@dataclass(frozen=True, slots=True)
class Value:
    """What a portfolio was worth at a session's close."""

    session: date
    valued_at: datetime
    total: Decimal


@dataclass(frozen=True, slots=True)
class Returns:
    """Of one session, as fractions: its own, since the start, and the money that moved in it."""

    daily: Decimal | None
    total: Decimal | None
    net_deposits: Decimal


@dataclass(frozen=True, slots=True)
class PortfolioFlows:
    """When money was put into a portfolio or taken out of it (negative), and when it first had any."""

    flows: Sequence[tuple[datetime, Decimal]]
    opened_at: datetime

    def between(self, after: datetime, until: datetime) -> Decimal:
        """The sum of what moved after one instant and up to another."""
        return sum((amount for at, amount in self.flows if after < at <= until), ZERO)


def returns(
    values: Sequence[Value],
    of: PortfolioFlows,
    calendar: MarketCalendar,
    *,
    previous: Value | None,
    previous_return: Decimal | None,
) -> Iterator[Returns]:
    """The returns of successive values; `previous` is the snapshot before the first, if there is one.

    A session whose predecessor was not valued has no daily return: the gap belongs to several days. The
    return since the start goes on over the gap, with the money that moved in it.
    """
    total_return = previous_return
    for value in values:
        session_before = calendar.previous(value.session)
        period = _period(value, previous, of, opened_after=session_before.closes_at)
        total_return = chained_return(total_return, period)
        is_gap = previous is not None and previous.session != session_before.date
        net_deposits = of.between(session_before.closes_at, value.valued_at)
        yield Returns(None if is_gap else period, total_return, net_deposits)
        previous = value


def _period(
    value: Value, previous: Value | None, of: PortfolioFlows, *, opened_after: datetime
) -> Decimal | None:
    if previous is not None:
        moved = of.between(previous.valued_at, value.valued_at)
        return daily_return(value.total, previous.total, moved)
    if of.opened_at <= opened_after:
        return None  # it was there before, and nobody valued it
    return daily_return(value.total, ZERO, of.between(opened_after, value.valued_at))


def chained(
    taken: Sequence[Snapshot],
    stored: Sequence[Stored],
    of: PortfolioFlows,
    calendar: MarketCalendar,
    *,
    previous: Stored | None,
) -> tuple[list[Snapshot], list[Stored]]:
    """Snapshots of one portfolio with their returns, and those of `stored` whose returns are others now.

    `stored` are what is there since the first one, those that are taken anew too; `previous` is before it.
    """
    sessions = {snapshot.session for snapshot in taken}
    rows: list[Snapshot | Stored] = [*taken, *(row for row in stored if row.session not in sessions)]
    rows.sort(key=lambda row: row.session)
    found = returns(
        [_value(row) for row in rows],
        of,
        calendar,
        previous=_value(previous) if previous else None,
        previous_return=previous.total_return if previous else None,
    )
    saved: list[Snapshot] = []
    changed: list[Stored] = []
    for row, new in zip(rows, found, strict=True):
        if isinstance(row, Snapshot):
            saved.append(
                replace(row, net_deposits=new.net_deposits, daily_return=new.daily, total_return=new.total)
            )
        elif (row.daily_return, row.total_return) != (new.daily, new.total):
            changed.append(replace(row, daily_return=new.daily, total_return=new.total))
    return saved, changed


def _value(row: Snapshot | Stored) -> Value:
    return Value(row.session, row.valued_at, row.total_value)
