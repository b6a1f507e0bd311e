"""Real splits in real prices: books go on as if nothing were, strategies see no fall, and nobody looks ahead.

`fixtures/adjusted_closes.csv` is an extract of the adjusted closes of `bokeh_sampledata` 2026.1
(`stocks.csv.gz`, Quandl WIKI, public domain), which we had no part in.
"""

import csv
import gzip
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.services.action_entry import enter_action
from trading_orchestration.services.actions_import import import_actions
from trading_orchestration.services.adjusted_history import adjusted_histories
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.replay import ReplayClock, replay
from trading_orchestration.services.tick import Tick
from trading_orchestration.settings import Settings
from trading_orchestration.store import portfolios, prices
from trading_orchestration.store.database import transaction
from trading_orchestration.wiring import Trading, build_trading

NewDatabase = Callable[[str], AbstractContextManager[str]]
NOW = datetime.fromisoformat("2025-01-02T00:00:00+00:00")
BEFORE, SPLIT, AFTER = date(2005, 2, 25), date(2005, 2, 28), date(2005, 3, 1)
STALE = "SELECT session FROM portfolio_snapshots WHERE stale_since IS NOT NULL ORDER BY session"
SAMPLES = resources.files("trading_orchestration") / "sample_data"
ADJUSTED = Path(__file__).parents[1] / "fixtures" / "adjusted_closes.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `TRADING_HOME` in which the calendar is made once."""
    return tmp_path_factory.mktemp("home")


def sample_bars(trading: Trading, symbol: str, first: date, last: date) -> list[Bar]:
    """The sample's raw bars of one symbol."""
    found = []
    with resources.as_file(SAMPLES / "daily_prices.csv.gz") as path, gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            day = date.fromisoformat(row["timestamp"])
            if row["symbol"] == symbol and first <= day <= last:
                session = trading.calendar.session(day)
                values: dict[str, Any] = {
                    name: Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")
                }
                found.append(
                    Bar(
                        symbol=symbol,
                        timeframe=Timeframe.DAY,
                        session=day,
                        starts_at=session.opens_at,
                        ends_at=session.closes_at,
                        source="sample",
                        **values,
                    )
                )
    return found


@contextmanager
def installation(engine: sa.Engine, home: Path, symbol: str, first: date, last: date) -> Iterator[Trading]:
    trading = build_trading(Settings(trading_home=home), engine, lambda: NOW)
    with transaction(engine) as connection:
        prices.save_bars(connection, sample_bars(trading, symbol, first, last))
        prices.ensure_instruments(connection, ["AAPL", "MSFT"])
    yield trading


def know_the_splits(trading: Trading) -> None:
    with resources.as_file(SAMPLES / "corporate_actions.csv") as path:
        import_actions(path, begin=trading.begin, calendar=trading.calendar, actor="test")


def trade_over_the_split(trading: Trading) -> None:
    """A portfolio buys AAPL while it rises and holds it; replayed over two weeks around the split."""
    sessions = trading.calendar.sessions_between(date(2005, 2, 14), date(2005, 3, 2))
    limits = RiskLimits(
        max_position_pct=Decimal("0.9"),
        max_positions=5,
        stop_loss_pct=Decimal("0.2"),
        take_profit_pct=None,
        max_daily_loss_pct=None,
        min_cash_pct=Decimal("0.02"),
    )
    new = NewPortfolio(name="growth", cash=Decimal(100_000), limits=limits)
    portfolio_id = open_portfolio(trading.engine, new, at=sessions[0].opens_at - timedelta(hours=1))
    definition = parse_definition(
        {
            "name": "trend",
            "universe": ["AAPL"],
            "factors": [{"name": "momentum", "parameters": {"lookback": 10, "saturation": 0.0}}],
            "buy_threshold": 0.5,
            "sell_threshold": -0.5,
            "sizing": {"shares": 500, "top_up": False},
        }
    )
    with transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, definition)
    clock = ReplayClock(sessions[0].opens_at)
    past = trading.at(clock)

    def run_job(job_type: JobType, at: datetime, session: Session) -> None:
        past.run_job(job_type, Tick(at, session, f"replay {at}"), trading.begin).raise_if_failed()

    for _ in replay(
        sessions, begin=trading.begin, clock=clock, give_prices=past.give_prices, run_job=run_job
    ):
        assert check_books(trading.begin) == []


