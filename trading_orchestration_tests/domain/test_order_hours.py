"""From when to when an order counts."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.order_hours import (
    active_from,
    session_ahead,
    session_priced_at,
    spans_ahead,
)
from trading_orchestration.errors import InvalidInputError


def instant(text: str) -> datetime:
    """An instant of July 2024, "day hour:minute", in UTC."""
    return datetime.strptime(f"2024-07-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


#: Two sessions of a market with a lunch break from 11:30 to 12:30, and one without.
CALENDAR = MarketCalendar(
    "TEST",
    ZoneInfo("UTC"),
    (
        Session(
            date(2024, 7, 1),
            instant("01 09:00"),
            instant("01 15:00"),
            break_starts_at=instant("01 11:30"),
            break_ends_at=instant("01 12:30"),
        ),
        Session(date(2024, 7, 3), instant("03 09:00"), instant("03 13:00")),
    ),
)


@pytest.mark.parametrize(
    ("now", "starts", "ends"),
    [
        pytest.param("01 08:00", "01 09:00", "01 15:00", id="before the open"),
        pytest.param("01 09:00", "01 09:00", "01 15:00", id="at the open"),
        pytest.param("01 10:15", "01 10:15", "01 15:00", id="in the morning"),
        pytest.param("01 11:30", "01 12:30", "01 15:00", id="when the break begins"),
        pytest.param("01 12:00", "01 12:30", "01 15:00", id="in the break"),
        pytest.param("01 12:30", "01 12:30", "01 15:00", id="when the break ends"),
        pytest.param("01 15:00", "03 09:00", "03 13:00", id="at the close"),
        pytest.param("02 10:00", "03 09:00", "03 13:00", id="on a holiday"),
    ],
)
def test_an_order_counts_from_when_the_market_trades_to_the_close_of_that_session(
    now: str, starts: str, ends: str
):
    assert active_from(CALENDAR, instant(now)) == instant(starts)
    assert session_ahead(CALENDAR, instant(now)).closes_at == instant(ends)


@pytest.mark.parametrize(
    ("at", "session"),
    [
        ("01 08:59", None),
        ("01 09:00", 1),
        ("01 11:30", 1),
        ("01 11:31", None),
        ("01 12:29", None),
        ("01 12:30", 1),
        ("01 15:00", 1),
        ("01 15:01", None),
        ("02 10:00", None),
        ("03 13:00", 3),
        ("03 13:01", None),
    ],
)
def test_a_price_counts_from_the_open_to_the_close_with_both(at: str, session: int | None):
    found = session_priced_at(CALENDAR, instant(at))
    assert (found and found.date.day) == session


def test_the_stretches_ahead_begin_with_the_one_that_is_going_on():
    starts = [start for start, _ in spans_ahead(CALENDAR, instant("01 10:00"))]
    assert starts == [instant("01 09:00"), instant("01 12:30"), instant("03 09:00")]
    assert [start for start, _ in spans_ahead(CALENDAR, instant("01 12:00"))] == starts[1:]


def test_an_order_after_the_last_known_session_is_an_error_that_names_the_calendar():
    with pytest.raises(InvalidInputError, match="TEST knows no session after 2024-07-03"):
        active_from(CALENDAR, instant("03 13:00"))
