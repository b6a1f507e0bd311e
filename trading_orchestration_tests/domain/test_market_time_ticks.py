from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import (
    MarketCalendar,
    NotATick,
    Session,
    cron_strings,
    ticks,
    verdict,
)
from trading_orchestration_tests.fixtures.market_calendars import (
    CALENDARS,
    CHANGE_OF_CLOCKS,
    FUTURES_WEEK,
    INDEPENDENCE_WEEK,
    NEW_YORK,
    ROUND_THE_CLOCK,
    TEL_AVIV_WEEK,
    TOKYO_WEEK,
    new_york,
    session_of,
)

REGULAR = INDEPENDENCE_WEEK.session(date(2024, 7, 2))
EARLY = INDEPENDENCE_WEEK.session(date(2024, 7, 3))


def on_clocks(instants: tuple[datetime, ...], zone: ZoneInfo = NEW_YORK) -> list[str]:
    return [f"{instant.astimezone(zone):%H:%M}" for instant in instants]


# What the table of jobs says, worked out by hand: number of ticks, first, last.
@pytest.mark.parametrize(
    ("job_type", "regular", "early"),
    [
        (JobType.STRATEGY_EXECUTION, (26, "09:30", "15:45"), (14, "09:30", "12:45")),
        (JobType.ORDER_STATUS_CHECK, (396, "09:30", "16:05"), (216, "09:30", "13:05")),
        (JobType.POSITION_SYNC, (81, "09:30", "16:10"), (45, "09:30", "13:10")),
        (JobType.PRICE_UPDATE, (79, "09:30", "16:00"), (43, "09:30", "13:00")),
        (JobType.PORTFOLIO_SNAPSHOT, (1, "16:05", "16:05"), (1, "13:05", "13:05")),
        (JobType.ALERT_PRICE_CHECK, (79, "09:30", "16:00"), (43, "09:30", "13:00")),
    ],
)
def test_a_session_has_the_ticks_of_the_table(
    job_type: JobType, regular: tuple[int, str, str], early: tuple[int, str, str]
) -> None:
    for session, (number, first, last) in ((REGULAR, regular), (EARLY, early)):
        of_session = ticks(job_type, session)
        on = on_clocks(of_session)
        assert (len(on), on[0], on[-1]) == (number, first, last)
        assert all(tick.tzinfo is UTC for tick in of_session)


@pytest.mark.parametrize(
    ("job_type", "every"),
    [
        (JobType.STRATEGY_EXECUTION, 15),
        (JobType.ORDER_STATUS_CHECK, 1),
        (JobType.POSITION_SYNC, 5),
        (JobType.PRICE_UPDATE, 5),
        (JobType.ALERT_PRICE_CHECK, 5),
    ],
)
def test_ticks_lie_evenly_apart(job_type: JobType, every: int) -> None:
    of_session = ticks(job_type, REGULAR)
    gaps = {after - before for before, after in pairwise(of_session)}
    assert gaps == {timedelta(minutes=every)}


@pytest.mark.parametrize(
    ("day", "open_in_utc"),
    [("2024-03-08", "14:30"), ("2024-03-11", "13:30"), ("2024-11-01", "13:30"), ("2024-11-04", "14:30")],
)
def test_ticks_keep_to_the_exchanges_clocks_over_daylight_saving_changes(day: str, open_in_utc: str) -> None:
    of_session = ticks(JobType.STRATEGY_EXECUTION, session_of(day))
    assert f"{of_session[0]:%H:%M}" == open_in_utc
    assert on_clocks(of_session)[-1] == "15:45"


def test_a_close_between_two_ticks_ends_them_at_the_one_before() -> None:
    odd = session_of("2024-07-02", closes="15:57")
    assert on_clocks(ticks(JobType.STRATEGY_EXECUTION, odd))[-1] == "15:45"
    assert on_clocks(ticks(JobType.PRICE_UPDATE, odd))[-1] == "15:55"
    assert on_clocks(ticks(JobType.POSITION_SYNC, odd))[-1] == "16:05"
    assert on_clocks(ticks(JobType.PORTFOLIO_SNAPSHOT, odd)) == ["16:02"]


