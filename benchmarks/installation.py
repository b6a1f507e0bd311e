"""A throw-away installation on its own embedded PostgreSQL, with the sample prices."""

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from benchmarks.engines import Cross
from trading_orchestration.cli.strategy_file import read_strategy_file
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.services.bars_import import import_bars
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.settings import Settings
from trading_orchestration.store import embedded_postgres, portfolios
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.installed import open_databases, upgrade_database
from trading_orchestration.wiring import Trading, build_trading, system_clock

LIMITS = RiskLimits(
    max_position_pct=Decimal("0.3"),
    max_positions=5,
    stop_loss_pct=Decimal("0.1"),
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal("0.02"),
)


@contextmanager
def installation() -> Iterator[Trading]:
    """An installation with sample prices and no portfolio, removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(trading_home=Path(folder), database_url=None, dagster_database_url=None)
        with open_databases(settings) as urls:
            upgrade_database(urls)
            # As the owner: what is measured also makes tables of its own.
            engine = create_engine(urls.owner or urls.trading, application_name="benchmarks")
            try:
                trading = build_trading(settings, engine, system_clock)
                samples = resources.files("trading_orchestration") / "sample_data" / "daily_prices.csv.gz"
                with resources.as_file(samples) as path:
                    import_bars(path, begin=trading.begin, calendar=trading.calendar, now=trading.clock())
                yield trading
            finally:
                engine.dispose()
        # It may still be writing what was measured, and its folder could not be removed.
        embedded_postgres.stop(settings.home)


def sessions(trading: Trading, first: date, last: date) -> Sequence[Session]:
    """The exchange's sessions between two dates."""
    return trading.calendar.sessions_between(first, last)


def add_portfolio(trading: Trading, name: str, *, before: Session) -> None:
    """A portfolio of 100,000 with the demo's strategy of that name, funded before a session."""
    at = before.opens_at - timedelta(hours=1)
    portfolio_id = open_portfolio(
        trading.engine, NewPortfolio(name=name, cash=Decimal(100_000), limits=LIMITS), at=at
    )
    definitions = resources.files("trading_orchestration") / "sample_data" / f"{name}.yaml"
    with resources.as_file(definitions) as path, transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, read_strategy_file(path))


def goog_bars(folder: Path, bundled: Path | None = None) -> Path:
    """Daily bars of GOOG as `trading bars import` takes them: those of `bundled`, or the sample prices."""
    path = folder / "goog.csv"
    if bundled is not None:
        _, *lines = bundled.read_text().splitlines()
        lines = [f"GOOG,{line}" for line in lines]
        header = "symbol,timestamp,open,high,low,close,volume"
    else:
        samples = resources.files("trading_orchestration") / "sample_data" / "daily_prices.csv.gz"
        header, *lines = gzip.decompress(samples.read_bytes()).decode().splitlines()
        lines = [line for line in lines if line.startswith("GOOG,")]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def cross_definition(cross: Cross) -> dict[str, Any]:
    """The strategy of an SMA cross on GOOG, as its file would give it."""
    factor = {
        "name": "moving_average_crossover",
        "parameters": {"fast": cross.fast, "slow": cross.slow, "saturation": 0.0},
    }
    return {
        "name": cross.name,
        "universe": ["GOOG"],
        "factors": [factor],
        "trigger": "cross",
        "direction": "long" if cross.shares else "both",
        "buy_threshold": 0.5,
        "sell_threshold": -0.5,
        "sizing": {"shares": cross.shares} if cross.shares else {"percent": 100},
    }


def add_cross(trading: Trading, cross: Cross, *, before: Session) -> None:
    """A portfolio of 10,000 without limits that trades an SMA cross on GOOG, funded before a session."""
    limits = replace(LIMITS, max_position_pct=Decimal(1), stop_loss_pct=None, min_cash_pct=Decimal(0))
    portfolio_id = open_portfolio(
        trading.engine,
        NewPortfolio(name=cross.name, cash=Decimal(10_000), limits=limits),
        at=before.opens_at - timedelta(hours=1),
    )
    with transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, parse_definition(cross_definition(cross)))
