from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar, NotATick, cron_strings, ticks, verdict
from trading_orchestration.errors import SettingsError
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.market_data.hours_file import BYTES_MAX

TODAY = date(2026, 11, 23)
TUESDAY, SATURDAY, THANKSGIVING = date(2026, 11, 24), date(2026, 11, 28), date(2026, 11, 26)
Load = Callable[..., MarketCalendar]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calendars of one cache for all tests, so that each is built once."""
    return tmp_path_factory.mktemp("calendars")


@pytest.fixture
def load(cache: Path, tmp_path: Path) -> Load:
    """The calendar of an exchange with the hours file of that text."""

    def load(text: str, name: str = "XNYS") -> MarketCalendar:
        file = tmp_path / "hours.yaml"
        file.write_text(text)
        return load_calendar(name, today=TODAY, cache_directory=cache, hours_file=file)

    return load


def hours(calendar: MarketCalendar, day: date) -> list[str]:
    return [
        f"{calendar.local(start):%H:%M}-{calendar.local(end):%H:%M}"
        for start, end in calendar.session(day).spans
    ]


def why_not(calendar: MarketCalendar, instant: datetime, job_type: JobType = JobType.PRICE_UPDATE) -> str:
    outcome = verdict(job_type, instant, calendar)
    assert isinstance(outcome, NotATick)
    return outcome.reason


def test_an_unscheduled_closure_is_no_session_and_says_why(load: Load) -> None:
    calendar = load("2026-11-24: {closed: National day of mourning}\n2026-12-04: closed\n")
    assert len(calendar.sessions) == len(load("").sessions) - 2
    assert why_not(calendar, datetime(2026, 11, 24, 15, tzinfo=UTC)) == (
        "2026-11-24 is a holiday (National day of mourning); XNYS opens again on 2026-11-25."
    )
    assert "2026-12-04 is a holiday (closed by hours.yaml)" in why_not(
        calendar, datetime(2026, 12, 4, 15, tzinfo=UTC)
    )


def test_a_closure_or_hours_that_the_package_has_learned_of_meanwhile_change_nothing(load: Load) -> None:
    calendar = load('2026-12-25: closed\n2026-11-27: {closes: "13:00"}\n')
    assert calendar.sessions == load("# nothing\n").sessions


def test_an_unscheduled_early_close_moves_the_last_ticks(load: Load) -> None:
    calendar = load("2026-11-24: {closes: 14:30, reason: storm}")
    session = calendar.session(TUESDAY)
    assert session.is_early_close
    assert hours(calendar, TUESDAY) == ["09:30-14:30"]
    assert calendar.local(ticks(JobType.PORTFOLIO_SNAPSHOT, session)[0]).time() == time(14, 35)
    assert "35 14 * * 2" in cron_strings(JobType.PORTFOLIO_SNAPSHOT, calendar)
    assert why_not(calendar, datetime(2026, 11, 24, 20, tzinfo=UTC)) == (
        "2026-11-24 closed at 14:30 New York time (storm); "
        "price_update runs every 5 minutes from 09:30 to 14:30."
    )


def test_a_short_session_at_hours_of_its_own_has_its_own_ticks(load: Load) -> None:
    calendar = load("2026-11-24: {opens: 18:10, closes: 18:50}")
    session = calendar.session(TUESDAY)
    assert session.opens_at == datetime(2026, 11, 24, 23, 10, tzinfo=UTC)
    numbers = {job_type.value: len(ticks(job_type, session)) for job_type in JobType}
    assert numbers == {
        "strategy_execution": 3,
        "order_status_check": 46,
        "position_sync": 11,
        "price_update": 9,
        "portfolio_snapshot": 1,
        "alert_price_check": 9,
    }
    assert "18:00 New York time (special hours by hours.yaml)" not in why_not(
        calendar, datetime(2026, 11, 24, 23, tzinfo=UTC)
    )
    assert "opens at 18:10 New York time (special hours by hours.yaml)" in why_not(
        calendar, datetime(2026, 11, 24, 23, tzinfo=UTC)
    )
    assert not calendar.is_open(datetime(2026, 11, 24, 15, tzinfo=UTC)), "its usual hours are no more"


@pytest.mark.parametrize("day", [SATURDAY, THANKSGIVING])
def test_a_session_can_be_added_on_a_day_that_is_closed(load: Load, day: date) -> None:
    calendar = load(f"{day}: {{opens: 10:00, closes: 10:40}}")
    assert hours(calendar, day) == ["10:00-10:40"]
    found = verdict(
        JobType.STRATEGY_EXECUTION, datetime(day.year, day.month, day.day, 15, tzinfo=UTC), calendar
    )
    assert found == calendar.session(day)
    crons = cron_strings(JobType.PRICE_UPDATE, calendar)
    assert any(cron.endswith(" 6") for cron in crons) == (day == SATURDAY)


def test_an_early_close_can_be_taken_back(load: Load) -> None:
    calendar = load('2026-11-27: {closes: "16:00"}')
    assert hours(calendar, date(2026, 11, 27)) == ["09:30-16:00"]
    assert not calendar.session(date(2026, 11, 27)).is_early_close


@pytest.mark.parametrize(
    ("row", "spans"),
    [
        ("closes: 11:00", ["09:00-11:00"]),
        ("closes: 12:00", ["09:00-11:30"]),
        ("closes: 14:00", ["09:00-11:30", "12:30-14:00"]),
        ("opens: 10:00", ["10:00-11:30", "12:30-15:30"]),
        ("opens: 12:00", ["12:30-15:30"]),
        ("opens: 13:00", ["13:00-15:30"]),
        ("opens: 11:40, closes: 12:20", ["11:40-12:20"]),
    ],
)
def test_a_lunch_break_is_kept_where_trading_goes_on_around_it(
    load: Load, row: str, spans: list[str]
) -> None:
    assert hours(load(f"2026-11-24: {{{row}}}", "XTKS"), TUESDAY) == spans


def test_a_session_of_futures_opens_in_the_evening_before(load: Load) -> None:
    calendar = load("2026-11-24: {opens: 20:00, closes: 12:00}", "CMES")
    session = calendar.session(TUESDAY)
    assert session.opens_at == datetime(2026, 11, 24, 2, tzinfo=UTC)
    assert session.closes_at == datetime(2026, 11, 24, 18, tzinfo=UTC)


def test_midnight_ends_a_day(load: Load) -> None:
    calendar = load("2026-11-24: {opens: 20:00, closes: 24:00}", "24/7")
    assert calendar.session(TUESDAY).closes_at == datetime(2026, 11, 25, tzinfo=UTC)


def test_a_change_of_the_file_is_seen_though_the_calendar_is_kept(load: Load, cache: Path) -> None:
    assert load("2026-11-24: closed").holidays[TUESDAY] == "closed by hours.yaml"
    kept = (cache / "XNYS.json").read_bytes()
    assert hours(load("2026-11-24: {closes: 12:00}"), TUESDAY) == ["09:30-12:00"]
    assert hours(load(""), TUESDAY) == ["09:30-16:00"]
    assert (cache / "XNYS.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n2031-01-02: closed", "line 2: 2031-01-02 is outside the known sessions of XNYS, 2000-01-03 to"),
        ('1999-01-04: {closes: "13:00"}', "line 1: 1999-01-04 is outside the known sessions"),
        (
            '2026-11-26: {closes: "13:00"}',
            "line 1: 2026-11-26 is no session of XNYS; to make it one say both",
        ),
        ("2026-11-24: {closes: 09:30}", "line 1: 2026-11-24 would open at 09:30 and close at 09:30;"),
        ("2026-11-24: {opens: 16:00, closes: 9:30}", "line 1: 2026-11-24 would open at 16:00 and close at"),
        ("2026-11-24: {opens: 9h}", "line 1: opens was '9h'; it should be a time such as \"09:30\"."),
        ("2026-11-24: {opens: 24:00}", "line 1: opens was '24:00'; it should be"),
        ("2026-11-24: {closes: 12:60}", "line 1: closes was '12:60'; it should be"),
        ("2026-11-24: {closes: 12:00:30}", "line 1: closes was '12:00:30'; it should be"),
        (
            "2026-11-24:\n  closes: 12:00\n  shuts: 12:00",
            "line 3: shuts is no key here; known: closed, opens,",
        ),
        (
            "2026-11-24: {reason: storm}",
            "line 1: 2026-11-24 should say when it opens, when it closes, or both",
        ),
        ("2026-11-24: {closed: storm, opens: 9:30}", "line 1: 2026-11-24 is closed, so that no other key"),
        ("2026-11-24: {closed: [storm]}", "line 1: closed should be a plain value."),
        ("2026-11-24: open", "line 1: 2026-11-24 should be `closed` or have hours, such as"),
        ("2026-11-24:", "line 1: 2026-11-24 should be `closed` or have hours, such as"),
        ("2026-02-30: closed", "line 1: the key was '2026-02-30'; it should be a date such as 2026-11-27."),
        ("24.11.2026: closed", "line 1: the key was '24.11.2026'; it should be a date"),
        ("2026-11-24: closed\n2026-11-24: closed", "line 2: 2026-11-24 stands there already, in line 1."),
        ("- 2026-11-24", "line 1: the file should have one line a date, such as `2026-11-27: closed`."),
        ("2026-11-24: {", "line 1: this is not YAML:"),
    ],
)
def test_a_mistake_is_told_by_variable_file_and_line(load: Load, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(text)
    assert str(refused.value).startswith(f"TRADING_HOURS_FILE: hours.yaml {sentence}")


def test_sessions_that_would_overlap_are_refused(load: Load) -> None:
    with pytest.raises(
        SettingsError, match="line 1: the sessions of 2026-11-23 and 2026-11-24 would overlap"
    ):
        load('2026-11-23: {closes: "18:00"}', "CMES")


def test_a_time_that_the_clocks_skip_is_refused(load: Load) -> None:
    with pytest.raises(SettingsError, match="there is no 02:30 on 2026-03-08 in America/New_York"):
        load("2026-03-08: {opens: 02:30, closes: 10:00}")


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path, load: Load) -> None:
    with pytest.raises(SettingsError, match=r"nope\.yaml cannot be read: No such file or directory\."):
        load_calendar("24/7", today=TODAY, cache_directory=None, hours_file=tmp_path / "nope.yaml")
    with pytest.raises(SettingsError, match=r"a file of special hours has at most 200000\."):
        load("#" * (BYTES_MAX + 1))