def test_a_lunch_break_is_treated_as_a_close_and_an_open() -> None:
    session = TOKYO_WEEK.sessions[0]
    strategies = on_clocks(ticks(JobType.STRATEGY_EXECUTION, session), TOKYO_WEEK.timezone)
    assert [time for time in strategies if "11:00" <= time <= "13:00"] == [
        "11:00", "11:15", "12:30", "12:45", "13:00",
    ]  # fmt: skip
    checks = on_clocks(ticks(JobType.ORDER_STATUS_CHECK, session), TOKYO_WEEK.timezone)
    assert "11:35" in checks
    assert not {"11:36", "12:29"} & set(checks)
    assert len(ticks(JobType.PORTFOLIO_SNAPSHOT, session)) == 1


def test_a_break_shorter_than_the_time_after_a_close_gives_no_tick_twice() -> None:
    session = session_of("2024-07-02", rest=("12:00", "12:05"))
    of_session = ticks(JobType.POSITION_SYNC, session)
    assert len(of_session) == len(set(of_session)) == 81
    assert list(of_session) == sorted(of_session)


STRATEGIES_RUN = "strategy_execution runs every 15 minutes"


def reason(job_type: JobType, instant: str) -> str:
    outcome = verdict(job_type, new_york(instant), INDEPENDENCE_WEEK)
    assert isinstance(outcome, NotATick)
    return outcome.reason


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (
            "2024-07-03 13:00",
            f"2024-07-03 closed at 13:00 New York time; {STRATEGIES_RUN} from 09:30 to before 13:00.",
        ),
        (
            "2024-07-02 09:15",
            f"2024-07-02 opens at 09:30 New York time; {STRATEGIES_RUN} from 09:30 to before 16:00.",
        ),
        (
            "2024-07-02 10:07",
            f"10:07 New York time is not a tick; {STRATEGIES_RUN} from 09:30 to before 16:00.",
        ),
        ("2024-07-04 10:00", "2024-07-04 is a holiday (Independence Day); XNYS opens again on 2024-07-05."),
        ("2024-07-06 10:00", "2024-07-06 is a Saturday; XNYS opens again on 2024-07-08."),
        ("2024-07-09 10:00", "2024-07-09 is outside the known sessions of XNYS, 2024-07-01 to 2024-07-08."),
        ("2024-06-30 10:00", "2024-06-30 is outside the known sessions of XNYS, 2024-07-01 to 2024-07-08."),
    ],
)
def test_an_instant_that_is_no_tick_is_refused_in_a_sentence(instant: str, expected: str) -> None:
    assert reason(JobType.STRATEGY_EXECUTION, instant) == expected


@pytest.mark.parametrize("same_weekday", ["2024-06-27", "2024-07-11"])
def test_a_closed_weekday_without_a_name_is_a_holiday(same_weekday: str) -> None:
    days = sorted(("2024-07-03", "2024-07-05", same_weekday))
    nameless = MarketCalendar("XNYS", NEW_YORK, tuple(session_of(day) for day in days))
    outcome = verdict(JobType.PRICE_UPDATE, new_york("2024-07-04 10:00"), nameless)
    assert outcome == NotATick("2024-07-04 is a holiday; XNYS opens again on 2024-07-05.")


def test_the_sentence_about_a_single_tick_tells_its_time() -> None:
    assert reason(JobType.PORTFOLIO_SNAPSHOT, "2024-07-03 16:05") == (
        "2024-07-03 closed at 13:00 New York time; portfolio_snapshot runs once, at 13:05."
    )


def test_the_sentence_during_a_lunch_break_names_both_parts_of_the_session() -> None:
    noon = datetime(2024, 7, 1, 12, 0, tzinfo=TOKYO_WEEK.timezone)
    outcome = verdict(JobType.PRICE_UPDATE, noon, TOKYO_WEEK)
    assert outcome == NotATick(
        "XTKS rests at 12:00 Tokyo time; price_update runs every 5 minutes from 09:00 to 11:30 "
        "and from 12:30 to 15:00."
    )


@given(
    calendar=st.sampled_from((*CALENDARS, TEL_AVIV_WEEK)),
    job_type=st.sampled_from(JobType),
    minute=st.integers(-60, 9 * 24 * 60),
)
def test_a_verdict_names_a_session_for_its_ticks_and_a_reason_for_all_else(
    calendar: MarketCalendar, job_type: JobType, minute: int
) -> None:
    instant = calendar.sessions[0].opens_at + timedelta(minutes=minute)
    sessions = [session for session in calendar.sessions if instant in ticks(job_type, session)]
    outcome = verdict(job_type, instant, calendar)
    if sessions:
        assert outcome == sessions[-1]
    else:
        assert isinstance(outcome, NotATick)
        assert outcome.reason.endswith(".")


