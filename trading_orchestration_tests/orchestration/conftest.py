"""One real Dagster instance on PostgreSQL for all tests of this folder, and installations for it to run."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.cli.strategy_file import read_strategy_file
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.orchestration import sensors
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.services.actions_import import import_actions
from trading_orchestration.services.bars_import import import_bars
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.replay import ReplayClock, replay
from trading_orchestration.services.tick import Tick
from trading_orchestration.settings import Settings
from trading_orchestration.store import portfolios
from trading_orchestration.store.bar_checks import accept_bar
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.installed import DatabaseUrls
from trading_orchestration.wiring import Trading, build_trading, system_clock
from trading_orchestration_tests.conftest import NewDatabase
from trading_orchestration_tests.fixtures.market_calendars import new_york

TODAY = system_clock().date()
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.3"),
    max_positions=4,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal("0.02"),
)


#: One worker runs them all, so that one instance is made; Dagster reads its models in pydantic's old way.
ON_DAGSTER = [
    pytest.mark.xdist_group("dagster"),
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `TRADING_HOME` with the calendar made."""
    folder = tmp_path_factory.mktemp("home")
    load_calendar("XNYS", today=TODAY, cache_directory=folder / "calendars")
    return folder


@pytest.fixture(scope="session")
def calendar(home: Path) -> MarketCalendar:
    return load_calendar("XNYS", today=TODAY, cache_directory=home / "calendars")


@pytest.fixture(scope="session")
def dagster_url(new_database: NewDatabase) -> Iterator[str]:
    with new_database("template0") as url:
        yield url


@pytest.fixture(scope="session")
def instance(home: Path, dagster_url: str) -> Iterator[dg.DagsterInstance]:
    """The instance that the packaged `dagster.yaml` describes."""
    environment = dagster_environment(Settings(trading_home=home), DatabaseUrls(dagster_url, dagster_url))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_ref(InstanceRef.from_dir(environment["DAGSTER_HOME"])) as opened:
            yield opened


def in_dagster(dagster_url: str, statement: str, **given: Any) -> sa.CursorResult[Any]:
    """One statement in Dagster's own database."""
    engine = sa.create_engine(dagster_url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            return connection.execute(sa.text(statement), given)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def definitions(home: Path) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADING_HOME", str(home))
        from trading_orchestration.definitions import build_definitions

        return build_definitions()


@dataclass
class Installation:
    """An installation whose clock is set by hand, and the Dagster instance that runs its jobs."""

    engine: sa.Engine
    settings: Settings
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    at: datetime
    cursor: str = field(default_factory=lambda: system_clock().isoformat())

    def record_runs(self) -> None:
        """What the sensor does every five seconds, for the runs of this test only."""
        self.cursor = sensors.record_runs(self.instance, self.open(), self.cursor)

    def open(self) -> Trading:
        # Built on the clock of today, for which the calendar is made already.
        trading = build_trading(self.settings, self.engine, system_clock).at(lambda: self.at)
        return replace(trading, feeds_paper_market=True)

    def run(self, job_type: JobType, **given: Any) -> dg.ExecuteInProcessResult:
        """Run a job in this process; a failure is a result."""
        job = self.definitions.resolve_job_def(job_type.value)
        return job.execute_in_process(instance=self.instance, raise_on_error=False, **given)

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        return self.ask(f"SELECT * FROM job_executions WHERE run_id = '{run_id}' ORDER BY id")

    def row(self, run_id: str) -> dict[str, Any]:
        (row,) = self.rows(run_id)
        return row

    def tags(self, run_id: str) -> dict[str, str]:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return dict(run.tags)

    def materialisations(self, run_id: str) -> list[dg.AssetMaterialization]:
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        return [found for entry in entries if (found := entry.asset_materialization) is not None]

    def ask(self, statement: str) -> list[dict[str, Any]]:
        with transaction(self.engine) as connection:
            return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]

    def change(self, statement: str) -> None:
        with transaction(self.engine) as connection:
            connection.execute(sa.text(statement))


@pytest.fixture
def installation(
    engine: sa.Engine,
    home: Path,
    instance: dg.DagsterInstance,
    definitions: dg.Definitions,
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    """An empty installation on a Wednesday at 10:00, which every asset, op, schedule and sensor opens."""
    opened = Installation(
        engine, Settings(trading_home=home), instance, definitions, new_york("2024-07-10 10:00")
    )
    monkeypatch.setattr(TradingResource, "open", lambda _self: opened.open())
    monkeypatch.setattr(sensors, "_OVERLAP", timedelta(0))
    return opened


@pytest.fixture(scope="session")
def traded_url(new_database: NewDatabase, template: str, home: Path) -> Iterator[str]:
    """A database in which the demo's portfolio `growth` traded real prices for two weeks of 2012."""
    with new_database(template) as url:
        engine = create_engine(url, application_name="tests")
        trade_two_weeks(build_trading(Settings(trading_home=home), engine, system_clock))
        engine.dispose()
        yield url


def trade_two_weeks(trading: Trading) -> None:
    samples = resources.files("trading_orchestration") / "sample_data"
    wanted = trading.calendar.sessions_between(date(2012, 10, 24), date(2012, 11, 8))
    with resources.as_file(samples) as folder:
        import_bars(
            folder / "daily_prices.csv.gz",
            begin=trading.begin,
            calendar=trading.calendar,
            now=trading.clock(),
        )
        actions = folder / "corporate_actions.csv"
        import_actions(actions, begin=trading.begin, calendar=trading.calendar, actor="test")
        with transaction(trading.engine) as connection:
            accept_bar(connection, "AAPL", date(2000, 9, 29), reason="it did fall", actor="test")
        at = wanted[0].opens_at - timedelta(hours=1)
        growth = open_portfolio(
            trading.engine, NewPortfolio(name="growth", cash=Decimal(100_000), limits=LIMITS), at=at
        )
        with transaction(trading.engine) as connection:
            portfolios.add_strategy(connection, growth, read_strategy_file(folder / "growth.yaml"))
    clock = ReplayClock(at)
    past = trading.at(clock)

    def run_job(job_type: JobType, at: datetime, session: Session) -> None:
        tick = Tick(at, session, f"{job_type} {at.isoformat()}")
        past.run_job(job_type, tick, past.begin).raise_if_failed()

    for _ in replay(wanted, begin=past.begin, clock=clock, give_prices=past.give_prices, run_job=run_job):
        pass


@pytest.fixture
def traded(
    traded_url: str, new_database: NewDatabase, installation: Installation, calendar: MarketCalendar
) -> Iterator[Installation]:
    """The installation on a copy of those books, after the close of the last session, 2012-11-08."""
    with new_database(sa.make_url(traded_url).database or "") as url:
        installation.engine = create_engine(url, application_name="tests")
        installation.at = calendar.session(date(2012, 11, 8)).closes_at + timedelta(hours=1)
        yield installation
        installation.engine.dispose()
