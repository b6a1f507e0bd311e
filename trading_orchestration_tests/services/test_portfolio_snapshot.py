"""A snapshot is the ledger at the close, whenever it is taken; returns know of money that came and went."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.price import Timeframe
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.services.snapshot_returns import PortfolioFlows, Value, returns
from trading_orchestration.store import ledger, prices
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
from trading_orchestration_tests.services.snapshot_world import (
    FRIDAY,
    MONDAY,
    SESSIONS,
    TUESDAY,
    WEDNESDAY,
    OneSource,
    close,
    move,
    snapshot,
    taken,
)
from trading_orchestration_tests.services.trading_world import AAPL, CASH, MSFT, TradingWorld, daily_bar


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """`main` buys 10 AAPL at 200 on Tuesday; it was opened on that day."""
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.intend()
    world.check()
    return world


def test_the_total_is_cash_and_quantity_times_close(world: TradingWorld):
    close(world, TUESDAY, AAPL, 210)
    assert snapshot(world, TUESDAY).counts == {"portfolios": 1, "snapshots": 1}
    row = taken(world)[TUESDAY.date]
    assert (row["cash"], row["positions_value"], row["total_value"]) == (CASH - 2000, 2100, CASH + 100)
    assert row["valued_at"] == TUESDAY.closes_at
    (line,) = world.rows(
        "SELECT symbol, quantity, average_cost, close, value FROM portfolio_snapshot_positions"
    )
    assert tuple(line.values()) == (AAPL, 10, 200, 210, 2100)  # type: ignore[comparison-overlap]
    world.assert_books_are_right()


def test_a_portfolio_that_was_opened_in_the_session_has_a_return_on_what_was_put_in(world: TradingWorld):
    close(world, TUESDAY, AAPL, 210)
    snapshot(world, TUESDAY)
    row = taken(world)[TUESDAY.date]
    assert (row["daily_return"], row["total_return"]) == (Decimal("0.001"), Decimal("0.001"))
    assert row["net_deposits"] == CASH


def test_it_is_the_same_however_often_and_whenever_it_is_taken(world: TradingWorld):
    """Also when fills, quotes and caches of later days are there already."""
    close(world, TUESDAY, AAPL, 210)
    snapshot(world, TUESDAY)
    before = dict(taken(world)[TUESDAY.date])
    world.now = WEDNESDAY.opens_at + timedelta(hours=1)
    world.set_price(AAPL, "300")
    world.intend(Side.SELL)
    world.check()
    world.rows("UPDATE cash_balances SET amount = 1 RETURNING 1")
    snapshot(world, TUESDAY)
    after = dict(taken(world)[TUESDAY.date])
    assert {**after, "updated_at": 0} == {**before, "updated_at": 0}
    assert len(world.rows("SELECT 1 FROM portfolio_snapshot_positions")) == 1


def test_a_fill_that_is_booked_after_the_close_counts_on_the_day_it_happened(world: TradingWorld):
    world.intend(quantity=5)
    world.send()
    close(world, TUESDAY, AAPL, 210)
    snapshot(world, TUESDAY)
    assert taken(world)[TUESDAY.date]["total_value"] == CASH + 100
    world.check()
    snapshot(world, TUESDAY)
    assert taken(world)[TUESDAY.date]["total_value"] == CASH + 150
    world.assert_books_are_right()


def test_nobody_books_while_the_ledger_is_added_up(
    world: TradingWorld, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """Else a fill could be in the positions and not in the cash."""
    close(world, TUESDAY, AAPL, 210)
    other = create_engine(database_url, application_name="tests")
    tried: list[str] = []
    position_entries = ledger.position_entries

    def read_while_another_books(connection: sa.Connection, **until: Any) -> Any:
        with (
            other.connect() as elsewhere,
            pytest.raises(sa.exc.OperationalError, match="could not obtain lock"),
        ):
            elsewhere.execute(sa.text("SELECT 1 FROM portfolios FOR NO KEY UPDATE NOWAIT"))
        tried.append("locked")
        return position_entries(connection, **until)

    monkeypatch.setattr(ledger, "position_entries", read_while_another_books)
    snapshot(world, TUESDAY)
    other.dispose()
    assert tried == ["locked"]


def test_a_session_that_has_not_closed_is_refused(world: TradingWorld):
    service = PriceDataService([], lambda: world.now)
    with pytest.raises(InvalidInputError, match="cannot be valued before"):
        take_snapshots(
            [TUESDAY],
            begin=world.begin,
            calendar=world.calendar,
            now=TUESDAY.closes_at - timedelta(seconds=1),
            price_data=service,
        )


def test_a_close_that_is_missing_is_asked_of_the_source_and_kept(world: TradingWorld):
    bar = replace(daily_bar(AAPL, TUESDAY.opens_at, Decimal(207)), ends_at=TUESDAY.closes_at)
    source = OneSource(bar)
    assert snapshot(world, TUESDAY, source=source).problems == []
    assert taken(world)[TUESDAY.date]["total_value"] == CASH + 70
    snapshot(world, TUESDAY, source=source)
    assert source.asked == [[AAPL]]


def test_a_close_that_nobody_has_is_an_error_that_names_it(engine: sa.Engine):
    world = TradingWorld(engine, "main", "second")
    for symbol in (AAPL, MSFT):
        world.set_price(symbol, "200")
    world.intend(quantity=1, symbol=MSFT)
    world.intend(quantity=1, portfolio="second")
    world.check()
    close(world, TUESDAY, AAPL, 200)
    close(world, SESSIONS[0], MSFT, 190)
    report = snapshot(world, TUESDAY, source=OneSource(is_down=True))
    assert report.problems[0].endswith(
        "MSFT has no close in 2024-07-02; its last one is of 2024-07-01 (vendor: the vendor is down)."
    )
    assert report.counts == {"portfolios": 2, "snapshots": 1, "errors": 1}
    assert [row["portfolio_id"] for row in world.rows("SELECT portfolio_id FROM portfolio_snapshots")] == [
        world.ids["second"]
    ]


def test_the_last_minute_stands_for_a_close_that_no_source_has(world: TradingWorld):
    starts = [TUESDAY.closes_at - timedelta(minutes=n) for n in (1, 2)]
    with world.begin() as connection:
        prices.save_bars(
            connection,
            [
                replace(
                    daily_bar(AAPL, at, Decimal(price)),
                    timeframe=Timeframe.MINUTE,
                    session=TUESDAY.date,
                    ends_at=at + timedelta(minutes=1),
                )
                for at, price in zip(starts, (205, 999), strict=True)
            ],
        )
    assert snapshot(world, TUESDAY).problems == []
    assert taken(world)[TUESDAY.date]["total_value"] == CASH + 50


def test_deposits_and_withdrawals_are_no_gain_and_no_loss(world: TradingWorld):
    close(world, TUESDAY, AAPL, 200)
    snapshot(world, TUESDAY)
    move(world, 50_000, TUESDAY.closes_at + timedelta(hours=2))
    move(world, -20_000, WEDNESDAY.opens_at)
    close(world, WEDNESDAY, AAPL, 330)
    snapshot(world, WEDNESDAY)
    row = taken(world)[WEDNESDAY.date]
    assert row["net_deposits"] == 30_000
    assert row["daily_return"] == row["total_return"] == Decimal("0.01")  # 1,300 on 130,000


def test_a_gap_gives_no_daily_return_and_the_return_since_the_start_goes_on_over_it(world: TradingWorld):
    close(world, TUESDAY, AAPL, 200)
    snapshot(world, TUESDAY)
    move(world, 100_000, WEDNESDAY.opens_at)
    close(world, FRIDAY, AAPL, 400)
    snapshot(world, FRIDAY)
    row = taken(world)[FRIDAY.date]
    assert row["daily_return"] is None
    assert row["total_return"] == Decimal("0.01")  # 2,000 on 200,000
    assert row["net_deposits"] == 0


def test_filling_a_gap_gives_what_it_would_have_been_without_one(world: TradingWorld):
    move(world, 10_000, WEDNESDAY.opens_at)
    for session, price in ((TUESDAY, 210), (WEDNESDAY, 190), (FRIDAY, 205), (MONDAY, 220)):
        close(world, session, AAPL, price)
    for session in (TUESDAY, WEDNESDAY, FRIDAY, MONDAY):
        snapshot(world, session)
    in_order = [{**row, "updated_at": 0, "created_at": 0} for row in taken(world).values()]
    world.rows("DELETE FROM portfolio_snapshots RETURNING 1")
    for session in (MONDAY, TUESDAY, FRIDAY, WEDNESDAY):
        snapshot(world, session)
    assert [{**row, "updated_at": 0, "created_at": 0} for row in taken(world).values()] == in_order
    assert None not in [row["daily_return"] for row in taken(world).values()]


def test_a_portfolio_without_money_by_the_close_is_left_out(world: TradingWorld):
    close(world, SESSIONS[0], AAPL, 200)
    assert snapshot(world, SESSIONS[0]).counts == {"portfolios": 0, "snapshots": 0}
    assert taken(world) == {}


@given(
    totals=st.lists(st.integers(1, 10**7).map(Decimal), min_size=4, max_size=4),
    moves=st.lists(
        st.tuples(st.integers(0, 7 * 24 * 60), st.integers(-1000, 10**6).map(Decimal)), max_size=5
    ),
    missing=st.sets(st.integers(0, 3), max_size=3),
)
def test_the_return_since_the_start_chains_the_daily_ones_where_there_is_no_gap(
    totals: list[Decimal], moves: list[tuple[int, Decimal]], missing: set[int]
):
    opened_at = datetime(2024, 7, 2, 12, tzinfo=UTC)
    flows = [(opened_at + timedelta(minutes=minutes), amount) for minutes, amount in moves]
    of = PortfolioFlows([(opened_at, Decimal(10**6)), *flows], opened_at)
    values = [
        Value(session.date, session.closes_at, total)
        for number, (session, total) in enumerate(zip(SESSIONS[1:], totals, strict=True))
        if number not in missing
    ]
    found = list(returns(values, of, INDEPENDENCE_WEEK, previous=None, previous_return=None))
    for before, after, value in zip(found, found[1:], values[1:], strict=False):
        if after.daily is not None and before.total is not None and after.total is not None:
            chained = (1 + before.total) * (1 + after.daily) - 1
            assert abs(after.total - chained) <= Decimal("1e-12")
        session_before = INDEPENDENCE_WEEK.previous(value.session)
        was_valued = session_before.date in {v.session for v in values}
        assert was_valued or after.daily is None
    assert sum((r.net_deposits for r in found), Decimal(0)) == sum(
        (
            amount
            for at, amount in of.flows
            if any(INDEPENDENCE_WEEK.previous(v.session).closes_at < at <= v.valued_at for v in values)
        ),
        Decimal(0),
    )
