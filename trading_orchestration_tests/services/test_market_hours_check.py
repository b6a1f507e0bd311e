"""What of the broker's calendar counts as a difference, and which differences wait for a person."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trading_orchestration.brokers.broker import Broker, BrokerSession
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.special_hours import SpecialDay, with_special_days
from trading_orchestration.services.market_hours_check import HoursDifference, differing_hours
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK

DAY = date(2024, 7, 2)

SESSION = INDEPENDENCE_WEEK.session(date(2024, 7, 1))


def differences(
    now: datetime, *special: SpecialDay, without: Sequence[int] = (), of: Session = SESSION, **hours: Any
) -> list[HoursDifference]:
    """What differs from a broker with New York's calendar, but for days left out or other hours of one."""
    listed = [
        BrokerSession(session=one.date, opens_at=one.opens_at, closes_at=one.closes_at)
        for one in INDEPENDENCE_WEEK.sessions
        if one.date.day not in without
    ]
    listed = [replace(one, **hours) if one.session == date(2024, 7, 2) else one for one in listed]
    broker = SimpleNamespace(
        get_clock=lambda: SimpleNamespace(now=now),
        get_calendar=lambda first, last: [one for one in listed if first <= one.session <= last],
    )
    calendar = with_special_days(INDEPENDENCE_WEEK, special)
    session = calendar.session(of.date)
    return differing_hours(cast("Broker", broker), session, calendar, lambda: now)


def special(day: int, **given: Any) -> SpecialDay:
    return SpecialDay(day=date(2024, 7, day), where="hours.yaml line 1", reason="trial", **given)


def at(hour: int, minute: int = 0) -> timedelta:
    return timedelta(hours=hour, minutes=minute)


def test_at_the_open_the_session_is_at_hand_and_at_the_close_the_next_one() -> None:
    for now, is_at_hand in ((SESSION.opens_at, False), (SESSION.closes_at, True)):
        (found,) = differences(now, without=[2])
        assert found == HoursDifference(
            "The broker says that 2024-07-02 is no session; by our calendar it is open 13:30 to 20:00 UTC. "
            "Where the broker is right, TRADING_HOURS_FILE mends ours.",
            is_at_hand,
        )
    assert differences(SESSION.opens_at) == []


def test_the_last_session_that_we_know_is_compared_too() -> None:
    last = INDEPENDENCE_WEEK.sessions[-1]
    (found,) = differences(last.opens_at, of=last, without=[last.date.day])
    assert found.is_at_hand
    for now in (last.opens_at, last.closes_at):
        assert differences(now, of=last) == []


def test_a_day_on_which_only_the_broker_opens_is_a_difference() -> None:
    (found,) = differences(SESSION.opens_at, special(4, opens=at(9), closes=at(10)))
    assert found.sentence.startswith(
        "The broker says that 2024-07-04 is no session; by our calendar it is open"
    )
    calendar_without = with_special_days(INDEPENDENCE_WEEK, [])
    assert calendar_without.is_session(date(2024, 7, 5))
    (found,) = differences(SESSION.opens_at, closes_at=INDEPENDENCE_WEEK.session(DAY).closes_at - at(3))
    assert (
        "2024-07-02 is open 13:30 to 17:00 UTC; by our calendar it is open 13:30 to 20:00" in found.sentence
    )


@pytest.mark.parametrize(
    ("day", "is_told"),
    [
        (special(2, opens=at(10), closes=at(10, 40)), False),
        (special(2, is_closed=True), False),
        (special(2, closes=at(16, 1)), True),
        (special(2, opens=at(9), closes=at(12)), True),
    ],
    ids=["within", "closed", "later", "earlier"],
)
def test_hours_that_a_person_gave_may_be_shorter_and_never_longer_than_the_brokers(
    day: SpecialDay, is_told: bool
) -> None:
    assert bool(differences(SESSION.opens_at, day)) == is_told
