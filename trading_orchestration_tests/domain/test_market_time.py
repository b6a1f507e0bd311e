from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.errors import InvalidInputError
from trading_orchestration_tests.fixtures.market_calendars import (
    CALENDARS,
    CHICAGO,
    FUTURES_WEEK,
    INDEPENDENCE_WEEK,
    TOKYO,
    TOKYO_WEEK,
    new_york,
)


def test_a_day_without_a_session_is_refused_with_its_name_and_its_neighbours() -> None:
    with pytest.raises(InvalidInputError) as refusal:
        INDEPENDENCE_WEEK.session(date(2024, 7, 4))
    assert str(refusal.value) == (
        "2024-07-04 (Thursday) is not a session of XNYS: Independence Day; "
        "its neighbours are 2024-07-03 and 2024-07-05."
    )


@pytest.mark.parametrize("day", [date(2024, 6, 28), date(2024, 7, 9)])
def test_a_day_outside_the_calendar_is_refused_with_its_bounds(day: date) -> None:
    with pytest.raises(
        InvalidInputError, match="outside the known sessions of XNYS, 2024-07-01 to 2024-07-08"
    ):
        INDEPENDENCE_WEEK.session(day)
    assert not INDEPENDENCE_WEEK.is_session(day)


def test_a_session_is_found_by_its_date() -> None:
    assert INDEPENDENCE_WEEK.session(date(2024, 7, 3)).closes_at == new_york("2024-07-03 13:00")
    assert [INDEPENDENCE_WEEK.is_session(date(2024, 7, day)) for day in range(1, 9)] == [
        True, True, True, False, True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2024-07-03 00:00", 3),
        ("2024-07-03 09:30", 3),
        ("2024-07-03 13:05", 3),
        ("2024-07-03 21:30", 3),  # the next day in UTC
        ("2024-07-04 12:00", None),
        ("2024-07-06 12:00", None),
    ],
)
def test_an_instant_belongs_to_the_session_of_its_date_on_the_exchanges_clocks(
    instant: str, day: int | None
) -> None:
    session = INDEPENDENCE_WEEK.session_at(new_york(instant))
    assert (session.date.day if session else None) == day


def test_an_evening_session_is_that_of_the_next_date() -> None:
    sunday_evening = datetime(2024, 6, 30, 18, tzinfo=CHICAGO)
    session = FUTURES_WEEK.session_at(sunday_evening)
    assert session is not None
    assert session.date == date(2024, 7, 1)


def test_previous_and_next_step_over_closed_days() -> None:
    assert INDEPENDENCE_WEEK.previous(date(2024, 7, 5)).date == date(2024, 7, 3)
    assert INDEPENDENCE_WEEK.previous(date(2024, 7, 4)).date == date(2024, 7, 3)
    assert INDEPENDENCE_WEEK.next(date(2024, 7, 5)).date == date(2024, 7, 8)
    assert INDEPENDENCE_WEEK.next(date(2024, 7, 6)).date == date(2024, 7, 8)


def test_there_is_nothing_before_the_first_and_after_the_last_session() -> None:
    with pytest.raises(InvalidInputError, match="No session precedes 2024-07-01"):
        INDEPENDENCE_WEEK.previous(date(2024, 7, 1))
    with pytest.raises(InvalidInputError, match="No session follows 2024-07-08"):
        INDEPENDENCE_WEEK.next(date(2024, 7, 8))
    with pytest.raises(InvalidInputError, match="No session had closed by"):
        INDEPENDENCE_WEEK.last_closed(new_york("2024-07-01 15:59"))


def test_sessions_between_includes_both_ends() -> None:
    days = INDEPENDENCE_WEEK.sessions_between(date(2024, 7, 2), date(2024, 7, 5))
    assert [session.date.day for session in days] == [2, 3, 5]
    assert INDEPENDENCE_WEEK.sessions_between(date(2024, 7, 6), date(2024, 7, 7)) == ()


def test_a_session_has_closed_at_its_close_and_not_a_second_earlier() -> None:
    assert INDEPENDENCE_WEEK.last_closed(new_york("2024-07-03 13:00")).date == date(2024, 7, 3)
    assert INDEPENDENCE_WEEK.last_closed(new_york("2024-07-03 12:59:59")).date == date(2024, 7, 2)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [("09:29:59", False), ("09:30", True), ("12:59:59", True), ("13:00", False)],
)
def test_the_market_is_open_from_the_open_to_before_the_close(instant: str, expected: bool) -> None:
    assert INDEPENDENCE_WEEK.is_open(new_york(f"2024-07-03 {instant}")) is expected


def test_the_market_is_not_open_during_its_lunch_break() -> None:
    opened = [TOKYO_WEEK.is_open(datetime(2024, 7, 1, 11, minute, tzinfo=TOKYO)) for minute in (29, 30)]
    assert opened == [True, False]
    assert TOKYO_WEEK.is_open(datetime(2024, 7, 1, 12, 30, tzinfo=TOKYO))


@pytest.mark.parametrize(
    ("start", "minutes", "end"),
    [
        ("2024-07-01 10:00", 15, "2024-07-01 10:15"),
        ("2024-07-01 15:50", 15, "2024-07-02 09:35"),
        ("2024-07-03 12:50", 15, "2024-07-05 09:35"),  # over an early close and a holiday
        ("2024-07-05 15:59", 60, "2024-07-08 10:29"),  # over a weekend
        ("2024-07-02 08:00", 5, "2024-07-02 09:35"),
        ("2024-07-01 09:30", 390, "2024-07-01 16:00"),
        ("2024-07-01 10:00", 600, "2024-07-02 13:30"),
        ("2024-07-06 12:00", 0, "2024-07-08 09:30"),
    ],
)
def test_session_time_counts_only_open_minutes(start: str, minutes: int, end: str) -> None:
    assert INDEPENDENCE_WEEK.add_session_time(new_york(start), minutes * 60) == new_york(end)


def test_session_time_rests_at_lunch() -> None:
    start = datetime(2024, 7, 1, 11, 25, tzinfo=TOKYO)
    assert TOKYO_WEEK.add_session_time(start, 600) == datetime(2024, 7, 1, 12, 35, tzinfo=TOKYO)


def test_session_time_past_the_last_session_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="outside the known sessions of XNYS"):
        INDEPENDENCE_WEEK.add_session_time(new_york("2024-07-08 15:59"), 61)


@given(
    calendar=st.sampled_from(CALENDARS),
    offset=st.integers(-2 * 24 * 60, 24 * 60),
    minutes=st.integers(1, 300),
)
def test_session_time_equals_a_count_of_open_minutes(
    calendar: MarketCalendar, offset: int, minutes: int
) -> None:
    """Counted minute by minute, which is slow and needs no thought."""
    start = calendar.sessions[0].opens_at + timedelta(minutes=offset)
    end = calendar.add_session_time(start, minutes * 60)
    between = (start + timedelta(minutes=number) for number in range((end - start) // timedelta(minutes=1)))
    assert sum(map(calendar.is_open, between)) == minutes
    assert calendar.is_open(end - timedelta(minutes=1))
