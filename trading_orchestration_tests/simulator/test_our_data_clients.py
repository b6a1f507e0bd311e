"""Our own market data clients, with the simulator and its stored bars at the other end."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.domain.price import Timeframe
from trading_orchestration.errors import MarketDataNotAuthorizedError, MarketDataUnavailableError
from trading_orchestration.market_data.alpaca import AlpacaMarketData
from trading_orchestration.market_data.fmp import FMPClient
from trading_orchestration.market_data.source import MarketDataSource
from trading_orchestration.market_data.stored import StoredSource
from trading_orchestration.simulator.faults import Fault, FaultKind
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.brokers.paper_world import new_york
from trading_orchestration_tests.contracts.broker_world import CLOSE, START
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world
from trading_orchestration_tests.simulator.stored_bars import market_with_bars

QUICK = Timeouts(connect_s=2.0, answer_s=0.5, read_s=0.1)
BEGIN = datetime(2024, 6, 24, tzinfo=UTC)


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with market_with_bars(server_url, template) as engine:
        yield engine


@pytest.fixture
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    with simulated_world(market) as world:
        yield world


@pytest.fixture
def alpaca(world: SimulatedWorld) -> Iterator[AlpacaMarketData]:
    keys = world.simulator.keys
    source = AlpacaMarketData(
        keys=AlpacaKeys(SecretStr(keys.key_id), SecretStr(keys.secret_key)),
        calendar=new_york(),
        limiter=Unlimited(),
        now=world.market.clock,
        base_url=world.simulator.url,
        timeouts=QUICK,
    )
    yield source
    source.close()


@pytest.fixture
def fmp(world: SimulatedWorld) -> Iterator[FMPClient]:
    client = FMPClient(
        api_key=SecretStr(world.simulator.keys.fmp_key),
        calendar=new_york(),
        limiter=Unlimited(),
        now=world.market.clock,
        base_url=world.simulator.url,
        timeouts=QUICK,
    )
    yield client
    client.close()


@pytest.fixture(params=["alpaca", "fmp"])
def source(request: pytest.FixtureRequest) -> MarketDataSource:
    found: MarketDataSource = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("at", [START, CLOSE + timedelta(minutes=1)])
def test_bars_over_the_wire_are_the_stored_ones(
    source: MarketDataSource, world: SimulatedWorld, market: sa.Engine, at: datetime
) -> None:
    """To the last digit and to the same instants; a session that has not closed shows in neither."""
    world.advance(at)
    stored = StoredSource(market, world.market.clock)
    for symbols in (["AAPL"], ["MSFT", "AAPL"]):
        ours = source.get_bars(symbols, Timeframe.DAY, start=BEGIN, end=at)
        theirs = stored.get_bars(symbols, Timeframe.DAY, start=BEGIN, end=at)
        assert [vars_of(bar) for bar in ours] == [vars_of(bar) for bar in theirs]
        assert ours


def vars_of(bar: object) -> dict[str, object]:
    """What a bar says, but for who says it."""
    return {name: getattr(bar, name) for name in bar.__slots__ if name != "source"}  # type: ignore[attr-defined]


def test_quotes_over_the_wire_are_the_stored_ones(
    source: MarketDataSource, world: SimulatedWorld, market: sa.Engine
) -> None:
    stored = StoredSource(market, world.market.clock).get_batch_quotes(["AAPL", "MSFT"])
    batch = source.get_batch_quotes(["AAPL", "MSFT"])
    assert not batch.failures
    for symbol, quote in batch.quotes.items():
        theirs = stored.quotes[symbol]
        assert (quote.price, quote.quoted_at, quote.previous_close) == (
            theirs.price,
            theirs.quoted_at,
            theirs.previous_close,
        )


def test_a_symbol_that_does_not_exist_costs_only_itself(source: MarketDataSource) -> None:
    batch = source.get_batch_quotes(["AAPL", "NOSUCH", "MSFT"])
    assert (set(batch.quotes), set(batch.failures)) == ({"AAPL", "MSFT"}, {"NOSUCH"})


def test_a_price_given_by_hand_is_the_newest(source: MarketDataSource, world: SimulatedWorld) -> None:
    world.set_price("AAPL", Decimal("199.87"))
    assert source.get_batch_quotes(["AAPL"]).quotes["AAPL"].price == Decimal("199.87")


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.RESET_BEFORE,
        FaultKind.STATUS_BEFORE,
        FaultKind.CUT_BODY,
        FaultKind.MALFORMED,
        FaultKind.HTML,
    ],
)
def test_a_lasting_fault_makes_the_source_unavailable(
    source: MarketDataSource, world: SimulatedWorld, kind: FaultKind
) -> None:
    world.simulator.faults.add(Fault(kind, times=None))
    with pytest.raises(MarketDataUnavailableError):
        source.get_batch_quotes(["AAPL"])


def test_where_the_plan_has_no_batch_each_symbol_is_asked_for(fmp: FMPClient, world: SimulatedWorld) -> None:
    world.simulator.fmp_plan.has_batch = False
    assert set(fmp.get_batch_quotes(["AAPL", "MSFT", "NOSUCH"]).quotes) == {"AAPL", "MSFT"}
    world.simulator.fmp_plan.requests_left = 1
    batch = fmp.get_batch_quotes(["AAPL", "MSFT"])
    assert (set(batch.quotes), set(batch.failures)) == ({"AAPL"}, {"MSFT"})


def test_wrong_keys_are_not_authorized(world: SimulatedWorld, source: MarketDataSource) -> None:
    world.simulator.fmp_plan.key = "another"
    world.simulator.keys = type(world.simulator.keys)(key_id="PKANOTHER")
    with pytest.raises(MarketDataNotAuthorizedError):
        source.get_batch_quotes(["AAPL"])


def test_history_begins_and_ends_where_it_is_asked_to(source: MarketDataSource) -> None:
    sessions = new_york().sessions_between(date(2024, 6, 25), date(2024, 6, 27))
    bars = source.get_bars(["AAPL"], Timeframe.DAY, start=sessions[0].opens_at, end=sessions[2].opens_at)
    assert [bar.session.day for bar in bars] == [25, 26]
