"""Broker and sources opened by their names and the installation's settings, as the wiring does it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers import BrokerSurroundings, open_broker
from trading_orchestration.errors import SettingsError
from trading_orchestration.market_data import SourceSurroundings, open_source
from trading_orchestration.settings import Settings
from trading_orchestration_tests.brokers.paper_world import new_york
from trading_orchestration_tests.contracts.broker_world import CASH
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world
from trading_orchestration_tests.simulator.stored_bars import market_with_bars


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with market_with_bars(server_url, template) as engine:
        yield engine


@pytest.fixture
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    with simulated_world(market) as world:
        yield world


def settings_of(world: SimulatedWorld, home: Path, **changes: object) -> Settings:
    keys, url = world.simulator.keys, world.simulator.url
    given: dict[str, object] = {
        "trading_home": home,
        "apca_api_key_id": keys.key_id,
        "apca_api_secret_key": keys.secret_key,
        "apca_api_base_url": url,
        "apca_api_data_url": url,
        "fmp_api_key": keys.fmp_key,
        "fmp_base_url": url,
    }
    return Settings.model_validate(given | changes)


def broker_surroundings(
    world: SimulatedWorld, engine: sa.Engine, settings: Settings, *, is_live: bool = False
) -> BrokerSurroundings:
    return BrokerSurroundings(
        account_number=world.market.account_number,
        is_live=is_live,
        engine=engine,
        calendar=new_york(),
        clock=world.market.clock,
        settings=settings,
    )


def source_surroundings(world: SimulatedWorld, engine: sa.Engine, settings: Settings) -> SourceSurroundings:
    return SourceSurroundings(engine=engine, calendar=new_york(), clock=world.market.clock, settings=settings)


def test_alpaca_opens_and_counts_its_requests_in_the_home(
    world: SimulatedWorld, market: sa.Engine, tmp_path: Path
) -> None:
    broker = open_broker("alpaca", broker_surroundings(world, market, settings_of(world, tmp_path)))
    assert broker.get_account().cash == CASH
    (counter,) = (tmp_path / "rate-limits").iterdir()
    assert counter.name.startswith("alpaca-trading-")
    assert world.simulator.keys.key_id not in counter.name


@pytest.mark.parametrize("name", ["alpaca", "fmp"])
def test_sources_open_by_name(world: SimulatedWorld, market: sa.Engine, tmp_path: Path, name: str) -> None:
    source = open_source(name, source_surroundings(world, market, settings_of(world, tmp_path)))
    assert source.name == name
    assert set(source.get_batch_quotes(["AAPL", "MSFT"]).quotes) == {"AAPL", "MSFT"}


def test_missing_keys_name_their_variables(world: SimulatedWorld, market: sa.Engine, tmp_path: Path) -> None:
    settings = settings_of(world, tmp_path, apca_api_secret_key=None, fmp_api_key=None)
    with pytest.raises(SettingsError, match="APCA_API_KEY_ID and APCA_API_SECRET_KEY"):
        open_broker("alpaca", broker_surroundings(world, market, settings))
    with pytest.raises(SettingsError, match="FMP_API_KEY"):
        open_source("fmp", source_surroundings(world, market, settings))


def test_real_money_is_never_sent_to_the_simulator(
    world: SimulatedWorld, market: sa.Engine, tmp_path: Path
) -> None:
    settings = settings_of(world, tmp_path, apca_api_key_id="AK0123456789")
    with pytest.raises(SettingsError, match="live money"):
        open_broker("alpaca", broker_surroundings(world, market, settings, is_live=True))
