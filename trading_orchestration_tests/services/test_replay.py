"""Past sessions give the same trades every time, at every tick of every job, and never look ahead."""

import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from itertools import groupby
from pathlib import Path

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar, Session, ticks
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.services.bars_import import import_bars
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.replay import JOB_ORDER, ReplayClock, instants, replay
from trading_orchestration.services.replay_result import trade_list
from trading_orchestration.services.tick import Tick
from trading_orchestration.settings import Settings
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.wiring import Trading, build_trading
from trading_orchestration_tests.fixtures.market_calendars import session_of

NewDatabase = Callable[[str], AbstractContextManager[str]]
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.3"),
    max_positions=5,
    stop_loss_pct=Decimal("0.05"),
    take_profit_pct=Decimal("0.1"),
    max_daily_loss_pct=None,
    min_cash_pct=Decimal("0.02"),
)
FIRST, LAST = date(2012, 1, 3), date(2012, 1, 31)
#: Before and after clocks change in spring and autumn, and the short session before Independence Day.
DAYS = ("2024-03-08", "2024-03-11", "2024-11-01", "2024-11-04", "2024-07-03")


def session_on(day: str) -> Session:
    closes = "13:00" if day == "2024-07-03" else "16:00"
    return session_of(day, closes=closes, is_early_close=closes == "13:00")


def minute_bars(session: Session, symbol: str = "AAPL", start: int = 100) -> list[Bar]:
    """A price that rises by a cent a minute; each bar opens where the last one closed."""
    count = (session.closes_at - session.opens_at) // timedelta(minutes=1)
    return [_minute_bar(session, symbol, number, Decimal(start)) for number in range(count)]


def _minute_bar(session: Session, symbol: str, number: int, start: Decimal) -> Bar:
    opening = start + Decimal(number) / 100
    starts_at = session.opens_at + timedelta(minutes=number)
    return Bar(
        symbol=symbol,
        timeframe=Timeframe.MINUTE,
        session=session.date,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=1),
        open=opening,
        high=opening + Decimal("0.02"),
        low=opening,
        close=opening + Decimal("0.01"),
        volume=Decimal(1),
        source="test",
    )


def daily_bar(session: Session, symbol: str = "AAPL") -> Bar:
    return replace(
        _minute_bar(session, symbol, 0, Decimal(100)), timeframe=Timeframe.DAY, ends_at=session.closes_at
    )


@pytest.mark.parametrize("day", DAYS)
def test_minute_bars_drive_every_tick_of_every_job(day: str):
    session = session_on(day)
    found = [(job, instant.at) for instant in instants(session, minute_bars(session)) for job in instant.jobs]
    for job_type in JobType:
        assert [at for job, at in found if job is job_type] == list(ticks(job_type, session))
    minutes = (session.closes_at - session.opens_at) // timedelta(minutes=1)
    assert len([1 for job, _ in found if job is JobType.ORDER_STATUS_CHECK]) == minutes + 6


@pytest.mark.parametrize("day", DAYS)
def test_at_each_minute_the_bar_that_ended_and_the_price_now_are_given(day: str):
    session = session_on(day)
    given = [i for i in instants(session, minute_bars(session)) if i.prices]
    assert [i.at for i in given] == [session.opens_at + timedelta(minutes=n) for n in range(len(given))]
    first, second, *_, last = given
    assert (first.prices[0].price, first.prices[0].ended) == (Decimal(100), None)
    assert second.prices[0].price == Decimal("100.01")
    assert second.prices[0].ended is not None
    assert second.prices[0].ended.ends_at == second.at
    assert last.at == session.closes_at
    assert last.prices[0].price == Decimal(100) + Decimal(len(given) - 1) / 100


@pytest.mark.parametrize("day", DAYS)
def test_daily_bars_give_the_open_the_close_and_the_snapshot(day: str):
    session = session_on(day)
    found = list(instants(session, [daily_bar(session)]))
    assert [i.at for i in found] == [
        session.opens_at,
        session.closes_at,
        session.closes_at + timedelta(minutes=5),
    ]
    assert [len(i.prices) for i in found] == [1, 1, 0]
    assert found[0].prices[0].ended is None
    assert JobType.STRATEGY_EXECUTION in found[0].jobs
    assert JobType.PORTFOLIO_SNAPSHOT in found[2].jobs


