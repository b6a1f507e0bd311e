"""Many sessions in one go are what they are one by one; what cannot be valued is an error that names it."""

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.market_time import Session
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services import portfolio_snapshot
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.portfolio_snapshot import take_snapshots
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration_tests.services.snapshot_world import (
    FRIDAY,
    MONDAY,
    SESSIONS,
    TUESDAY,
    WEDNESDAY,
    OneSource,
    close,
    fill,
    move,
    snapshot,
    taken,
)
from trading_orchestration_tests.services.trading_world import (
    AAPL,
    CASH,
    LIMITS,
    MSFT,
    TradingWorld,
    daily_bar,
)

WEEK = (TUESDAY, WEDNESDAY, FRIDAY, MONDAY)


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """`main` buys 10 AAPL at 200 on Tuesday."""
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.intend()
    world.check()
    return world


def closes(world: TradingWorld, symbol: str, prices: dict[Session, int]) -> None:
    for session, price in prices.items():
        close(world, session, symbol, price)


def lines(world: TradingWorld) -> list[tuple[Any, ...]]:
    rows = world.rows(
        "SELECT session, symbol, close, close_session, close_age FROM portfolio_snapshot_positions "
        "ORDER BY session, symbol"
    )
    return [tuple(row.values()) for row in rows]


def everything(world: TradingWorld) -> list[dict[str, Any]]:
    rows = [{**row, "created_at": None, "updated_at": None} for row in taken(world).values()]
    return rows + [
        dict(row) for row in world.rows("SELECT * FROM portfolio_snapshot_positions ORDER BY 1, 2, 3")
    ]


@pytest.mark.parametrize("at_once", [1, 3, 60])
def test_a_range_in_parts_of_any_size_is_what_its_sessions_are_one_by_one(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch, at_once: int
):
    closes(world, AAPL, dict(zip(WEEK, (210, 190, 205, 220), strict=True)))
    closes(world, MSFT, dict(zip(WEEK, (50, 51, 52, 53), strict=True)))
    fill(world, WEDNESDAY.opens_at, 40, 50, MSFT)
    move(world, 7_000, FRIDAY.opens_at)
    fill(world, FRIDAY.opens_at, -4, 206)
    for session in WEEK:
        snapshot(world, session)
    one_by_one = everything(world)
    world.rows("DELETE FROM portfolio_snapshots RETURNING 1")
    monkeypatch.setattr(portfolio_snapshot, "SESSIONS_AT_ONCE", at_once)
    assert snapshot(world, *reversed(WEEK)).counts == {"portfolios": 1, "snapshots": 4}
    assert everything(world) == one_by_one
    assert len(one_by_one) == 4 + 7


def test_what_is_booked_between_two_parts_is_in_the_next_one_and_marks_the_first(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    closes(world, AAPL, dict.fromkeys(WEEK, 200))
    monkeypatch.setattr(portfolio_snapshot, "SESSIONS_AT_ONCE", 2)
    ask = PriceDataService.get_session_bars
    world.rows("DELETE FROM bars WHERE session = '2024-07-05' RETURNING 1")

    def deposit_meanwhile(self: PriceDataService, wanted: Any) -> Any:
        move(world, 1_000, TUESDAY.opens_at)
        return ask(self, wanted)

    monkeypatch.setattr(PriceDataService, "get_session_bars", deposit_meanwhile)
    bar = daily_bar(AAPL, FRIDAY.opens_at, Decimal(200))
    snapshot(world, *WEEK, source=OneSource(bar))
    rows = list(taken(world).values())
    assert [row["total_value"] for row in rows] == [CASH, CASH, CASH + 1_000, CASH + 1_000]
    assert [row["stale_since"] is None for row in rows] == [False, False, True, True]


def test_the_statements_do_not_grow_with_the_sessions(world: TradingWorld):
    closes(world, AAPL, dict.fromkeys(WEEK, 200))
    snapshot(world, *WEEK)
    counts: list[int] = []
    for sessions in ((TUESDAY,), WEEK):
        statements: list[str] = []
        sa.event.listen(
            world.engine, "before_cursor_execute", lambda *args, kept=statements: kept.append(args[2])
        )
        snapshot(world, *sessions)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_range_with_a_session_that_has_not_closed_is_refused_before_anything_is_valued(world: TradingWorld):
    closes(world, AAPL, dict.fromkeys(WEEK, 200))
    with pytest.raises(
        InvalidInputError, match="2024-07-08 closes at 2024-07-08 20:00 UTC; it cannot be valued"
    ):
        take_snapshots(
            WEEK,
            begin=world.begin,
            calendar=world.calendar,
            now=MONDAY.opens_at,
            price_data=PriceDataService([], lambda: world.now),
        )
    assert taken(world) == {}


def test_a_delisting_in_the_middle_is_one_error_that_names_the_symbol_and_its_sessions(engine: sa.Engine):
    world = TradingWorld(engine, "main", "other")
    for symbol, portfolio in ((AAPL, "main"), (MSFT, "other")):
        world.set_price(symbol, "200")
        world.intend(symbol=symbol, portfolio=portfolio)
    world.check()
    closes(world, AAPL, {TUESDAY: 200, WEDNESDAY: 150})
    closes(world, MSFT, dict.fromkeys(WEEK, 200))
    report = snapshot(world, *WEEK, source=OneSource(is_down=True))
    assert report.counts == {"portfolios": 2, "snapshots": 6, "errors": 1}
    assert report.problems == [
        (
            "portfolio main: AAPL has no close in 2024-07-05 and 1 session "
            "more to 2024-07-08; its last one is of 2024-07-03 (vendor: the vendor is down)."
        )
    ]


def test_an_ipo_in_the_middle_needs_no_close_before_it_was_bought(world: TradingWorld):
    closes(world, AAPL, dict.fromkeys(WEEK, 200))
    closes(world, MSFT, {FRIDAY: 30, MONDAY: 33})
    fill(world, FRIDAY.opens_at, 10, 30, MSFT)
    assert snapshot(world, *WEEK).problems == []
    assert [row["total_value"] for row in taken(world).values()] == [CASH, CASH, CASH, CASH + 30]


def test_a_portfolio_is_left_out_of_the_sessions_before_it_was_opened(world: TradingWorld):
    closes(world, AAPL, dict.fromkeys(SESSIONS, 200))
    new = NewPortfolio(name="later", cash=Decimal(500), limits=LIMITS, account_number=world.account_number)
    later = open_portfolio(world.engine, new, at=FRIDAY.opens_at)
    assert snapshot(world, *SESSIONS).counts == {"portfolios": 2, "snapshots": 6}
    rows = world.rows(
        "SELECT session, total_value, daily_return FROM portfolio_snapshots WHERE portfolio_id = :id "
        "ORDER BY session",
        id=later,
    )
    assert [tuple(row.values()) for row in rows] == [  # type: ignore[comparison-overlap]
        (FRIDAY.date, 500, 0),
        (MONDAY.date, 500, 0),
    ]


def test_a_negative_cash_balance_is_valued_and_shows_as_exposure_above_1(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 200, WEDNESDAY: 210})
    move(world, -98_500, WEDNESDAY.opens_at)
    snapshot(world, TUESDAY, WEDNESDAY)
    row = taken(world)[WEDNESDAY.date]
    assert (row["cash"], row["total_value"]) == (-500, 1_600)
    assert row["exposure"] == Decimal("1.3125")  # 2,100 of 1,600
    assert row["daily_return"] == Decimal("0.066666666667")  # 1,600 on 100,000 - 98,500
    assert taken(world)[TUESDAY.date]["exposure"] == Decimal("0.02")


