import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import (
    MarketCalendar,
    NotATick,
    Session,
    cron_strings,
    ticks,
    verdict,
)
from trading_orchestration.errors import SettingsError
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration_tests.fixtures.nyse_rules import (
    is_daylight_saving_time,
    nyse_closures,
    nyse_early_closes,
)

TODAY = date(2026, 11, 23)
Load = Callable[..., MarketCalendar]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Calendars of one cache for all tests, so that each is built once."""
    directory = tmp_path_factory.mktemp("calendars")
    return partial(load_calendar, today=TODAY, cache_directory=directory)


@pytest.fixture(scope="session")
def new_york(load: Load) -> MarketCalendar:
    return load("XNYS")


# ── The New York Stock Exchange against its own rules ──


def test_new_yorks_sessions_are_the_weekdays_that_its_rules_leave_open(new_york: MarketCalendar) -> None:
    first, last = date(2000, 1, 1), date(2028, 12, 31)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    closed = nyse_closures()
    expected = [day for day in days if day.weekday() < 5 and day not in closed]
    assert [session.date for session in new_york.sessions] == expected


def test_new_yorks_early_closes_are_those_of_its_rules(new_york: MarketCalendar) -> None:
    early = {session.date for session in new_york.sessions if session.is_early_close}
    assert early == nyse_early_closes()
    closes = {
        new_york.local(session.closes_at).time() for session in new_york.sessions if session.date in early
    }
    assert closes == {time(13)}


def test_new_york_opens_at_half_past_nine_on_both_sides_of_every_change_of_clocks(
    new_york: MarketCalendar,
) -> None:
    for session in new_york.sessions:
        offset = timedelta(hours=4 if is_daylight_saving_time(session.date) else 5)
        midnight = datetime(session.date.year, session.date.month, session.date.day, tzinfo=UTC) + offset
        closes = timedelta(hours=13 if session.is_early_close else 16)
        assert session.opens_at == midnight + timedelta(hours=9, minutes=30)
        assert session.closes_at == midnight + closes


#: The trading days of the years 2016 to 2025, and how many of them closed at 13:00, as nyse.com gave them.
SESSIONS = 252 + 251 + 251 + 252 + 253 + 252 + 251 + 250 + 252 + 250
EARLY = 1 + 2 + 3 + 3 + 2 + 1 + 1 + 2 + 3 + 3
#: Ticks of a whole day and of a short one, from the table of jobs.
TICKS_OF_TEN_YEARS = {
    JobType.STRATEGY_EXECUTION: (SESSIONS - EARLY) * 26 + EARLY * 14,
    JobType.ORDER_STATUS_CHECK: (SESSIONS - EARLY) * 396 + EARLY * 216,
    JobType.POSITION_SYNC: (SESSIONS - EARLY) * 81 + EARLY * 45,
    JobType.PRICE_UPDATE: (SESSIONS - EARLY) * 79 + EARLY * 43,
    JobType.PORTFOLIO_SNAPSHOT: SESSIONS,
    JobType.ALERT_PRICE_CHECK: (SESSIONS - EARLY) * 79 + EARLY * 43,
}
#: By hand, from the table of jobs: minutes between ticks, and minutes from the close to the last one.
CADENCES = {
    JobType.STRATEGY_EXECUTION: (15, -15),
    JobType.ORDER_STATUS_CHECK: (1, 5),
    JobType.POSITION_SYNC: (5, 10),
    JobType.PRICE_UPDATE: (5, 0),
    JobType.ALERT_PRICE_CHECK: (5, 0),
}


@pytest.mark.parametrize("job_type", JobType)
def test_every_tick_of_ten_years_follows_from_the_rules(new_york: MarketCalendar, job_type: JobType) -> None:
    """All ticks from 2016 to 2025, over holidays, early closes and changes of clocks, reckoned by hand."""
    closed, early = nyse_closures(), nyse_early_closes()
    counted = 0
    for number in range((date(2025, 12, 31) - date(2016, 1, 1)).days + 1):
        day = date(2016, 1, 1) + timedelta(days=number)
        is_open = day.weekday() < 5 and day not in closed
        assert new_york.is_session(day) == is_open
        if not is_open:
            continue
        offset = 4 if is_daylight_saving_time(day) else 5
        opens = datetime(day.year, day.month, day.day, 9 + offset, 30, tzinfo=UTC)
        length = 210 if day in early else 390
        every, after = CADENCES.get(job_type, (1, 0))
        minutes = range(0, length + after + 1, every) if job_type in CADENCES else [length + 5]
        expected = tuple(opens + timedelta(minutes=minute) for minute in minutes)
        assert ticks(job_type, new_york.session(day)) == expected
        counted += len(expected)
    assert counted == TICKS_OF_TEN_YEARS[job_type]


@pytest.mark.parametrize(
    ("instant", "sentence"),
    [
        (
            "2024-11-29T18:00:00Z",
            "2024-11-29 closed at 13:00 New York time; strategy_execution runs every 15",
        ),
        ("2024-07-04T15:00:00Z", "2024-07-04 is a holiday (July 4th); XNYS opens again on 2024-07-05."),
        ("2025-01-09T15:00:00Z", "2025-01-09 is a holiday; XNYS opens again on 2025-01-10."),
        ("2024-07-06T15:00:00Z", "2024-07-06 is a Saturday; XNYS opens again on 2024-07-08."),
        (
            "2029-01-02T15:00:00Z",
            "2029-01-02 is outside the known sessions of XNYS, 2000-01-03 to 2028-12-29.",
        ),
    ],
)
def test_a_day_without_trading_is_explained(new_york: MarketCalendar, instant: str, sentence: str) -> None:
    outcome = verdict(JobType.STRATEGY_EXECUTION, datetime.fromisoformat(instant), new_york)
    assert isinstance(outcome, NotATick)
    assert outcome.reason.startswith(sentence)


# ── Every kind of exchange ──


def cron_times(crons: list[str]) -> set[tuple[int, int, int]]:
    """(weekday from Sunday, hour, minute) of cron strings, read by the rules of crontab(5)."""
    found = set()
    for cron in crons:
        minute, hour, _, _, weekday = cron.split()
        found |= {
            (on, at, of) for on in field(weekday, 7) for at in field(hour, 24) for of in field(minute, 60)
        }
    return found


def field(text: str, size: int) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        bounds, _, step = part.partition("/")
        low, _, high = ("0", "-", str(size - 1)) if bounds == "*" else bounds.partition("-")
        values.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return values


# New York, London, lunch breaks, opens at 09:32, southern and no daylight saving, nights, always open.
EXCHANGES = ["XNYS", "XLON", "XHKG", "XTKS", "XKAR", "XASX", "BVMF", "CMES", "us_futures", "24/5", "24/7"]
# exchange_calendars 4.13 cannot build these on pandas 3.1; where it can, they must pass like the others.
EXCHANGES_OF_SOME_VERSIONS = ["XTAE", "ASEX"]


@pytest.mark.parametrize("name", [*EXCHANGES, *EXCHANGES_OF_SOME_VERSIONS])
def test_cron_strings_contain_every_tick_of_every_session(load: Load, name: str) -> None:
    try:
        calendar = load(name)
    except SettingsError as error:
        if name not in EXCHANGES_OF_SOME_VERSIONS:
            raise
        pytest.skip(str(error))
    for job_type in JobType:
        times = cron_times(cron_strings(job_type, calendar))
        for session in one_session_of_each_kind(calendar):
            for tick in map(calendar.local, ticks(job_type, session)):
                assert (tick.isoweekday() % 7, tick.hour, tick.minute) in times, (job_type, session)


def one_session_of_each_kind(calendar: MarketCalendar) -> list[Session]:
    """Sessions that open and close at the same local times on the same weekday have the same local ticks."""
    kinds = {}
    for session in calendar.sessions:
        spans = tuple(
            (calendar.local(start).time(), calendar.local(end).time()) for start, end in session.spans
        )
        kinds[session.date.weekday(), spans, session.closes_at - session.opens_at] = session
    return list(kinds.values())


@pytest.mark.parametrize("name", EXCHANGES)
def test_sessions_are_sorted_and_do_not_overlap(load: Load, name: str) -> None:
    sessions = load(name).sessions
    for before, after in pairwise(sessions):
        assert before.date < after.date
        assert before.opens_at < before.closes_at <= after.opens_at


@pytest.mark.parametrize("name", EXCHANGES)
def test_every_tick_is_found_again_by_its_verdict(load: Load, name: str) -> None:
    calendar = load(name)
    for session in calendar.sessions[5::900]:
        for job_type in (JobType.STRATEGY_EXECUTION, JobType.PORTFOLIO_SNAPSHOT):
            assert {verdict(job_type, tick, calendar) for tick in ticks(job_type, session)} == {session}


def test_new_yorks_cron_strings_do_not_change_unseen(new_york: MarketCalendar) -> None:
    """A schedule whose cron string changes can fire for a tick that is past."""
    assert {job_type.value: cron_strings(job_type, new_york) for job_type in JobType} == {
        "strategy_execution": ["30,45 9 * * 1-5", "*/15 10-15 * * 1-5"],
        "order_status_check": ["30-59 9 * * 1-5", "* 10-15 * * 1-5", "0-5 16 * * 1-5"],
        "position_sync": ["30,35,40,45,50,55 9 * * 1-5", "*/5 10-15 * * 1-5", "0,5,10 16 * * 1-5"],
        "price_update": ["30,35,40,45,50,55 9 * * 1-5", "*/5 10-15 * * 1-5", "0 16 * * 1-5"],
        "portfolio_snapshot": ["5 13,16 * * 1-5"],
        "alert_price_check": ["30,35,40,45,50,55 9 * * 1-5", "*/5 10-15 * * 1-5", "0 16 * * 1-5"],
    }


def test_tokyo_rests_at_lunch(load: Load) -> None:
    tokyo = load("XTKS")
    session = tokyo.session(date(2024, 7, 3))
    spans = [(f"{tokyo.local(start):%H:%M}", f"{tokyo.local(end):%H:%M}") for start, end in session.spans]
    assert spans == [("09:00", "11:30"), ("12:30", "15:00")]


def test_a_calendar_begins_and_ends_where_the_package_knows_it(load: Load) -> None:
    """Saudi sessions are known from 2021 on, Shanghai's in this version to the end of 2026."""
    assert load("XSAU").sessions[0].date >= date(2021, 1, 1)
    assert load("XSHG").sessions[-1].date < date(2029, 1, 1)