def test_jobs_of_one_instant_run_in_their_order():
    session = session_on(DAYS[0])
    for instant in instants(session, minute_bars(session)):
        assert list(instant.jobs) == sorted(instant.jobs, key=JOB_ORDER.index)


@contextmanager
def installation(new_database: NewDatabase, template: str, home: Path, at: datetime) -> Iterator[Trading]:
    """On a database of its own, with the sample prices."""
    with new_database(template) as url:
        engine = create_engine(url, application_name="tests")
        try:
            trading = build_trading(Settings(trading_home=home), engine, lambda: at)
            yield trading
        finally:
            engine.dispose()


def add_portfolio(
    trading: Trading, name: str, before: datetime, *, timeframe: str, universe: list[str]
) -> None:
    new = NewPortfolio(name=name, cash=Decimal(100_000), limits=LIMITS)
    portfolio_id = open_portfolio(trading.engine, new, at=before - timedelta(hours=1))
    definition = parse_definition(
        {
            "name": "trend",
            "universe": universe,
            "timeframe": timeframe,
            "factors": [{"name": "momentum", "parameters": {"lookback": 5, "saturation": 0.0}}],
            "buy_threshold": 0.2,
            "sell_threshold": -0.2,
            "sizing": {"percent": 25},
        }
    )
    with transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, definition)


def run(trading: Trading, sessions: Sequence[Session]) -> Counter[JobType]:
    """Replay; answers how often each job ran."""
    clock = ReplayClock(sessions[0].opens_at)
    on_clock, ran = trading.at(clock), Counter[JobType]()

    def run_job(job_type: JobType, at: datetime, session: Session) -> None:
        ran[job_type] += 1
        tick = Tick(at, session, f"replay {at.isoformat()}")
        on_clock.run_job(job_type, tick, trading.begin).raise_if_failed()

    for _ in replay(
        sessions, begin=trading.begin, clock=clock, give_prices=on_clock.give_prices, run_job=run_job
    ):
        assert check_books(trading.begin) == []
    return ran


NOW = datetime.fromisoformat("2025-01-02T00:00:00+00:00")


def replayed_month(
    new_database: NewDatabase, template: str, home: Path, *, noise_after: date | None = None
) -> list[tuple[str, ...]]:
    with installation(new_database, template, home, NOW) as trading:
        import_bars(few_samples(home), begin=trading.begin, calendar=trading.calendar, now=NOW)
        if noise_after is not None:
            spoil(trading, noise_after)
        sessions = trading.calendar.sessions_between(FIRST, LAST)
        for name, universe in (("growth", ["AAPL", "GOOG", "IBM"]), ("income", ["IBM", "MSFT"])):
            add_portfolio(trading, name, sessions[0].opens_at, timeframe="day", universe=universe)
        run(trading, sessions)
        return trade_list(trading.begin)


def few_samples(folder: Path) -> Path:
    """The sample prices of the months that are looked at."""
    path = folder / "few.csv"
    if not path.exists():
        samples = resources.files("trading_orchestration") / "sample_data" / "daily_prices.csv.gz"
        header, *lines = gzip.decompress(samples.read_bytes()).decode().splitlines()
        wanted = [line for line in lines if "2011-12" <= line.split(",")[1] < "2012-02-15"]
        path.write_text("\n".join([header, *wanted]) + "\n")
    return path


def spoil(trading: Trading, after: date) -> None:
    """Other prices for everything that follows a session."""
    chance = random.Random(1)
    with transaction(trading.engine) as connection:
        end = trading.calendar.session(after).closes_at
        bars = prices.read_bars(
            connection, ["AAPL", "GOOG", "IBM", "MSFT"], Timeframe.DAY, start=end, end=NOW
        )
        wrong = []
        for _, of_symbol in groupby(bars, key=lambda bar: bar.symbol):
            for bar in of_symbol:
                factor = Decimal(chance.randint(80, 125)) / 100
                wrong.append(
                    replace(
                        bar,
                        **{name: getattr(bar, name) * factor for name in ("open", "high", "low", "close")},
                    )
                )
        prices.save_bars(connection, wrong)