def test_where_nothing_is_left_there_is_no_exposure_and_no_return(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 200, WEDNESDAY: 10})
    move(world, -98_500, WEDNESDAY.opens_at)
    closes(world, AAPL, {FRIDAY: 20})
    snapshot(world, TUESDAY, WEDNESDAY, FRIDAY)
    row = taken(world)[WEDNESDAY.date]
    assert (row["total_value"], row["exposure"], row["daily_return"]) == (
        -400,
        None,
        Decimal("-1.266666666667"),
    )
    assert taken(world)[FRIDAY.date]["daily_return"] is None


def test_a_split_on_its_day_changes_no_value(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 210, WEDNESDAY: 30, FRIDAY: 31})
    world.rows(
        "INSERT INTO adjustments (portfolio_id, symbol, quantity, unit_cost, cause, note, actor, "
        "occurred_at) VALUES (:id, 'AAPL', 60, 0, 'split', '7:1', 'test', :at) RETURNING id",
        id=world.ids["main"],
        at=WEDNESDAY.opens_at,
    )
    snapshot(world, TUESDAY, WEDNESDAY, FRIDAY)
    rows = list(taken(world).values())
    assert [row["total_value"] for row in rows] == [CASH + 100, CASH + 100, CASH + 170]
    assert rows[1]["daily_return"] == 0
    (held,) = world.rows(
        "SELECT quantity, average_cost FROM portfolio_snapshot_positions WHERE session = '2024-07-05'"
    )
    assert (held["quantity"], held["average_cost"]) == (70, Decimal("28.571428571"))


def test_an_older_close_stands_in_where_the_setting_allows_and_says_its_age(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 205})
    assert len(snapshot(world, *WEEK).problems) == 1
    report = snapshot(world, *WEEK, carry_sessions=2)
    assert "AAPL has no close in 2024-07-08; its last one is of 2024-07-02" in report.problems[0]
    assert lines(world) == [
        (TUESDAY.date, AAPL, 205, TUESDAY.date, 0),
        (WEDNESDAY.date, AAPL, 205, TUESDAY.date, 1),
        (FRIDAY.date, AAPL, 205, TUESDAY.date, 2),
    ]
    assert [row["total_value"] for row in taken(world).values()] == [CASH + 50] * 3


def test_a_close_is_asked_for_before_an_older_one_is_taken(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 205})
    bar = daily_bar(AAPL, FRIDAY.opens_at, Decimal(207))
    source = OneSource(bar)
    snapshot(world, *WEEK[:3], source=source, carry_sessions=5)
    assert [(price, of, age) for _, _, price, of, age in lines(world)] == [
        (205, TUESDAY.date, 0),
        (205, TUESDAY.date, 1),
        (207, FRIDAY.date, 0),
    ]
    assert source.asked == [[AAPL]]  # once for the range


def test_closes_are_asked_for_by_the_range_and_only_where_they_are_missing(world: TradingWorld):
    closes(world, AAPL, {TUESDAY: 205, MONDAY: 230})
    given = [daily_bar(AAPL, session.opens_at, Decimal(1)) for session in WEEK]
    snapshot(world, *WEEK, source=OneSource(*given))
    assert [price for _, _, price, _, _ in lines(world)] == [205, 1, 1, 230]