def test_a_snapshot_after_midnight_belongs_to_the_session_that_closed() -> None:
    after_midnight = datetime(2024, 7, 2, 0, 5, tzinfo=UTC)
    assert verdict(JobType.PORTFOLIO_SNAPSHOT, after_midnight, ROUND_THE_CLOCK) == ROUND_THE_CLOCK.sessions[0]


def test_a_tick_of_two_sessions_belongs_to_the_one_that_opens() -> None:
    midnight = datetime(2024, 7, 2, 0, 0, tzinfo=UTC)
    assert verdict(JobType.POSITION_SYNC, midnight, ROUND_THE_CLOCK) == ROUND_THE_CLOCK.sessions[1]


def test_a_second_beside_a_tick_is_no_tick() -> None:
    assert "10:00:01 New York time is not a tick" in reason(JobType.PRICE_UPDATE, "2024-07-02 10:00:01")


def cron_matches(cron: str, instant: datetime) -> bool:
    minute, hour, day, month, weekday = cron.split()
    assert (day, month) == ("*", "*")
    fields = ((minute, instant.minute, 60), (hour, instant.hour, 24), (weekday, instant.isoweekday() % 7, 7))
    return all(value in cron_values(field, size) for field, value, size in fields)


def cron_values(field: str, size: int) -> set[int]:
    """The values of one cron field, read by the rules of crontab(5)."""
    values: set[int] = set()
    for part in field.split(","):
        bounds, _, step = part.partition("/")
        low, _, high = ("0", "-", str(size - 1)) if bounds == "*" else bounds.partition("-")
        values.update(range(int(low), int(high or low) + 1, int(step or 1)))
    assert values <= set(range(size))
    return values


@pytest.mark.parametrize(
    "calendar", [*CALENDARS, TEL_AVIV_WEEK, CHANGE_OF_CLOCKS], ids=lambda calendar: calendar.name
)
@pytest.mark.parametrize("job_type", JobType)
def test_cron_strings_contain_every_tick(calendar: MarketCalendar, job_type: JobType) -> None:
    crons = cron_strings(job_type, calendar)
    for session in calendar.sessions:
        for tick in map(calendar.local, ticks(job_type, session)):
            assert any(cron_matches(cron, tick) for cron in crons), tick


@pytest.mark.parametrize(
    ("job_type", "expected"),
    [
        (JobType.STRATEGY_EXECUTION, ["30,45 9 * * 1-5", "*/15 10-15 * * 1-5"]),
        (JobType.ORDER_STATUS_CHECK, ["30-59 9 * * 1-5", "* 10-15 * * 1-5", "0-5 16 * * 1-5"]),
        (JobType.PORTFOLIO_SNAPSHOT, ["5 13,16 * * 1-5"]),
    ],
)
def test_cron_strings_are_as_tight_as_the_sessions_allow(job_type: JobType, expected: list[str]) -> None:
    """Two weeks in which every weekday has a regular session and an early close."""
    days = [f"2024-07-{number:02}" for number in (8, 9, 10, 11, 12, 15, 16, 17, 18, 19)]
    sessions = tuple(session_of(day, closes="13:00" if day < "2024-07-13" else "16:00") for day in days)
    calendar = MarketCalendar("XNYS", NEW_YORK, sessions)
    assert cron_strings(job_type, calendar) == expected


def test_cron_strings_reach_into_the_evening_before_and_sundays() -> None:
    assert cron_strings(JobType.STRATEGY_EXECUTION, FUTURES_WEEK) == [
        "*/15 0-15 * * 1,2",
        "*/15 17-23 * * 0,1",
    ]
    assert any(cron.endswith(" 0") for cron in cron_strings(JobType.STRATEGY_EXECUTION, TEL_AVIV_WEEK))


def test_dagster_takes_the_cron_strings() -> None:
    import dagster

    @dagster.op
    def nothing() -> None: ...

    job = dagster.GraphDefinition("nothing_at_all", node_defs=[nothing]).to_job()
    for job_type in JobType:
        for calendar in (*CALENDARS, TEL_AVIV_WEEK):
            schedule = dagster.ScheduleDefinition(
                job=job,
                cron_schedule=cron_strings(job_type, calendar),
                execution_timezone=calendar.timezone.key,
            )
            assert schedule.cron_schedule == cron_strings(job_type, calendar)


def test_a_session_compares_by_its_values() -> None:
    assert session_of("2024-07-02") == REGULAR
    assert Session(*REGULAR) == REGULAR
