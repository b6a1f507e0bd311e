"""Bars come in ranges, again without a change, and what is wrong with them is named."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.price import Bar, Timeframe
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import InvalidInputError, MarketDataUnavailableError
from trading_orchestration.market_data.source import QuoteBatch
from trading_orchestration.services import daily_bars
from trading_orchestration.services.bars_check import check_complete, check_days, check_plausible
from trading_orchestration.services.daily_bars import FetchedBars, fetch_daily_bars, wanted_bars
from trading_orchestration.services.price_data import PriceDataService
from trading_orchestration.store import bar_checks, prices
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.services.action_world import ActionWorld
from trading_orchestration_tests.services.trading_world import AAPL, IBM, MSFT, daily_bar

NewDatabase = Callable[[str], AbstractContextManager[str]]
NOW = datetime(2024, 7, 8, 21, tzinfo=UTC)
SESSIONS = ActionWorld.calendar.sessions


@dataclass
class Vendor:
    """A source that has the bars it is given, and fails where it is told to; keeps what it was asked."""

    bars: list[Bar]
    name: str = "alpaca"
    max_batch_size: int = 100
    broken: str | None = None
    asked: list[tuple[Sequence[str], datetime, datetime]] = field(default_factory=list)

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        raise AssertionError(f"bars come without quotes, and those of {symbols} were asked for")

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        assert timeframe is Timeframe.DAY
        self.asked.append((symbols, start, end))
        if self.broken in symbols:
            raise MarketDataUnavailableError("gone")
        return [b for b in self.bars if b.symbol in symbols and start <= b.starts_at < end]


def bars_of(symbol: str, *closes: str | int, first: int = 0) -> list[Bar]:
    days = SESSIONS[first : first + len(closes)]
    made = [daily_bar(symbol, s.opens_at, Decimal(close)) for s, close in zip(days, closes, strict=True)]
    return [replace(b, ends_at=s.closes_at, source="alpaca") for b, s in zip(made, days, strict=True)]


@pytest.fixture
def world(engine: sa.Engine) -> ActionWorld:
    world = ActionWorld(engine)
    world.add_strategy(universe=(AAPL, MSFT))
    return world


def fetch(world: ActionWorld, vendor: Vendor, sessions: Sequence[Session] = SESSIONS) -> FetchedBars:
    service = PriceDataService([vendor], lambda: NOW)
    return fetch_daily_bars(sessions, begin=world.begin, price_data=service, now=NOW, benchmark="SPY")


def test_a_range_is_one_request_and_again_it_changes_nothing(world: ActionWorld):
    vendor = Vendor([*bars_of(AAPL, 10, 11, 12, 13, 14), *bars_of(MSFT, 20, 21, first=3)])
    fetched = fetch(world, vendor)
    assert (fetched.added, fetched.corrected, fetched.problems) == (7, 0, [])
    assert vendor.asked == [([AAPL, MSFT, "SPY"], SESSIONS[0].opens_at, SESSIONS[-1].closes_at)]
    assert fetched.bars == {s.date: n for s, n in zip(SESSIONS, (1, 1, 1, 2, 2), strict=True)}
    # MSFT was not listed before its first bar; of SPY there is none at all.
    assert set(map(tuple, fetched.missing.values())) == {("SPY",)}
    again = fetch(world, vendor)
    assert (again.added, again.corrected) == (0, 0)


def test_many_symbols_and_sessions_are_asked_for_in_parts(
    world: ActionWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(daily_bars, "SESSIONS_PER_REQUEST", 3)
    monkeypatch.setattr(daily_bars, "BATCH_SIZE_MAX", 2)
    vendor = Vendor(bars_of(AAPL, 10, 11, 12, 13, 14))
    assert fetch(world, vendor).added == 5
    assert [(list(symbols), start.date(), end.date()) for symbols, start, end in vendor.asked] == [
        ([AAPL, MSFT], date(2024, 7, 1), date(2024, 7, 3)),
        (["SPY"], date(2024, 7, 1), date(2024, 7, 3)),
        ([AAPL, MSFT], date(2024, 7, 5), date(2024, 7, 8)),
        (["SPY"], date(2024, 7, 5), date(2024, 7, 8)),
    ]


def test_a_corrected_bar_is_taken_over_and_what_it_said_is_kept(world: ActionWorld):
    fetch(world, Vendor(bars_of(AAPL, 10, 11)))
    fetched = fetch(world, Vendor([replace(b, source="fmp") for b in bars_of(AAPL, 10, "11.5")]))
    assert (fetched.added, fetched.corrected) == (0, 1)
    with world.begin() as connection:
        (kept,) = prices.bar_revisions(connection, symbol=AAPL, limit=9)
    assert (kept["old_close"], kept["new_close"], kept["old_source"], kept["source"]) == (
        11,
        Decimal("11.5"),
        "alpaca",
        "fmp",
    )


def test_one_batch_that_fails_is_told_and_the_others_come(
    world: ActionWorld, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(daily_bars, "BATCH_SIZE_MAX", 1)
    fetched = fetch(world, Vendor([*bars_of(AAPL, 10), *bars_of(MSFT, 20)], broken=AAPL))
    assert (fetched.added, fetched.problems) == (1, ["alpaca: gone"])


def test_bars_from_files_are_counted_and_nothing_is_fetched(world: ActionWorld):
    with world.begin() as connection:
        prices.save_bars(connection, bars_of(AAPL, 10, 11))
    vendor = Vendor([], name="stored")
    fetched = fetch(world, vendor)
    assert vendor.asked == []
    assert list(fetched.bars.values()) == [1, 1, 0, 0, 0]
    assert fetched.missing[SESSIONS[2].date] == [AAPL, MSFT, "SPY"]


def test_a_session_that_has_not_closed_is_refused(world: ActionWorld):
    vendor = Vendor([])
    with pytest.raises(InvalidInputError, match="2024-07-08 closes at 2024-07-08 20:00 UTC; it has no bars"):
        fetch_daily_bars(
            SESSIONS,
            begin=world.begin,
            price_data=PriceDataService([vendor], lambda: NOW),
            now=SESSIONS[-1].closes_at - timedelta(seconds=1),
        )
    assert vendor.asked == []


def test_what_was_held_then_is_asked_for_and_what_was_delisted_before_is_not(world: ActionWorld):
    world.hold(10)  # AAPL, on 2024-07-02
    world.intend(Side.SELL)
    world.send()
    world.check()
    with world.begin() as connection:
        prices.ensure_instruments(connection, ["FB"])

        def symbols(first: int, last: int) -> list[str]:
            return prices.symbols_between(connection, SESSIONS[first].date, SESSIONS[last].date)

        connection.execute(sa.text("UPDATE strategies SET is_enabled = false"))
        assert symbols(0, 0) == symbols(2, 4) == []
        assert symbols(0, 1) == symbols(1, 4) == [AAPL]
    world.enter(ActionKind.DELISTING, cash_per_unit=Decimal(1))
    with world.begin() as connection:
        connection.execute(sa.text("UPDATE strategies SET is_enabled = true"))
        assert prices.symbols_between(connection, SESSIONS[1].date, SESSIONS[4].date) == [AAPL, MSFT]
        assert prices.symbols_between(connection, SESSIONS[2].date, SESSIONS[4].date) == [MSFT]


def test_bars_are_wanted_soon_after_the_close_again_while_missing_and_once_more_for_corrections(
    world: ActionWorld,
):
    session = SESSIONS[1]

    def wanted(minutes: float) -> tuple[date, date, int] | None:
        found = wanted_bars(world.begin, world.calendar, session.closes_at + timedelta(minutes=minutes))
        return None if found is None else (found.first.date, found.last.date, found.attempt)

    day = session.date
    assert [wanted(m) for m in (0, 2.9, 3, 21, 61)] == [
        None,
        None,
        (day, day, 1),
        (day, day, 2),
        (day, day, 3),
    ]
    with world.begin() as connection:
        prices.save_bars(connection, [*bars_of(AAPL, 10, 11), *bars_of(MSFT, 20, 21)])
    assert [wanted(m) for m in (3, 21, 61)] == [(day, day, 1), None, None]
    assert wanted(301) == (SESSIONS[0].date, day, 4)


# Checks ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def saved(world: ActionWorld) -> Callable[..., None]:
    def save(*bars: Bar) -> None:
        with world.begin() as connection:
            prices.save_bars(connection, bars)

    return save


def test_gaps_are_named_and_a_holding_counts_to_the_newest_session(
    world: ActionWorld, saved: Callable[..., None]
):
    aapl = bars_of(AAPL, 10, 11, 12, 13, 14)
    saved(aapl[0], *aapl[3:], *bars_of(MSFT, 20, 21), *bars_of(IBM, 30, first=4))
    check = partial(check_complete, world.begin, world.calendar)
    told = "AAPL has no bar in 2 sessions from 2024-07-02 to 2024-07-03."
    assert check().problems == [told]
    world.set_price(MSFT, "20")
    world.intend(symbol=MSFT)
    world.send()
    world.check()
    assert check().problems == [told, "MSFT has no bar in 3 sessions from 2024-07-03 to 2024-07-08."]


def test_a_bar_on_a_closed_day_is_named(world: ActionWorld, saved: Callable[..., None]):
    (bar,) = bars_of(AAPL, 10)
    holiday = date(2024, 7, 4)
    saved(
        bar,
        replace(
            bar,
            session=holiday,
            starts_at=bar.starts_at + timedelta(days=3),
            ends_at=bar.ends_at + timedelta(days=3),
        ),
    )
    assert check_days(world.begin, world.calendar).problems == [
        "AAPL has a bar on 2024-07-04, which is no session of XNYS."
    ]


def test_a_jump_is_suspicious_until_its_split_is_known_or_a_person_accepts_it(
    world: ActionWorld, saved: Callable[..., None]
):
    saved(*bars_of(AAPL, 645, 650, 92, 93), *bars_of(MSFT, 20, 21, 9, 9))
    assert check_plausible(world.begin).problems == [
        "AAPL moved -85.8% on 2024-07-03, with no corporate action that tells why.",
        "MSFT moved -57.1% on 2024-07-03, with no corporate action that tells why.",
    ]
    world.split(7)
    with world.begin() as connection:
        bar_checks.accept_bar(connection, MSFT, date(2024, 7, 3), reason="a bad quarter", actor="test")
    assert check_plausible(world.begin).problems == []


def test_a_bad_tick_a_bar_without_volume_and_a_large_correction_are_suspicious(
    world: ActionWorld, saved: Callable[..., None]
):
    """GOOG closed at 400.52 on 2008-09-30; files with the erroneous trades in them say 294.57."""
    goog = bars_of("GOOG", 381, "400.52", "411.72", 390)
    saved(*goog)
    assert check_plausible(world.begin).problems == []
    saved(replace(goog[1], close=Decimal("294.57"), low=Decimal("294.57"), source="other"))
    saved(*(replace(b, volume=Decimal(0)) for b in bars_of(IBM, 30)))
    assert check_plausible(world.begin).problems == [
        "The close of GOOG on 2024-07-02 was corrected by -26.5%; its sources differ.",
        "GOOG stands alone on 2024-07-02: -22.7% from the session before, and back after it.",
        "IBM has no volume on 2024-07-01.",
    ]


def test_the_version_of_the_bars_moves_with_each_change(world: ActionWorld, saved: Callable[..., None]):
    def version() -> str:
        with transaction(world.engine) as connection:
            return bar_checks.bars_version(connection)

    seen = [version()]
    saved(*bars_of(AAPL, 10))
    seen.append(version())
    saved(*bars_of(AAPL, 11))
    seen.append(version())
    world.split(7)
    seen.append(version())
    assert len(set(seen)) == 4
    assert version() == seen[-1]
