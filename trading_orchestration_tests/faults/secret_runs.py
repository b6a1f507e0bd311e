"""Every job as a Dagster run, against vendors that answer well, badly, or not at all and repeat every header.

Run as a module in an environment that holds the canaries. It prints a line for each run: against what, which
job, and how it ended.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

import dagster as dg
import httpx
from dagster._core.instance.ref import InstanceRef

from trading_orchestration.brokers.paper_account import open_account
from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.definitions import build_definitions
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.price import Quote
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.settings import read_settings
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.market import Market
from trading_orchestration.simulator.server import SimulatorKeys, running
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.store.installed import open_databases
from trading_orchestration.wiring import Trading, build_trading, open_calendar
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor
from trading_orchestration_tests.services.trading_world import daily_bar

START = datetime(2024, 7, 10, 14, 0, tzinfo=UTC)
ACCOUNT = "PACANARY"
SYMBOLS = ("AAPL", "MSFT")
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.5"),
    max_positions=10,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal(0),
)
STRATEGY = {
    "name": "trend",
    "universe": list(SYMBOLS),
    "factors": [{"name": "momentum", "parameters": {"lookback": 1, "saturation": 0.0}}],
    "buy_threshold": 0.5,
    "sell_threshold": -0.5,
    "sizing": {"shares": 1},
}


def open_books(engine: Engine) -> None:
    """A portfolio at Alpaca whose strategy buys at once."""
    days = [START - timedelta(days=back, minutes=30) for back in (2, 1)]
    with transaction(engine) as connection:
        bars = [daily_bar(s, at, Decimal(90 + 10 * n)) for s in SYMBOLS for n, at in enumerate(days)]
        prices.save_bars(connection, bars)
        quotes = [Quote(symbol=s, price=Decimal(100), quoted_at=START, source="test") for s in SYMBOLS]
        prices.save_quotes(connection, quotes, received_at=START)
    new = NewPortfolio(
        name="main", cash=Decimal(100_000), limits=LIMITS, broker="alpaca", account_number=ACCOUNT
    )
    portfolio_id = open_portfolio(engine, new, at=START - timedelta(days=3))
    with transaction(engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, parse_definition(STRATEGY))
        (account,) = portfolios.read_accounts(connection)
        portfolios.set_reconciled(connection, account.id, START)


def said(asked: Asked) -> str:
    """Every secret that a client sent, as a careless vendor would repeat it; first, for answers are cut."""
    keys = [asked.headers.get(name, "") for name in ("apca-api-secret-key", "apca-api-key-id", "apikey")]
    return f"{' '.join(keys)} on {asked.method} {asked.path}"


def faults(account: object) -> dict[str, Callable[[Asked], Reply]]:
    """How a vendor goes wrong; one of them lets everything through but orders."""

    def refused(asked: Asked) -> Reply:
        if asked.path == "/v2/account":
            return Reply(json=account)
        return Reply(status=422, json={"code": 42210000, "message": said(asked)})

    return {
        "401": lambda asked: Reply(status=401, json={"code": 40110000, "message": said(asked)}),
        "html": lambda asked: Reply(text=f"<html>{said(asked)}</html>", content_type="text/html"),
        "unreadable": lambda asked: Reply(text=f'{{"message": "{said(asked)}"'),
        "refused": refused,
    }


def closed_port() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"http://127.0.0.1:{found.getsockname()[1]}"


@dataclass
class Runs:
    """Runs jobs in this process on one instance."""

    engine: Engine
    clock: SimulatorClock
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    def all(self, name: str, url: str) -> None:
        """Every job with prices from Alpaca, and the price update with prices from FMP."""
        for variable in ("APCA_API_BASE_URL", "APCA_API_DATA_URL", "FMP_BASE_URL"):
            os.environ[variable] = url
        for source in ("alpaca", "fmp"):
            os.environ["TRADING_PRICE_SOURCE"] = source
            trading = build_trading(read_settings(), self.engine, self.clock)
            TradingResource.open = partial(_same, trading)  # type: ignore[method-assign]
            for job_type in JobType if source == "alpaca" else [JobType.PRICE_UPDATE]:
                self.clock.step(timedelta(minutes=1))
                job = self.definitions.resolve_job_def(job_type.value)
                session = trading.calendar.previous(START.date()).date.isoformat()
                key = session if job_type is JobType.PORTFOLIO_SNAPSHOT else None
                done = job.execute_in_process(instance=self.instance, raise_on_error=False, partition_key=key)
                ended = "succeeded" if done.success else "failed"
                sys.stdout.write(f"{name} {source} {job_type} {ended}\n")


def _same(trading: Trading) -> Trading:
    return trading


def main() -> None:
    """Run it all."""
    clock, settings = SimulatorClock(START, speed=0), read_settings()
    with ExitStack() as stack:
        urls = stack.enter_context(open_databases(settings))
        os.environ.update(dagster_environment(settings, urls))
        engine = create_engine(urls.trading, application_name="canary")
        open_books(engine)
        open_account(engine, ACCOUNT, Decimal(100_000))
        reference = InstanceRef.from_dir(os.environ["DAGSTER_HOME"])
        instance = stack.enter_context(dg.DagsterInstance.from_ref(reference))
        runs = Runs(engine, clock, instance, build_definitions())
        market = Market(engine, ACCOUNT, open_calendar(settings, clock), clock)
        keys = SimulatorKeys(*(os.environ[name] for name in _KEYS))
        simulator = stack.enter_context(running(market, keys=keys))
        vendor = stack.enter_context(loopback_vendor())
        shown = {"APCA-API-KEY-ID": keys.key_id, "APCA-API-SECRET-KEY": keys.secret_key}
        account = httpx.get(f"{simulator.url}/v2/account", headers=shown).json()
        for name, url in _ways(vendor, account):
            runs.all(name, url)
        market.set_prices({symbol: Decimal(100) for symbol in SYMBOLS})
        runs.all("well", simulator.url)
        engine.dispose()


_KEYS = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "FMP_API_KEY")


def _ways(vendor: LoopbackVendor, account: object) -> Iterator[tuple[str, str]]:
    for name, answer in faults(account).items():
        vendor.answer = answer
        yield name, vendor.url
    yield "closed", closed_port()


if __name__ == "__main__":
    main()