def rows(trading: Trading, statement: str) -> list[dict[str, Any]]:
    with transaction(trading.engine) as connection:
        return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]


def test_a_portfolio_is_replayed_over_a_real_split_without_a_trade_or_a_loss(engine: sa.Engine, home: Path):
    with installation(engine, home, "AAPL", date(2005, 1, 3), date(2005, 3, 4)) as trading:
        know_the_splits(trading)
        trade_over_the_split(trading)
        (trade,) = rows(trading, "SELECT side, quantity, status FROM trades")
        assert (trade["side"], trade["status"]) == ("buy", "filled")
        held = {
            row["session"]: (row["quantity"], row["close"])
            for row in rows(trading, "SELECT session, quantity, close FROM portfolio_snapshot_positions")
        }
        # Closes of the file: 88.99 and, after the split, 44.86.
        assert held[BEFORE] == (500, Decimal("88.99"))
        assert held[SPLIT] == (1000, Decimal("44.86"))
        totals = {
            row["session"]: row["total_value"]
            for row in rows(trading, "SELECT session, total_value FROM portfolio_snapshots")
        }
        assert totals[SPLIT] - totals[BEFORE] == 1000 * Decimal("44.86") - 500 * Decimal("88.99")
        theirs = rows(trading, "SELECT quantity FROM paper.positions WHERE symbol = 'AAPL'")
        assert theirs == [{"quantity": 1000}]
        assert rows(trading, "SELECT id FROM discrepancies") == []


def test_without_the_action_the_same_replay_sells_into_the_split(engine: sa.Engine, home: Path):
    """What the test above would not notice if nothing were adjusted."""
    with installation(engine, home, "AAPL", date(2005, 1, 3), date(2005, 3, 4)) as trading:
        trade_over_the_split(trading)
        assert "sell" in {row["side"] for row in rows(trading, "SELECT side FROM trades")}
        assert rows(trading, STALE) == []
        # Entered late, it counts from its day: what was valued since then is to be valued anew.
        know_the_splits(trading)
        trading.apply_corporate_actions(trading.begin)
        assert [row["session"] for row in rows(trading, STALE)] == [SPLIT, AFTER, date(2005, 3, 2)]
        trading.take_snapshots([SPLIT, AFTER, date(2005, 3, 2)], trading.begin).raise_if_failed()
        assert rows(trading, STALE) == []
        assert check_books(trading.begin) == []


def history(trading: Trading, symbol: str, last: date, count: int = 5_000) -> PriceHistory:
    at = trading.calendar.session(last).closes_at
    with transaction(trading.engine) as connection:
        return adjusted_histories(connection, [symbol], Timeframe.DAY, at=at, count=count)[symbol]


def test_a_split_is_seen_from_its_day_on_and_not_before(engine: sa.Engine, home: Path):
    first = date(2005, 1, 3)
    with installation(engine, home, "AAPL", first, date(2005, 3, 4)) as trading:
        raw = sample_bars(trading, "AAPL", first, AFTER)
        know_the_splits(trading)
        closes = [float(bar.close) for bar in raw]
        assert history(trading, "AAPL", BEFORE).closes.tolist() == closes[:-2]
        seen = history(trading, "AAPL", AFTER)
        assert seen.closes.tolist() == pytest.approx([c / 2 for c in closes[:-2]] + closes[-2:])
        assert seen.highs.tolist()[0] == pytest.approx(float(raw[0].high) / 2)
        assert seen.volumes.tolist()[0] == pytest.approx(float(raw[0].volume) * 2)
        assert seen.volumes.tolist()[-2:] == [float(bar.volume) for bar in raw[-2:]]
        # At the open of its day the session has no bar yet: everything before it is adjusted.
        at = trading.calendar.session(SPLIT).opens_at
        with transaction(trading.engine) as connection:
            (early,) = adjusted_histories(connection, ["AAPL"], Timeframe.DAY, at=at, count=3).values()
        assert early.closes.tolist() == pytest.approx([c / 2 for c in closes[-5:-2]])


