"""Whether the broker keeps the hours that we go by: its clock and its calendar, once a session."""

from datetime import datetime, timedelta

from trading_orchestration.brokers.broker import Broker
from trading_orchestration.domain.market_time import Clock, Session

#: Ticks are at least a minute apart, and the shortest limit on a tick's age is 30 s.
CLOCKS_APART_MAX = timedelta(seconds=15)


def differing_hours(broker: Broker, session: Session, clock: Clock) -> str | None:
    """One sentence on how the broker's clock or its hours of the session differ from ours, or None."""
    asked_at = clock()
    theirs = broker.get_clock().now
    answered_at = clock()
    if not asked_at - CLOCKS_APART_MAX <= theirs <= answered_at + CLOCKS_APART_MAX:
        apart = abs((theirs - answered_at).total_seconds())
        return f"The broker's clock and ours are {apart:,.0f} s apart; mend this machine's (NTP)."
    listed = broker.get_calendar(first=session.date, last=session.date)
    hours = next(((s.opens_at, s.closes_at) for s in listed if s.session == session.date), None)
    if hours is None:
        return f"The broker says that {session.date} is no session; by our calendar it is one."
    if hours != (session.opens_at, session.closes_at):
        return (
            f"The broker says that {session.date} is open {_span(*hours)}; by our calendar it is "
            f"{_span(session.opens_at, session.closes_at)}."
        )
    return None


def _span(opens_at: datetime, closes_at: datetime) -> str:
    return f"{opens_at:%H:%M} to {closes_at:%H:%M} UTC"
