"""Whether snapshots can be trusted: they still hold, their returns chain, and brokers say the same."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import Broker, HasEquityHistory
from trading_orchestration.domain.money import ZERO
from trading_orchestration.errors import BrokerError, SettingsError
from trading_orchestration.services.standing_checks import Finding
from trading_orchestration.store import history, snapshots
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account

#: The sensor has snapshots that no longer hold taken again well within this.
STALE_MAX_S = 900
#: A broker may value a session's end anew until the evening.
SETTLED_AFTER = timedelta(hours=12)
#: Brokers tell cents, and may know a symbol's close from another exchange.
EQUITY_TOLERANCE, EQUITY_TOLERANCE_SHARE = Decimal("0.01"), Decimal("0.0001")
#: So many sessions are compared with a broker's.
COMPARED_SESSIONS = 250


def check_fresh(begin: Begin) -> Finding:
    """Whether every snapshot still holds; those marked a moment ago are about to be taken again.

    Says, too, what is valued at an older close because the setting allows it.
    """
    with begin() as connection:
        stale = snapshots.list_stale(connection)
        carried = snapshots.carried_closes(connection)
    problems = [
        f"{row['portfolio']} on {row['session']} no longer holds: {row['stale_reason']}"
        for row in stale
        if row["stale_s"] > STALE_MAX_S
    ]
    told = [
        f"{len(stale)} snapshots are stale and wait for their turn." if stale else "Every snapshot holds."
    ]
    if carried:
        oldest = max(carried, key=lambda row: (row["close_age"], row["session"]))
        told.append(
            f"{len(carried)} holdings are valued at the close of an earlier session; the oldest is that of "
            f"{oldest['symbol']} in {oldest['portfolio']} on {oldest['session']}: {oldest['close_session']}, "
            f"{oldest['close_age']} sessions before."
        )
    return Finding(" ".join(told), problems)


def check_returns(begin: Begin) -> Finding:
    """Whether each session's return is what the totals say, and chains to the return since the start."""
    with begin() as connection:
        wrong = history.snapshots_that_do_not_chain(connection)
    problems = [
        f"{row['portfolio']} on {row['session']}: the session's return is {row['daily_return']}, by the "
        f"totals {row['by_totals']}; since the start it is {row['total_return']}, chained {row['chained']}."
        for row in wrong
    ]
    return Finding("Returns were worked out from the totals and chained from the start.", problems)


def check_equity(begin: Begin, accounts: Iterable[tuple[Account, Broker]], now: datetime) -> Finding:
    """Whether an account's portfolios together are worth what its broker says, of brokers that say it.

    Sessions in which a portfolio of the account has no snapshot that holds are left out.
    """
    told: list[str] = []
    problems: list[str] = []
    for account, broker in accounts:
        name = f"{account.broker} account {account.account_number}"
        if not isinstance(broker, HasEquityHistory):
            told.append(f"The {name} keeps no history of its equity; there is nothing to compare with.")
            continue
        try:
            told.append(_compare(begin, account, broker, name, now, problems))
        except (BrokerError, SettingsError) as error:
            problems.append(f"The {name} could not be asked: {error}")
    return Finding(" ".join(told) or "No portfolio has an account.", problems)


def _compare(
    begin: Begin, account: Account, broker: HasEquityHistory, name: str, now: datetime, problems: list[str]
) -> str:
    with begin() as connection:
        ours = snapshots.account_totals(
            connection, account.id, until=now - SETTLED_AFTER, limit=COMPARED_SESSIONS
        )
    if not ours:
        return f"No session of the {name} can be compared yet."
    theirs = {day.session: day.equity for day in broker.get_equity_history(first=min(ours), last=max(ours))}
    compared = sorted(ours.keys() & theirs.keys())
    for session in compared:
        difference = abs(ours[session] - theirs[session])
        if difference > max(EQUITY_TOLERANCE, EQUITY_TOLERANCE_SHARE * max(theirs[session], ZERO)):
            problems.append(
                f"{session}: the {name} was worth {theirs[session]:,.2f} by the broker and "
                f"{ours[session]:,.2f} by our snapshots."
            )
    sessions = "1 session" if len(compared) == 1 else f"{len(compared)} sessions"
    return f"Compared with the broker's equity: {sessions} of the {name}."
