"""The shared count of requests, on a clock of the test's own."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_orchestration.errors import SettingsError
from trading_orchestration.vendor_http.failures import RateLimitedError
from trading_orchestration.vendor_http.rate_limit import FileRateLimiter

START = datetime(2024, 7, 3, 14, 30, tzinfo=UTC)


class Clock:
    """Moves only when someone sleeps or says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


Make = Callable[..., FileRateLimiter]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Make:
    def limiter(per_minute: int) -> FileRateLimiter:
        return FileRateLimiter(tmp_path / "alpaca", per_minute=per_minute, now=clock.now, sleep=clock.sleep)

    return limiter


@given(pauses=st.lists(st.floats(0, 40), min_size=1, max_size=40), per_minute=st.integers(1, 5))
@settings(max_examples=40)
def test_no_window_of_a_minute_ever_holds_more_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], per_minute: int
) -> None:
    clock = Clock()
    limiter = FileRateLimiter(
        tmp_path_factory.mktemp("limit") / "alpaca", per_minute=per_minute, now=clock.now, sleep=clock.sleep
    )
    sent = []
    for pause in pauses:
        clock.sleep(pause)
        limiter.acquire(max_wait_s=120)
        sent.append(clock.seconds)
    for first, last in zip(sent, sent[per_minute:], strict=False):
        assert last - first >= 60 - 1e-6


def test_two_holders_of_one_file_share_the_limit(make: Make) -> None:
    one, other = make(per_minute=3), make(per_minute=3)
    for limiter in (one, other, one):
        limiter.acquire(max_wait_s=0)
    with pytest.raises(RateLimitedError, match="nothing was sent"):
        other.acquire(max_wait_s=59)


def test_a_refused_request_is_not_counted(make: Make, clock: Clock) -> None:
    limiter = make(per_minute=1)
    limiter.acquire(max_wait_s=0)
    for _ in range(5):
        with pytest.raises(RateLimitedError):
            limiter.acquire(max_wait_s=1)
    clock.seconds = 60.0
    limiter.acquire(max_wait_s=0)


def test_a_block_holds_back_every_holder_and_ends(make: Make, clock: Clock) -> None:
    make(per_minute=9).block_until(START + timedelta(seconds=20))
    with pytest.raises(RateLimitedError):
        make(per_minute=9).acquire(max_wait_s=19)
    make(per_minute=9).acquire(max_wait_s=21)
    assert clock.seconds == pytest.approx(20)


def test_a_shorter_block_does_not_undo_a_longer_one(make: Make) -> None:
    limiter = make(per_minute=9)
    limiter.block_until(START + timedelta(seconds=50))
    limiter.block_until(START + timedelta(seconds=5))
    with pytest.raises(RateLimitedError):
        limiter.acquire(max_wait_s=49)


def test_a_block_of_days_is_cut_to_minutes(make: Make) -> None:
    limiter = make(per_minute=9)
    limiter.block_until(START + timedelta(days=3))
    limiter.acquire(max_wait_s=301)


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff" * 24, b"\x00" * 801, b"half a number" * 7])
def test_a_damaged_file_never_stops_trading_for_long(make: Make, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "alpaca").write_bytes(damage)
    make(per_minute=200).acquire(max_wait_s=301)


def test_a_clock_set_back_by_an_hour_costs_a_minute_at_most(make: Make, clock: Clock) -> None:
    limiter = make(per_minute=1)
    limiter.acquire(max_wait_s=0)
    clock.seconds = -3600.0
    limiter.acquire(max_wait_s=61)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    limiter = FileRateLimiter(tmp_path / "file" / "alpaca", per_minute=1, now=clock.now)
    with pytest.raises(SettingsError, match="file"):
        limiter.acquire(max_wait_s=0)


TAKE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from trading_orchestration.vendor_http.failures import RateLimitedError
from trading_orchestration.vendor_http.rate_limit import FileRateLimiter

now = datetime.fromisoformat(sys.argv[2])
limiter, taken = FileRateLimiter(Path(sys.argv[1]), per_minute=100, now=lambda: now), 0
for _ in range(60):
    try:
        limiter.acquire(max_wait_s=0)
        taken += 1
    except RateLimitedError:
        pass
print(taken)
"""


def test_processes_at_once_take_exactly_the_limit(tmp_path: Path) -> None:
    """Four processes ask for 60 each of a limit of 100 on a clock that stands still."""
    command = [sys.executable, "-c", TAKE, str(tmp_path / "alpaca"), START.isoformat()]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 100
