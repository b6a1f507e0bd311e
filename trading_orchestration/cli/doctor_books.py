"""What `trading doctor` finds in a migrated database: prices, accounts, halts, breakers, runs."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from trading_orchestration.brokers.broker import Broker
from trading_orchestration.cli.findings import Finding, error, ok, warning
from trading_orchestration.cli.output import minute
from trading_orchestration.domain.job import JobStatus
from trading_orchestration.errors import BrokerError, SettingsError
from trading_orchestration.settings import PriceSourceName, Settings
from trading_orchestration.store import jobs, portfolios, prices, replay_copy
from trading_orchestration.store.database import Connection, Engine, transaction
from trading_orchestration.store.portfolios import Account, Halt, Strategy
from trading_orchestration.wiring import Trading, build_trading, system_clock

_CLOCK_APART_MAX_S = 15.0
#: A weekend with a holiday on either side.
_STALE_AFTER = timedelta(days=7)


def examine_books(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Every finding about a migrated database."""
    with transaction(engine) as connection:
        found = [
            *_bars(connection, settings),
            *_strategies(portfolios.read_strategies(connection)),
            *_halts(portfolios.read_halts(connection)),
            *_breakers(connection),
            *_started(connection),
        ]
    yield from _prices_and_accounts(settings, engine)
    yield from found
    yield from _abandoned(engine)


def _bars(connection: Connection, settings: Settings) -> Iterator[Finding]:
    coverage = prices.bar_coverage(connection)
    if not coverage:
        mend = "`trading bars import FILE`"
        yield warning("bars", "there are none, so that strategies hold and nothing can be replayed", mend)
        return
    first, last = min(r["first_session"] for r in coverage), max(r["last_session"] for r in coverage)
    symbols = len({row["symbol"] for row in coverage})
    yield ok("bars", f"{sum(r['bars'] for r in coverage):,} of {symbols} symbols, {first} to {last}")
    is_live = settings.price_sources != (PriceSourceName.STORED,)
    if is_live and system_clock().date() - last > _STALE_AFTER:
        mend = "import newer bars; strategies look at nothing else"
        yield warning("bars", f"the newest is of {last}", mend)


def _strategies(strategies: Sequence[Strategy]) -> Iterator[Finding]:
    broken = [strategy for strategy in strategies if strategy.last_error]
    for strategy in broken:
        message = f"{strategy.name} of {strategy.portfolio}: {strategy.last_error}"
        yield warning("strategy", message, "correct its file and add it under a new name")
    if strategies and not broken:
        enabled = sum(strategy.is_enabled for strategy in strategies)
        yield ok("strategies", f"{enabled} of {len(strategies)} enabled")


def _halts(halts: Sequence[Halt]) -> Iterator[Finding]:
    for halt in halts:
        subject = halt.portfolio or "all portfolios"
        message = f"{subject} since {minute(halt.halted_at)} by {halt.actor}: {halt.reason}"
        mend = (
            f"`trading resume {halt.portfolio} --reason …`"
            if halt.portfolio
            else "`trading resume --reason …`"
        )
        yield warning("halt", message, f"look into it, then {mend}")
    if not halts:
        yield ok("halts", "none")


def _breakers(connection: Connection) -> Iterator[Finding]:
    stopped = [job for job in jobs.read_jobs(connection) if job.breaker.job_status is not JobStatus.ENABLED]
    for job in stopped:
        message = f"{job.job_type} is {job.breaker.job_status}: {job.breaker.last_error or 'paused'}"
        mend = f"mend the cause, then `trading jobs reset {job.job_type} --reason …`"
        yield warning("breaker", message, mend)
    if not stopped:
        yield ok("breakers", "all closed")


def _started(connection: Connection) -> Iterator[Finding]:
    left = [row for row in jobs.started_executions(connection) if row["is_expired"]]
    for row in left:
        message = f"run {row['run_id']} of {row['job_type']} has not ended since {minute(row['started_at'])}"
        yield warning("runs", message, "the sensor job_executions closes it; start `trading up`")
    if not left:
        yield ok("runs", "none left behind")


def _prices_and_accounts(settings: Settings, engine: Engine) -> Iterator[Finding]:
    try:
        trading = build_trading(settings, engine, system_clock)
        yield ok("prices", f"from {settings.trading_price_source}")
    except SettingsError as problem:
        yield error("prices", str(problem), "or set TRADING_PRICE_SOURCE to another source")
        stored = settings.model_copy(update={"trading_price_source": PriceSourceName.STORED})
        trading = build_trading(stored, engine, system_clock)
    for account in trading.accounts():
        yield _account(trading, account)


def _account(trading: Trading, account: Account) -> Finding:
    subject = f"{account.account_number} at {account.broker}"
    try:
        broker = trading.broker_of(account)
        return _answered(broker, account, subject)
    except SettingsError as problem:
        return error("account", f"{subject}: {problem}", "set the variables it names")
    except BrokerError as problem:
        return error("account", f"{subject}: {problem}", "see the message")


def _answered(broker: Broker, account: Account, subject: str) -> Finding:
    found, clock = broker.get_account(), broker.get_clock()
    apart = abs((system_clock() - clock.now).total_seconds())
    if found.account_number != account.account_number:
        mend = "open the portfolio with that number, or set the other account's keys"
        return error("account", f"{subject}: the keys are those of {found.account_number}", mend)
    if found.is_blocked:
        return error("account", f"{subject} is blocked", "ask the broker")
    if apart >= _CLOCK_APART_MAX_S:
        message = f"{subject}: its clock and this machine's are {apart:.0f} s apart"
        return error("account", message, "synchronise this machine's clock (NTP)")
    return ok("account", f"{subject}: cash {found.cash:,.2f} {found.currency}")


def _abandoned(engine: Engine) -> Iterator[Finding]:
    with transaction(engine) as connection:
        names = replay_copy.abandoned_databases(connection, engine.url.database or "")
    if names:
        mend = "the next replay drops them"
        yield warning("replays", f"databases of killed replays: {', '.join(names)}", mend)
