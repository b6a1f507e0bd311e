"""Whatever changes what a snapshot is made of marks it, and taking it again is enough to be right."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration import crashpoint
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.services import portfolio_snapshot
from trading_orchestration.store import prices
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.services.snapshot_world import (
    FRIDAY,
    MONDAY,
    TUESDAY,
    WEDNESDAY,
    close,
    fill,
    move,
    snapshot,
)
from trading_orchestration_tests.services.trading_world import AAPL, CASH, MSFT, TradingWorld, daily_bar

WEEK = (TUESDAY, WEDNESDAY, FRIDAY, MONDAY)
NUMBERS = count(1)


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """`main` bought 10 AAPL at 200 on Tuesday, and all four sessions have snapshots."""
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.intend()
    world.check()
    for session, price in zip(WEEK, (200, 210, 190, 220), strict=True):
        close(world, session, AAPL, price)
        close(world, session, MSFT, 50)
    snapshot(world, *WEEK)
    assert stale(world) == {}
    return world


def stale(world: TradingWorld) -> dict[date, str]:
    rows = world.rows(
        "SELECT session, stale_reason FROM portfolio_snapshots WHERE stale_since IS NOT NULL "
        "AND portfolio_id = :id ORDER BY session",
        id=world.ids[world.name],
    )
    return {row["session"]: row["stale_reason"] for row in rows}


def adjust(world: TradingWorld, at: datetime, quantity: int, cost: int, cause: str = "split") -> None:
    world.rows(
        "INSERT INTO adjustments (portfolio_id, symbol, quantity, unit_cost, cause, note, actor, "
        "occurred_at) VALUES (:id, 'AAPL', :quantity, :cost, CAST(:cause AS adjustment_cause), 'test', "
        "'test', :at) RETURNING id",
        id=world.ids[world.name],
        quantity=quantity,
        cost=cost,
        cause=cause,
        at=at,
    )


def snapshots(world: TradingWorld) -> list[dict[str, Any]]:
    """Everything that snapshots say, but for when they were written."""
    names = {"id": world.ids[world.name]}
    rows = world.rows("SELECT * FROM portfolio_snapshots WHERE portfolio_id = :id ORDER BY session", **names)
    lines = world.rows(
        "SELECT * FROM portfolio_snapshot_positions WHERE portfolio_id = :id ORDER BY session, symbol",
        **names,
    )
    return [{**row, "created_at": None, "updated_at": None} for row in rows] + [dict(line) for line in lines]


def test_a_late_fill_marks_the_session_it_was_executed_in_and_those_after_it(world: TradingWorld):
    fill(world, WEDNESDAY.opens_at, 5, 205)
    reason = "A fill of AAPL executed at 2024-07-03 13:30 UTC was booked later."
    assert stale(world) == {session.date: reason for session in (WEDNESDAY, FRIDAY, MONDAY)}
    snapshot(world, WEDNESDAY, FRIDAY, MONDAY)
    assert stale(world) == {}
    totals = world.rows("SELECT total_value FROM portfolio_snapshots ORDER BY session")
    expected = [CASH, CASH + 100 + 25, CASH - 100 - 75, CASH + 200 + 75]
    assert [row["total_value"] for row in totals] == expected


def test_a_late_movement_of_cash_and_a_late_split_mark_alike(world: TradingWorld):
    move(world, 500, MONDAY.opens_at)
    assert stale(world) == {
        MONDAY.date: "A cash movement (deposit) as of 2024-07-08 13:30 UTC was booked later."
    }
    adjust(world, FRIDAY.opens_at, 10, 0)
    assert (
        stale(world)[FRIDAY.date]
        == "An adjustment of AAPL (split) as of 2024-07-05 13:30 UTC was booked later."
    )
    assert stale(world)[MONDAY.date].startswith("A cash movement")
    assert WEDNESDAY.date not in stale(world)


def test_what_is_booked_in_its_own_session_marks_nothing(engine: sa.Engine):
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    close(world, TUESDAY, AAPL, 200)
    world.intend()
    world.check()
    snapshot(world, TUESDAY)
    fill(world, WEDNESDAY.opens_at, 1, 200)
    move(world, 100, TUESDAY.closes_at + timedelta(microseconds=1))
    assert stale(world) == {}


def test_a_corrected_close_marks_the_session_it_is_of(world: TradingWorld):
    close(world, WEDNESDAY, AAPL, 210)
    close(world, WEDNESDAY, MSFT, 51)
    assert stale(world) == {}
    close(world, WEDNESDAY, AAPL, "209.5")
    assert stale(world) == {WEDNESDAY.date: "The close of AAPL in 2024-07-03 was 210 and is 209.5."}
    before = world.rows("SELECT total_return FROM portfolio_snapshots ORDER BY session")
    snapshot(world, WEDNESDAY)
    after = world.rows(
        "SELECT total_value, daily_return, total_return FROM portfolio_snapshots ORDER BY session"
    )
    assert after[1]["total_value"] == CASH + 95
    assert after[2]["daily_return"] == Decimal("-0.001948149258")  # 99,900 / 100,095 - 1
    assert after[3]["total_return"] == before[3]["total_return"] == Decimal("0.002")


def test_a_close_that_is_gone_marks_its_session_and_what_cannot_be_taken_stays_marked(world: TradingWorld):
    world.rows("DELETE FROM bars WHERE session = '2024-07-05' AND symbol = 'AAPL' RETURNING 1")
    assert stale(world) == {FRIDAY.date: "The close of AAPL in 2024-07-05 is gone."}
    assert "AAPL has no close in 2024-07-05" in snapshot(world, FRIDAY).problems[0]
    assert stale(world)[FRIDAY.date].startswith("A symbol it holds has no close any more")


def test_an_official_close_that_comes_after_the_last_minute_marks_where_it_differs(world: TradingWorld):
    world.rows("DELETE FROM bars WHERE symbol = 'AAPL' RETURNING 1")
    minutes = [
        replace(
            daily_bar(AAPL, session.closes_at - timedelta(minutes=1), Decimal(205)),
            timeframe=Timeframe.MINUTE,
            session=session.date,
            ends_at=session.closes_at,
        )
        for session in (TUESDAY, WEDNESDAY)
    ]
    with world.begin() as connection:
        prices.save_bars(connection, minutes)
    snapshot(world, TUESDAY, WEDNESDAY)
    assert set(stale(world)) == {FRIDAY.date, MONDAY.date}
    close(world, TUESDAY, AAPL, 205)
    close(world, WEDNESDAY, AAPL, 206)
    assert stale(world)[WEDNESDAY.date] == "The close of AAPL in 2024-07-03 was 205 and is 206."
    assert TUESDAY.date not in stale(world)


def test_a_close_that_comes_after_an_older_one_was_carried_marks_it(world: TradingWorld):
    world.rows(
        "DELETE FROM bars WHERE session IN ('2024-07-05', '2024-07-08') AND symbol = 'AAPL' RETURNING 1"
    )
    snapshot(world, FRIDAY, MONDAY, carry_sessions=3)
    assert stale(world) == {}
    close(world, FRIDAY, AAPL, 190)
    assert stale(world) == dict.fromkeys(
        (FRIDAY.date, MONDAY.date), "The close of AAPL in 2024-07-05 came later."
    )
    snapshot(world, FRIDAY, MONDAY, carry_sessions=3)
    close(world, WEDNESDAY, AAPL, 211)
    assert set(stale(world)) == {WEDNESDAY.date}
    close(world, FRIDAY, AAPL, 191)
    assert stale(world)[MONDAY.date] == "The close of AAPL in 2024-07-05 was 190 and is 191."


def test_a_range_that_dies_on_its_way_leaves_the_rest_marked(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(portfolio_snapshot, "SESSIONS_AT_ONCE", 1)
    left = [2]

    def die(name: str) -> None:
        left[0] -= name == "before_snapshot_commit"
        if not left[0]:
            raise RuntimeError("killed")

    crashpoint.install(die)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            snapshot(world, *WEEK)
    finally:
        crashpoint.install(lambda _: None)
    reason = "Taking the snapshots of 2024-07-02 to 2024-07-08 did not reach this one."
    assert stale(world) == dict.fromkeys((WEDNESDAY.date, FRIDAY.date, MONDAY.date), reason)
    snapshot(world, *WEEK)
    assert stale(world) == {}


def test_nobody_corrects_a_bar_while_sessions_are_valued(
    world: TradingWorld, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """Else its mark could be wiped out by a snapshot that had not seen it."""
    other = create_engine(database_url, application_name="tests")
    tried: list[str] = []
    closes_between = prices.closes_between

    def read_while_another_writes(*given: Any) -> Any:
        with (
            other.connect() as elsewhere,
            pytest.raises(sa.exc.OperationalError, match="could not obtain lock"),
        ):
            elsewhere.exec_driver_sql("LOCK TABLE bars IN ROW EXCLUSIVE MODE NOWAIT")
        tried.append("locked")
        return closes_between(*given)

    monkeypatch.setattr(prices, "closes_between", read_while_another_writes)
    snapshot(world, TUESDAY)
    other.dispose()
    assert tried == ["locked"]


SESSION = st.sampled_from(WEEK)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), SESSION, SESSION),
        st.tuples(st.just("fill"), SESSION, st.sampled_from([-7, -3, 4, 9])),
        st.tuples(st.just("move"), SESSION, st.sampled_from([-90_000, -500, 1_000])),
        st.tuples(st.just("adjust"), SESSION, st.sampled_from([-2, 5])),
        st.tuples(st.just("close"), SESSION, st.sampled_from([180, 200, 230])),
    ),
    min_size=3,
    max_size=10,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, order=st.randoms(use_true_random=False))
def test_taking_again_what_is_marked_or_missing_gives_what_a_first_look_at_everything_gives(
    engine: sa.Engine, steps: list[tuple[Any, ...]], order: Any
):
    """Whatever was booked, corrected and taken in whatever order: no mark is ever forgotten."""
    world = TradingWorld(engine, f"p{next(NUMBERS)}")
    world.set_price(AAPL, "200")
    world.intend()
    world.check()
    world.now = MONDAY.closes_at + timedelta(minutes=5)
    for session in WEEK:
        close(world, session, AAPL, 200)
    for number, (what, session, value) in enumerate(steps):
        at = session.opens_at + timedelta(minutes=number)
        if what == "take":
            first, last = sorted((session, value))
            snapshot(world, *[one for one in WEEK if first <= one <= last])
        elif what == "fill":
            fill(world, at, value, 190 + number)
        elif what == "move":
            move(world, value, at)
        elif what == "adjust":
            adjust(world, at, value, 100, "correction")
        else:
            close(world, session, AAPL, value)
    known = {
        row["session"] for row in snapshots(world) if "stale_since" in row and row["stale_since"] is None
    }
    wanted = [session for session in WEEK if session.date not in known]
    order.shuffle(wanted)
    while wanted:
        size = order.randint(1, 2)
        snapshot(world, *wanted[:size])
        wanted = wanted[size:]
    again = snapshots(world)
    world.rows(
        "DELETE FROM portfolio_snapshots WHERE portfolio_id = :id RETURNING 1", id=world.ids[world.name]
    )
    snapshot(world, *WEEK)
    assert again == snapshots(world)


def test_the_mark_is_made_for_whoever_writes(world: TradingWorld):
    """Whatever program it is: the triggers stand in the database."""
    rows = world.rows(
        "SELECT c.relname, t.tgtype & 28 AS event FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE t.tgname LIKE '%mark_snapshots'"
    )
    insert, delete, update = 4, 8, 16
    assert {(row["relname"], row["event"]) for row in rows} == {
        ("fills", insert),
        ("adjustments", insert),
        ("cash_movements", insert),
        ("bars", insert),
        ("bars", update),
        ("bars", delete),
    }
