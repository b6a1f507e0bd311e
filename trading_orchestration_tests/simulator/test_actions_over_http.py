"""Corporate actions from both vendors over HTTP, and into the books: one told by both is one."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import fmp_data
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import (
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
)
from trading_orchestration.market_data.alpaca_actions import AlpacaCorporateActions
from trading_orchestration.market_data.fmp_actions import FMPCorporateActions
from trading_orchestration.market_data.source import CorporateActionSource
from trading_orchestration.services.actions_fetch import FetchedActions, fetch_actions
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.faults import Fault, FaultKind
from trading_orchestration.simulator.market import Market
from trading_orchestration.simulator.server import Simulator, running
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.services.action_world import NEXT, ActionWorld
from trading_orchestration_tests.services.trading_world import AAPL

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # alpaca-py still uses websockets.legacy
    from alpaca.data.historical.corporate_actions import CorporateActionsClient
    from alpaca.data.requests import CorporateActionsRequest

FIRST, LAST = date(2024, 7, 1), date(2024, 7, 29)
QUICK = Timeouts(connect_s=2.0, answer_s=2.0, read_s=0.1)
SPLIT = NewAction(kind=ActionKind.SPLIT, symbol=AAPL, on=NEXT, ratio=(Decimal(7), Decimal(1)))
DIVIDEND = NewAction(
    kind=ActionKind.DIVIDEND,
    symbol=AAPL,
    on=date(2024, 7, 5),
    pays_on=date(2024, 7, 8),
    cash_per_unit=Decimal("0.47"),
)
#: What both vendors tell in full, of symbols that are written differently.
OTHERS = [
    NewAction(kind=ActionKind.SPLIT, symbol="BRK.B", on=NEXT, ratio=(Decimal(1), Decimal(10))),
    NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="FB", on=NEXT, new_symbol="META.A"),
]
PAID = date(2024, 7, 9)
EVERYTHING = [
    SPLIT,
    NewAction(kind=ActionKind.SPLIT, symbol="XYZ", on=NEXT, ratio=(Decimal(1), Decimal(10))),
    NewAction(
        kind=ActionKind.DIVIDEND,
        symbol="BRK.B",
        on=NEXT,
        pays_on=PAID,
        cash_per_unit=Decimal("0.25"),
        is_special=True,
    ),
    NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="FB", on=NEXT, new_symbol="META"),
    NewAction(kind=ActionKind.DELISTING, symbol="TWTR", on=NEXT, cash_per_unit=Decimal("54.2")),
    NewAction(kind=ActionKind.DELISTING, symbol="ZZZ", on=NEXT, cash_per_unit=Decimal(0)),
]


@pytest.fixture
def world(engine: sa.Engine) -> ActionWorld:
    return ActionWorld(engine)


@pytest.fixture
def simulator(world: ActionWorld) -> Iterator[Simulator]:
    """Vendors that tell of what is `announced`."""
    clock = SimulatorClock(world.now, speed=0)
    with running(Market(world.engine, world.account_number, world.calendar, clock)) as simulator:
        yield simulator


@contextmanager
def opened(simulator: Simulator, name: str) -> Iterator[CorporateActionSource]:
    keys, now = simulator.keys, simulator.market.clock
    source: AlpacaCorporateActions | FMPCorporateActions
    if name == "fmp":
        source = FMPCorporateActions(
            api_key=SecretStr(keys.fmp_key),
            limiter=Unlimited(),
            now=now,
            base_url=simulator.url,
            timeouts=QUICK,
        )
    else:
        source = AlpacaCorporateActions(
            keys=AlpacaKeys(SecretStr(keys.key_id), SecretStr(keys.secret_key)),
            limiter=Unlimited(),
            now=now,
            base_url=simulator.url,
            timeouts=QUICK,
        )
    yield source
    source.close()


@pytest.fixture(params=["alpaca", "fmp"])
def source(simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[CorporateActionSource]:
    with opened(simulator, request.param) as source:
        yield source


def fetch(world: ActionWorld, source: CorporateActionSource) -> FetchedActions:
    return fetch_actions(source, FIRST, LAST, begin=world.begin, calendar=world.calendar)


def test_both_vendors_tell_the_same_through_all_their_pages(
    simulator: Simulator, source: CorporateActionSource
) -> None:
    """1,455 dividends of 97 symbols make two pages of Alpaca's, and cut FMP's calendar off."""
    paying = [
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol=f"S{number}",
            on=date(2024, 7, 8) + timedelta(days=day),
            pays_on=date(2024, 7, 30),
            cash_per_unit=Decimal(1),
        )
        for number in range(97)
        for day in range(15)
    ]
    simulator.fmp_plan.dividends_per_page = 1_000
    simulator.market.announced += [*paying, SPLIT, DIVIDEND, *OTHERS]
    symbols = [AAPL, "BRK.B", "FB", *(f"S{number}" for number in range(97))]
    before = simulator.faults.requests
    found = source.get_actions(symbols, FIRST, LAST)
    assert len(found.actions) == 97 * 15 + 4
    assert set(found.actions) == {*paying, SPLIT, DIVIDEND, *OTHERS}
    assert simulator.faults.requests - before == {"alpaca": 2, "fmp": 5}[source.name]
    # FMP's list of new symbols begins where the only one of this market is.
    assert [told for told in found.untold if "New symbols" not in told] == []


@pytest.mark.parametrize("names", [("alpaca", "fmp"), ("fmp", "alpaca")])
def test_what_one_vendor_told_is_known_when_the_other_tells_it(
    world: ActionWorld, simulator: Simulator, names: tuple[str, str]
) -> None:
    world.hold(100, "645.57")
    cash = world.cash()
    simulator.market.announced += [SPLIT, DIVIDEND]
    with opened(simulator, names[0]) as first, opened(simulator, names[1]) as second:
        assert [one.is_new for one in fetch(world, first).entered] == [True, True]
        again = fetch(world, second)
        assert ([one.is_new for one in again.entered], again.left_out) == ([False, False], [])
        world.next_open()
        worth = world.worth("645.57")
        world.apply()
        assert world.positions() == [(AAPL, 700, Decimal("92.224285714"))]
        assert abs(world.worth(Decimal("645.57") / 7) - worth) < Decimal("1e-6"), "a split changes no value"
        world.now = world.calendar.session(date(2024, 7, 8)).opens_at
        world.apply()
        assert world.cash() == cash + 329, "700 units at 0.47"
        fetch(world, second)
        world.apply()
        assert (len(world.entries()), world.cash()) == (2, cash + 329)
    world.assert_books_agree()


def test_a_vendor_that_fails_changes_nothing(
    world: ActionWorld, simulator: Simulator, source: CorporateActionSource
) -> None:
    world.hold(1)
    simulator.market.announced += [SPLIT, DIVIDEND]
    before = world.state()
    for fault in (
        Fault(FaultKind.STATUS_BEFORE, status=429, times=None),
        Fault(FaultKind.STATUS_BEFORE, status=503, times=None),
        Fault(FaultKind.MALFORMED, times=None),
        Fault(FaultKind.CUT_BODY, times=None),
        Fault(FaultKind.HTML, status=200, times=None),
        Fault(FaultKind.RESET_BEFORE, times=None),
    ):
        simulator.faults.clear()
        simulator.faults.add(fault)
        with pytest.raises(MarketDataUnavailableError):
            fetch(world, source)
    simulator.faults.clear()
    simulator.fmp_plan.key = "another"
    simulator.keys = type(simulator.keys)(key_id="PKANOTHER")
    with pytest.raises(MarketDataNotAuthorizedError):
        fetch(world, source)
    assert world.state() == before
    assert world.rows("SELECT id FROM corporate_actions") == []


def test_alpaca_py_reads_corporate_actions(simulator: Simulator) -> None:
    """`Any`, because its own types say that every answer may be a bare dict."""
    simulator.market.announced += EVERYTHING
    keys = simulator.keys
    client: Any = CorporateActionsClient(keys.key_id, keys.secret_key, url_override=simulator.url)
    asked = CorporateActionsRequest(start=date(2024, 7, 1), end=PAID)
    read = client.get_corporate_actions(asked).data
    client._session.close()
    assert {kind for kind, rows in read.items() if len(rows) == 1} == read.keys()
    assert len(read) == 6
    forward, reverse = read["forward_splits"][0], read["reverse_splits"][0]
    assert (forward.symbol, forward.new_rate, forward.old_rate, forward.ex_date) == ("AAPL", 7, 1, NEXT)
    assert (reverse.symbol, reverse.new_rate, reverse.old_rate) == ("XYZ", 1, 10)
    paid = read["cash_dividends"][0]
    assert (paid.symbol, paid.rate, paid.special, paid.ex_date, paid.payable_date, paid.process_date) == (
        "BRK.B",
        0.25,
        True,
        NEXT,
        PAID,
        PAID,
    )
    assert (read["name_changes"][0].old_symbol, read["name_changes"][0].new_symbol) == ("FB", "META")
    assert (read["cash_mergers"][0].acquiree_symbol, read["cash_mergers"][0].rate) == ("TWTR", 54.2)
    assert read["worthless_removals"][0].symbol == "ZZZ"


def test_fmp_data_reads_corporate_actions(simulator: Simulator) -> None:
    fmp = fmp_data.FMPDataClient(api_key=simulator.keys.fmp_key, base_url=simulator.url, max_retries=0)
    simulator.market.announced += EVERYTHING
    since = date(2024, 7, 1)
    simulator.market.announced.append(
        NewAction(
            kind=ActionKind.DIVIDEND, symbol=AAPL, on=NEXT - timedelta(days=1), cash_per_unit=Decimal(7)
        )
    )
    simulator.market.advance(datetime(2024, 7, 5, 14, tzinfo=UTC))
    (declared,) = fmp.company.get_dividends(AAPL)
    assert (declared.dividend, declared.adj_dividend, declared.payment_date) == (7, 1, None)
    (split,) = fmp.company.get_stock_splits("AAPL")
    assert (split.split_event_date, split.numerator, split.denominator) == (NEXT, 7, 1)
    assert split.split_type == "stock-split"
    calendar = fmp.intelligence.get_stock_splits_calendar(since, PAID)
    assert {(one.symbol, one.numerator, one.denominator) for one in calendar} == {
        ("AAPL", 7, 1),
        ("XYZ", 1, 10),
    }
    assert fmp.intelligence.get_stock_splits_calendar(NEXT, NEXT + timedelta(days=90)) == []
    for paid in (*fmp.company.get_dividends("BRK-B"), *fmp.intelligence.get_dividends_calendar(NEXT, PAID)):
        assert (paid.symbol, paid.ex_dividend_date, paid.payment_date) == ("BRK-B", NEXT, PAID)
        assert (paid.dividend, paid.adj_dividend, paid.frequency) == (0.25, 0.25, "Special")
        assert paid.declaration_date is None
    (change,) = fmp.company.get_symbol_changes(limit=10_000)
    assert (change.old_symbol, change.new_symbol, change.change_date) == ("FB", "META", NEXT)
    delisted = fmp.company.get_delisted_companies(page=0)
    assert {(one.symbol, one.delisted_date) for one in delisted} == {("TWTR", NEXT), ("ZZZ", NEXT)}
    assert fmp.company.get_delisted_companies(page=1) == []
    fmp.close()