def test_a_calendar_reaches_to_the_end_of_the_year_after_the_next(new_york: MarketCalendar) -> None:
    assert new_york.sessions[0].date == date(2000, 1, 3)
    assert new_york.sessions[-1].date == date(2028, 12, 29)


# ── Names ──


@pytest.mark.parametrize(("name", "hint"), [("XNYX", "XNYS"), ("xlon", "XLON"), ("NASDAC", "NASDAQ")])
def test_an_unknown_name_is_refused_with_near_ones(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"knows no calendar '{name}'; did you mean .*{hint}"):
        load_calendar(name, today=TODAY, cache_directory=None)


def test_a_name_like_none_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="XNYS is the New York Stock Exchange"):
        load_calendar("../../etc", today=TODAY, cache_directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_calendar_that_the_package_cannot_build_is_a_settings_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import exchange_calendars

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(exchange_calendars, "get_calendar", refuse)
    with pytest.raises(
        SettingsError, match=r"cannot build the calendar 'XNYS' \(NotImplementedError: implemented"
    ):
        load_calendar("XNYS", today=TODAY, cache_directory=None)


# ── The file ──


def test_a_kept_calendar_equals_a_built_one_and_needs_no_pandas(tmp_path: Path) -> None:
    built = load_calendar("XHKG", today=TODAY, cache_directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["XHKG.json"]
    assert load_calendar("XHKG", today=TODAY, cache_directory=tmp_path) == built
    code = f"""
import sys
from datetime import date
from pathlib import Path
from trading_orchestration.market_data.calendars import load_calendar
load_calendar("XHKG", today=date(2026, 1, 1), cache_directory=Path({str(tmp_path)!r}))
assert not {{"pandas", "numpy", "exchange_calendars"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"opens":[0,', '"opens":[60,'),
        lambda _: "\x00" * 100,
        lambda _: "[]\n[]",
        lambda text: text.replace("\n", ""),
    ],
    ids=["empty", "cut off", "changed", "zeros", "other JSON", "one line"],
)
def test_a_damaged_file_only_costs_time(tmp_path: Path, damage: Callable[[str], str]) -> None:
    built = load_calendar("24/5", today=TODAY, cache_directory=tmp_path)
    path = tmp_path / "24-5.json"
    whole = path.read_text()
    assert damage(whole) != whole
    path.write_text(damage(whole))
    assert load_calendar("24/5", today=TODAY, cache_directory=tmp_path) == built
    assert path.read_text() == whole


def test_bytes_that_are_no_text_only_cost_time(tmp_path: Path) -> None:
    (tmp_path / "24-5.json").write_bytes(b"\xff\xfe\x00")
    assert load_calendar("24/5", today=TODAY, cache_directory=tmp_path).sessions


def test_a_file_of_another_year_or_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "24-5.json"
    load_calendar("24/5", today=date(2020, 1, 1), cache_directory=tmp_path)
    assert json.loads(path.read_text().split("\n")[0])["key"][-1] == "2022-12-31"
    later = load_calendar("24/5", today=TODAY, cache_directory=tmp_path)
    assert later.sessions[-1].date == date(2028, 12, 29)
    monkeypatch.setattr("trading_orchestration.market_data.calendars.version", lambda _: "99")
    load_calendar("24/5", today=TODAY, cache_directory=tmp_path)
    assert json.loads(path.read_text().split("\n")[0])["key"][2] == "99"


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    calendar = load_calendar("24/5", today=TODAY, cache_directory=tmp_path / "file" / "calendars")
    assert calendar.sessions


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    assert load_calendar("24/5", today=TODAY, cache_directory=tmp_path).sessions
    assert list(tmp_path.iterdir()) == []