def test_the_same_input_gives_the_same_trades_and_what_is_to_come_changes_none_of_the_past(
    new_database: NewDatabase, template: str, tmp_path: Path
):
    first = replayed_month(new_database, template, tmp_path)
    assert len(first) > 15
    assert replayed_month(new_database, template, tmp_path) == first
    turn = date(2012, 1, 18)
    other = replayed_month(new_database, template, tmp_path, noise_after=turn)
    until = turn.isoformat()

    def past(trades: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [trade for trade in trades if trade[0] <= until]

    assert past(other) == past(first)
    assert other != first


@pytest.mark.parametrize("day", ["2024-07-03", "2024-03-11"])
def test_a_session_of_minute_bars_is_traded_through(
    new_database: NewDatabase, template: str, tmp_path: Path, day: str
):
    """Without any daily bar: an early close, and the first session of daylight saving time."""
    with installation(new_database, template, tmp_path, NOW) as trading:
        session = trading.calendar.session(date.fromisoformat(day))
        assert (session.opens_at, session.closes_at) == session_on(day)[1:3]
        bars = minute_bars(session)
        with transaction(trading.engine) as connection:
            prices.save_bars(connection, bars)
        add_portfolio(trading, "main", session.opens_at, timeframe="minute", universe=["AAPL"])
        ran = run(trading, [session])
        assert ran == {job_type: len(ticks(job_type, session)) for job_type in JobType}
        with transaction(trading.engine) as connection:
            fills = connection.exec_driver_sql("SELECT executed_at, price FROM fills ORDER BY id").all()
            (total,) = connection.exec_driver_sql("SELECT total_value FROM portfolio_snapshots").one()
            (cash, held) = connection.exec_driver_sql(
                "SELECT amount, quantity FROM cash_balances JOIN positions USING (portfolio_id)"
            ).one()
        assert fills
        by_start = {bar.starts_at: bar.open for bar in bars}
        assert all(price == by_start[at] for at, price in fills), "filled at the price of the instant"
        assert total == cash + held * bars[-1].close


#: The short session after Thanksgiving, and sessions around both changes of the clocks, in UTC.
REAL_HOURS = {
    "2024-11-29": ("14:30", "18:00"),
    "2024-03-08": ("14:30", "21:00"),
    "2024-03-11": ("13:30", "20:00"),
    "2024-11-01": ("13:30", "20:00"),
    "2024-11-04": ("14:30", "21:00"),
}


@pytest.fixture(scope="module")
def xnys(tmp_path_factory: pytest.TempPathFactory) -> MarketCalendar:
    return load_calendar("XNYS", today=NOW.date(), cache_directory=tmp_path_factory.mktemp("calendars"))


@pytest.mark.parametrize("day", REAL_HOURS)
def test_the_exchanges_own_hours_give_every_job_its_cadence(xnys: MarketCalendar, day: str):
    """Counted by hand from the hours: every 15 and 5 minutes up to the close, every minute to 5 after it."""
    session = xnys.session(date.fromisoformat(day))
    hours = (f"{session.opens_at:%H:%M}", f"{session.closes_at:%H:%M}")
    assert hours == REAL_HOURS[day]
    minutes = 210 if day == "2024-11-29" else 390
    ran = Counter(job for i in instants(session, minute_bars(session)) for job in i.jobs)
    assert ran == {
        JobType.STRATEGY_EXECUTION: minutes // 15,
        JobType.ORDER_STATUS_CHECK: minutes + 6,
        JobType.POSITION_SYNC: minutes // 5 + 3,
        JobType.PRICE_UPDATE: minutes // 5 + 1,
        JobType.ALERT_PRICE_CHECK: minutes // 5 + 1,
        JobType.PORTFOLIO_SNAPSHOT: 1,
    }
    assert max(i.at for i in instants(session, minute_bars(session)) if i.prices) == session.closes_at


def test_a_strategy_sees_only_bars_that_are_complete_at_its_tick(engine: sa.Engine, xnys: MarketCalendar):
    """At each tick of a short session: the bar that ends then is seen, the one that begins is not."""
    session = xnys.session(date(2024, 11, 29))
    bars = minute_bars(session)
    found = ticks(JobType.STRATEGY_EXECUTION, session)
    assert len(found) == 14
    with transaction(engine) as connection:
        prices.save_bars(connection, bars)
        histories = [
            prices.read_histories(connection, ["AAPL"], Timeframe.MINUTE, at=tick, count=1000)
            for tick in found
        ]
    for tick, seen in zip(found, histories, strict=True):
        complete = [float(bar.close) for bar in bars if bar.ends_at <= tick]
        assert (list(seen["AAPL"].closes) if seen else []) == complete
