"""What every broker must know about the market's hours; part of `BrokerContract`."""

from datetime import UTC, date, datetime, timedelta

import pytest

from trading_orchestration.brokers.broker import Broker
from trading_orchestration_tests.contracts.broker_world import CLOSE, EARLY_CLOSE, START, BrokerWorld


class BrokerHoursContract:
    """The claims about clock and calendar; the fixtures are those of `BrokerContract`."""

    def test_the_clock_knows_when_the_market_opens_and_closes(self, world: BrokerWorld, broker: Broker):
        clock = broker.get_clock()
        assert START <= clock.now < START + timedelta(minutes=1)
        assert (clock.is_open, clock.next_close) == (True, CLOSE)
        assert clock.next_open == datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
        world.advance(EARLY_CLOSE)
        clock = broker.get_clock()
        assert not clock.is_open
        assert clock.next_open == datetime(2024, 7, 5, 13, 30, tzinfo=UTC)
        assert clock.next_close == datetime(2024, 7, 5, 20, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("day", "opens_at", "closes_at"),
        [
            pytest.param(date(2024, 7, 3), "13:30", "17:00", id="early close in summer"),
            pytest.param(date(2024, 11, 29), "14:30", "18:00", id="early close in winter"),
            pytest.param(date(2024, 3, 8), "14:30", "21:00", id="last session of winter time"),
            pytest.param(date(2024, 3, 11), "13:30", "20:00", id="first session of summer time"),
        ],
    )
    def test_the_calendar_has_early_closes_and_daylight_saving(
        self, broker: Broker, day: date, opens_at: str, closes_at: str
    ):
        (session,) = broker.get_calendar(first=day, last=day)
        assert session.session == day
        assert session.opens_at == datetime.fromisoformat(f"{day}T{opens_at}:00+00:00")
        assert session.closes_at == datetime.fromisoformat(f"{day}T{closes_at}:00+00:00")

    def test_the_calendar_leaves_out_weekends_and_holidays(self, broker: Broker):
        sessions = broker.get_calendar(first=date(2024, 7, 3), last=date(2024, 7, 8))
        assert [one.session for one in sessions] == [date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)]
        assert not broker.get_calendar(first=date(2025, 1, 9), last=date(2025, 1, 9)), "President Carter"
