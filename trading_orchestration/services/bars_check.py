"""Daily bars against the calendar and against each other: missing, extra, impossible, suspicious."""

from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.services.standing_checks import Finding
from trading_orchestration.store import bar_checks
from trading_orchestration.store.bar_checks import Gap
from trading_orchestration.store.jobs import Begin

#: A close further than this from the one before is a split nobody entered, a bad tick, or news to look at.
JUMP_MAX = Decimal("0.4")
#: A close that stands so far from both its neighbours, on the same side, is a bad tick.
SPIKE_MAX = Decimal("0.2")
#: Sources that differ by more in a close do not mean the same price.
REVISION_MAX = Decimal("0.05")

_WHAT = {
    "jump": "{symbol} moved {change:+.1%} on {session}, with no corporate action that tells why.",
    "spike": "{symbol} stands alone on {session}: {change:+.1%} from the session before, and back after it.",
    "no volume": "{symbol} has no volume on {session}.",
    "correction": "The close of {symbol} on {session} was corrected by {change:+.1%}; its sources differ.",
}


def check_complete(begin: Begin, calendar: MarketCalendar) -> Finding:
    """Whether every symbol has a bar in each session from its first to its last, or the newest if held."""
    with begin() as connection:
        gaps = bar_checks.gaps(connection, [session.date for session in calendar.sessions])
    return Finding(
        f"Bars were looked for in every session of {calendar.name}.", [_gap_sentence(gap) for gap in gaps]
    )


def check_days(begin: Begin, calendar: MarketCalendar) -> Finding:
    """Whether every bar is of a session."""
    with begin() as connection:
        rows = bar_checks.bars_on_closed_days(connection, [session.date for session in calendar.sessions])
    problems = [
        f"{row['symbol']} has a bar on {row['session']}, which is no session of {calendar.name}."
        for row in rows
    ]
    return Finding(f"The days of all bars were compared with the sessions of {calendar.name}.", problems)


def check_plausible(begin: Begin) -> Finding:
    """Whether the bars can be believed; what contradicts itself the database does not take at all.

    Moves are measured after splits and dividends. What is told here may be true: a person looks.
    """
    with begin() as connection:
        rows = bar_checks.suspicious_bars(connection, jump=JUMP_MAX, spike=SPIKE_MAX, revision=REVISION_MAX)
    return Finding(
        "The moves between closes, volumes and corrections were looked at.",
        [_WHAT[row["what"]].format(**row) for row in rows],
    )


def _gap_sentence(gap: Gap) -> str:
    if gap.count == 1:
        return f"{gap.symbol} has no bar on {gap.first}."
    return f"{gap.symbol} has no bar in {gap.count} sessions from {gap.first} to {gap.last}."
