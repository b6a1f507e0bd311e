"""The returns of snapshots one after the other, with what was put in and taken out between them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import ZERO
from trading_orchestration.domain.portfolio import chained_return, daily_return


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