@pytest.mark.parametrize(("symbol", "last"), [("AAPL", date(2012, 8, 8)), ("MSFT", date(2003, 2, 18))])
def test_our_split_factors_are_those_of_an_independent_source(
    engine: sa.Engine, home: Path, symbol: str, last: date
):
    """Up to the first dividend their adjusted closes and ours differ by one constant factor."""
    with installation(engine, home, symbol, date(2000, 3, 1), last) as trading:
        know_the_splits(trading)
        sessions = [bar.session for bar in sample_bars(trading, symbol, date(2000, 3, 1), last)]
        ours = dict(zip(sessions, history(trading, symbol, last).closes.tolist(), strict=True))
    with ADJUSTED.open() as file:
        theirs = {
            date.fromisoformat(row["session"]): float(row["adjusted_close"])
            for row in csv.DictReader(file)
            if row["symbol"] == symbol and row["session"] <= last.isoformat()
        }
    assert len(theirs) > 14
    factor = theirs[last] / ours[last]
    for session, adjusted in theirs.items():
        assert adjusted / ours[session] == pytest.approx(factor, rel=1e-9), session


def test_a_dividend_is_adjusted_by_the_close_before_it(engine: sa.Engine, home: Path):
    """Microsoft paid 3.08 on 2004-11-15. The source adjusts by the close of the day itself, which a strategy
    cannot know at its open: 27.39 / (27.39 + 3.08), where we take 1 − 3.08 / 29.97."""
    ex = date(2004, 11, 15)
    with installation(engine, home, "MSFT", date(2004, 11, 1), ex) as trading:
        new = NewAction(kind=ActionKind.DIVIDEND, symbol="MSFT", on=ex, cash_per_unit=Decimal("3.08"))
        enter_action(trading.begin, new, calendar=trading.calendar, source="test", actor="test")
        seen = history(trading, "MSFT", ex).closes.tolist()
    assert seen[-1] == 27.39
    assert seen[-2] / 29.97 == pytest.approx(1 - 3.08 / 29.97, rel=1e-12)
    with ADJUSTED.open() as file:
        theirs = {row["session"]: float(row["adjusted_close"]) for row in csv.DictReader(file)}
    source = (theirs["2004-11-12"] / 29.97) / (theirs["2004-11-15"] / 27.39)
    assert source == pytest.approx(27.39 / (27.39 + 3.08), rel=1e-6)


def test_a_new_name_goes_on_with_the_history_of_the_old_one(engine: sa.Engine, home: Path):
    with installation(engine, home, "AAPL", date(2005, 2, 1), BEFORE) as trading:
        later = sample_bars(trading, "AAPL", SPLIT, date(2005, 3, 4))
        know_the_splits(trading)
        renamed = NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="AAPL", on=AFTER, new_symbol="PEAR")
        enter_action(trading.begin, renamed, calendar=trading.calendar, source="test", actor="test")
        with transaction(trading.engine) as connection:
            prices.ensure_instruments(connection, ["PEAR"])
            prices.save_bars(connection, [later[0], *(replace(bar, symbol="PEAR") for bar in later[1:])])
        before = history(trading, "AAPL", SPLIT).closes.tolist()
        after = [float(bar.close) for bar in later[1:]]
        assert history(trading, "PEAR", date(2005, 3, 4)).closes.tolist() == pytest.approx(before + after)
        assert history(trading, "PEAR", date(2005, 3, 4), count=6).closes.tolist() == pytest.approx(
            (before + after)[-6:]
        )
