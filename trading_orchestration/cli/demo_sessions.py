"""The sessions of the demo: four weeks of real prices, two portfolios, every job a Dagster run.

The weeks are chosen for what was odd in them: the two days on which a hurricane closed the exchange, a change
from daylight saving time, and the short session after Thanksgiving.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.cli.strategy_file import read_strategy_file
from trading_orchestration.domain.alert import AlertCondition
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.errors import InvalidInputError, SettingsError
from trading_orchestration.services.actions_import import import_actions
from trading_orchestration.services.bars_import import import_bars
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.replay import ReplayClock, replay
from trading_orchestration.settings import Settings
from trading_orchestration.store import alerts, bar_checks, portfolios, snapshots, trades
from trading_orchestration.store.database import create_engine, ensure_database, transaction
from trading_orchestration.store.installed import open_databases, upgrade_database
from trading_orchestration.wiring import Trading, build_trading, system_clock

if TYPE_CHECKING:
    from trading_orchestration.store.database import Connection

FIRST_SESSION, LAST_SESSION = date(2012, 10, 24), date(2012, 11, 23)
PORTFOLIOS = ("growth", "income")
CASH = Decimal(100_000)
#: AAPL fell by half on that day, without a split.
_REAL_FALL = date(2000, 9, 29)
_LIMITS = RiskLimits(
    max_position_pct=Decimal("0.3"),
    max_positions=4,
    stop_loss_pct=Decimal("0.06"),
    take_profit_pct=None,
    max_daily_loss_pct=Decimal("0.05"),
    min_cash_pct=Decimal("0.02"),
)
_ALERTS = (
    ("AAPL", AlertCondition.BELOW, Decimal(560), None, "Apple under 560"),
    ("FB", AlertCondition.ABOVE, Decimal(24), None, "Facebook over 24"),
    ("GOOG", AlertCondition.PERCENT_CHANGE, Decimal("0.05"), Decimal(680), "Google 5 % from 680"),
    ("IBM", AlertCondition.ABOVE, Decimal(250), None, "never reached"),
)
#: The replay's own runs need not survive a power cut: the demo is started again.
_DEMO_STORAGE_OPTIONS = "options=-csynchronous_commit%3Doff"


def run_demo(settings: Settings, *, tell: Callable[[Session, int, int], None]) -> dict[str, Any]:
    """Trade the demo's sessions, or those that are left of them; answers the summary.

    `tell` hears of every session with its number and how many there are. Raises InvalidInputError when this
    home holds portfolios that are not the demo's, SettingsError when a demo is at work in it already.
    """
    import dagster as dg

    started = time.monotonic()
    with _one_at_a_time(settings.home), open_databases(settings) as urls:
        ensure_database(urls.owner or urls.trading)
        ensure_database(urls.dagster)
        upgrade_database(urls)
        environment = dagster_environment(settings, urls)
        os.environ.update(environment)
        os.environ["DAGSTER_POSTGRES_URL"] = _with_options(environment["DAGSTER_POSTGRES_URL"])
        engine = create_engine(urls.trading, application_name="trading demo")
        try:
            trading = build_trading(settings, engine, system_clock)
            sessions = trading.calendar.sessions_between(FIRST_SESSION, LAST_SESSION)
            _prepare(trading, sessions)
            with dg.DagsterInstance.get() as instance:
                _trade(trading, instance, sessions, tell)
            return _summary(trading, sessions) | {"seconds": round(time.monotonic() - started, 1)}
        finally:
            os.environ.update(environment)
            engine.dispose()


def _prepare(trading: Trading, sessions: Sequence[Session]) -> None:
    """Prices, portfolios, strategies and alerts; what is there already stays."""
    with transaction(trading.engine) as connection:
        found = {portfolio.name for portfolio in portfolios.read_portfolios(connection)}
    if strangers := sorted(found - set(PORTFOLIOS)):
        raise InvalidInputError(
            f"{trading.settings.home} holds portfolios that are not the demo's ({', '.join(strangers)}); "
            "set TRADING_HOME to another folder for the demo."
        )
    if found == set(PORTFOLIOS):
        return
    folder = resources.files("trading_orchestration") / "sample_data"
    with resources.as_file(folder) as samples:
        import_bars(
            samples / "daily_prices.csv.gz",
            begin=trading.begin,
            calendar=trading.calendar,
            now=trading.clock(),
        )
        _know_about_bars(trading, samples)
        for name in sorted(set(PORTFOLIOS) - found):
            _open(trading, name, samples / f"{name}.yaml", sessions)
    with transaction(trading.engine) as connection:
        _add_alerts(connection)


def _know_about_bars(trading: Trading, samples: Path) -> None:
    """The splits inside the sample prices, and the one large fall that was none."""
    actions = samples / "corporate_actions.csv"
    import_actions(actions, begin=trading.begin, calendar=trading.calendar, actor="demo")
    with transaction(trading.engine) as connection:
        bar_checks.accept_bar(connection, "AAPL", _REAL_FALL, reason="a warning on profits", actor="demo")


def _open(trading: Trading, name: str, strategy: Path, sessions: Sequence[Session]) -> None:
    definition = read_strategy_file(strategy)
    at = sessions[0].opens_at - timedelta(hours=1)
    portfolio_id = open_portfolio(trading.engine, NewPortfolio(name=name, cash=CASH, limits=_LIMITS), at=at)
    with transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, definition)


def _add_alerts(connection: "Connection") -> None:
    if alerts.list_alerts(connection):
        return
    for symbol, condition, threshold, reference, note in _ALERTS:
        alerts.add_alert(
            connection,
            symbol=symbol,
            condition=condition,
            threshold=threshold,
            reference_price=reference,
            note=note,
        )


def _trade(
    trading: Trading, instance: Any, sessions: Sequence[Session], tell: Callable[[Session, int, int], None]
) -> None:
    from trading_orchestration.definitions import defs
    from trading_orchestration.orchestration.replay_runs import DagsterReplay
    from trading_orchestration.orchestration.sensors import record_runs

    clock = ReplayClock(sessions[0].opens_at)
    runs = DagsterReplay(defs, instance, trading.monitoring)
    runs.fail_interrupted()
    done = replay(
        sessions,
        begin=trading.begin,
        clock=clock,
        give_prices=trading.at(clock).give_prices,
        run_job=runs.run_job,
    )
    for number, session in enumerate(done, start=1):
        tell(session, number, len(sessions))
    record_runs(instance, trading, None)


def _summary(trading: Trading, sessions: Sequence[Session]) -> dict[str, Any]:
    with transaction(trading.engine) as connection:
        last = sessions[-1].date
        rows = [dict(row) for row in snapshots.list_snapshots(connection) if row["session"] == last]
        traded = [dict(row) for row in trades.list_trades(connection)]
        fired = [dict(row) for row in alerts.list_alerts(connection) if row["status"] == "triggered"]
    for row in rows:
        row["trades"] = sum(trade["portfolio"] == row["portfolio"] for trade in traded)
    return {
        "first_session": sessions[0].date,
        "last_session": last,
        "sessions": len(sessions),
        "portfolios": rows,
        "trades": traded,
        "alerts": fired,
        "jobs": trading.monitoring.get_job_stats(),
    }


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "demo.lock").open("w")
    except OSError as error:
        raise SettingsError(
            f"{home} cannot be written to ({error.strerror}); set TRADING_HOME to a folder of yours."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"A demo is at work in {home} already; wait for it or end it.") from None
        yield


def _with_options(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{_DEMO_STORAGE_OPTIONS}"
