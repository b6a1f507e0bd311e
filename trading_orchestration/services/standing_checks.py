"""What people may rely on at any time, looked at again and again: quotes, books, snapshots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.job_admission import due_tick
from trading_orchestration.store import history, job_statistics, jobs, prices
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.history import Coverage
from trading_orchestration.store.jobs import Begin


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: one sentence, and one for each thing that is wrong."""

    summary: str
    problems: Sequence[str] = ()

    @property
    def has_passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_quotes(begin: Begin, calendar: MarketCalendar, now: datetime) -> Finding:
    """Whether every wanted symbol has a quote of the last price update that was due.

    While `price_update` is switched off nothing is due.
    """
    with begin() as connection:
        job = jobs.read_job(connection, JobType.PRICE_UPDATE)
        symbols = prices.wanted_symbols(connection)
        received = history.quotes_received_at(connection)
    if not job.is_scheduled:
        return Finding("price_update is switched off; no quote is due.")
    due = _last_due(JobType.PRICE_UPDATE, calendar, now - timedelta(seconds=job.missed_after_s))
    if due is None:
        return Finding("No price update has been due yet.")
    missing = [f"{symbol} has no quote." for symbol in symbols if symbol not in received]
    old = [
        f"{symbol} was last quoted at {_local(calendar, received[symbol])}."
        for symbol in symbols
        if symbol in received and received[symbol] < due
    ]
    return Finding(f"Quotes of {len(symbols)} symbols were due at {_local(calendar, due)}.", (*missing, *old))


def check_brokers(begin: Begin) -> Finding:
    """Whether the last comparison with the brokers left no difference."""
    with begin() as connection:
        counts = job_statistics.last_counts(connection, JobType.POSITION_SYNC)
    if counts is None:
        return Finding("The books have not been compared with the brokers' yet.")
    compared, found, repaired = (counts.get(name, 0) for name in ("compared", "discrepancies", "repaired"))
    if found > repaired:
        problem = (
            f"{found - repaired} of {found} differences were too large to repair unseen; trading is halted."
        )
        return Finding("The books and the brokers' differ.", (problem,))
    return Finding(f"{compared} balances were compared; {repaired} differences were found, and repaired.")


def check_ledger(begin: Begin) -> Finding:
    """Whether everything derived from the ledger is what it adds up to; nobody can book meanwhile."""
    return Finding(
        "The ledger was added up anew and compared with everything derived from it.", check_books(begin)
    )


def check_sums(begin: Begin) -> Finding:
    """Whether every snapshot's total is its cash and the values of its lines."""
    with begin() as connection:
        wrong = history.snapshots_that_do_not_add_up(connection)
    problems = [
        f"{row['portfolio']} on {row['session']}: the total is {row['total_value']:,.2f}, and cash and "
        f"positions add up to {row['added_up']:,.2f}."
        for row in wrong
    ]
    return Finding("Every snapshot's total was compared with its cash and positions.", problems)


def check_sessions(begin: Begin, calendar: MarketCalendar) -> Finding:
    """Whether every portfolio has a snapshot of each session with bars since it was given money.

    Sessions after the newest snapshot count only while `portfolio_snapshot` is switched on.
    """
    missing = missing_snapshots(begin, calendar)
    problems = [
        f"{portfolio} has no snapshot of {_listed([day.isoformat() for day in days])}."
        for portfolio, days in missing.items()
    ]
    return Finding("Every session with bars since the first deposit was looked for.", problems)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A check that holds again, in one sentence; `failed_at` (ISO) is when it was last told that it fails."""

    summary: str
    failed_at: str


def tell_of_checks(
    begin: Begin, problems: Mapping[str, str], recovered: Mapping[str, Recovery], *, at: datetime
) -> None:
    """Notify people, by check: of those that failed what is wrong, and once of each that it holds again."""
    if not problems and not recovered:
        return
    messages = [
        Notification(
            severity=Severity.CRITICAL,
            kind="check",
            title=f"Check failed: {check}",
            body=problem,
            dedupe_key=f"check:{check}:{at.isoformat()}",
        )
        for check, problem in problems.items()
    ]
    messages += [
        Notification(
            severity=Severity.INFO,
            kind="check",
            title=f"Check holds again: {check}",
            body=recovery.summary,
            dedupe_key=f"check:{check}:{recovery.failed_at}:over",
        )
        for check, recovery in recovered.items()
    ]
    with begin() as connection:
        add_notifications(connection, messages, at=at)


def missing_snapshots(begin: Begin, calendar: MarketCalendar) -> dict[str, list[date]]:
    """The sessions with bars of which a funded portfolio has no snapshot, by portfolio, oldest first.

    Up to the last bar while `portfolio_snapshot` is switched on, else up to the newest snapshot there is.
    """
    with begin() as connection:
        is_on = jobs.read_job(connection, JobType.PORTFOLIO_SNAPSHOT).is_scheduled
        covered = history.snapshot_coverage(connection)
        newest = max((day for portfolio in covered for day in portfolio.sessions), default=None)
        last = history.last_session_of_bars(connection) if is_on else newest
        if last is None or not covered:
            return {}
        first = min(calendar.local(portfolio.first_movement_at).date() for portfolio in covered)
        sessions = calendar.sessions_between(first, last)
        with_bars = history.sessions_with_bars(connection, [session.date for session in sessions])
    closes = {session.date: session.closes_at for session in sessions if session.date in with_bars}
    found = {portfolio.portfolio: _uncovered(portfolio, closes) for portfolio in covered}
    return {portfolio: days for portfolio, days in found.items() if days}


def _uncovered(portfolio: Coverage, closes: Mapping[date, datetime]) -> list[date]:
    return [
        day
        for day, closes_at in closes.items()
        if closes_at >= portfolio.first_movement_at and day not in portfolio.sessions
    ]


def _last_due(job_type: JobType, calendar: MarketCalendar, at: datetime) -> datetime | None:
    session = calendar.session_at(at)
    due = due_tick(job_type, session, at) if session else None
    if due is not None:
        return due
    try:
        return due_tick(job_type, calendar.last_closed(at), at)
    except InvalidInputError:
        return None


def _local(calendar: MarketCalendar, instant: datetime) -> str:
    return f"{calendar.local(instant):%Y-%m-%d %H:%M}"


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days[:5]) + (f" and {len(days) - 5} more sessions" if len(days) > 5 else "")
