"""A vendor's requests per minute, kept by all processes of this machine together."""

import fcntl
import math
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import SettingsError
from trading_orchestration.vendor_http.failures import RateLimitedError

WINDOW_S = 60.0
#: A vendor that asks for more patience than this is asked again after it.
LONGEST_BLOCK_S = 300.0
CLOCK_JITTER_S = 1.0


class RateLimiter(Protocol):
    """Says when the next request may go out."""

    def acquire(self, *, max_wait_s: float) -> None:
        """Wait for room for one request and take it.

        Raises:
            RateLimitedError: there is none within `max_wait_s` seconds; none was taken.
        """
        ...

    def block_until(self, instant: datetime) -> None:
        """Let nothing out before that instant (UTC): the vendor asked for it."""
        ...


class Unlimited:
    """For a vendor that counts nothing, such as the simulator."""

    def acquire(self, *, max_wait_s: float) -> None:
        """Return at once."""

    def block_until(self, instant: datetime) -> None:
        """Forget it."""


class FileRateLimiter:
    """At most `per_minute` requests in any 60 seconds, over every process that names the same file.

    The file holds the instants of the last minute's requests under an exclusive lock, which the kernel
    gives back when its holder dies. Its content is only ever a reason to wait: a damaged file is read as
    far as it makes sense.
    """

    def __init__(
        self,
        path: Path,
        *,
        per_minute: int,
        now: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._per_minute = per_minute
        self._now = now
        self._sleep = sleep

    def acquire(self, *, max_wait_s: float) -> None:
        """Wait for room for one request and take it, or raise `RateLimitedError`."""
        waited_s = 0.0
        while (wait_s := self._take()) > 0:
            if waited_s + wait_s > max_wait_s:
                raise RateLimitedError(
                    f"The limit of {self._per_minute} requests a minute ({self._path.stem}) leaves no room "
                    f"for {wait_s:.1f} s, longer than the {max_wait_s:g} s a request waits; nothing was sent."
                )
            self._sleep(wait_s)
            waited_s += wait_s

    def block_until(self, instant: datetime) -> None:
        """Let nothing out before that instant, at most five minutes from now."""
        with self._locked() as file:
            blocked_until, sent = self._read(file)
            wanted = min(instant.timestamp(), self._seconds() + LONGEST_BLOCK_S)
            self._write(file, max(blocked_until, wanted), sent)

    def _take(self) -> float:
        """0 when a request was counted, else the seconds until there may be room."""
        with self._locked() as file:
            blocked_until, sent = self._read(file)
            now = self._seconds()
            if now < blocked_until:
                return blocked_until - now
            if len(sent) >= self._per_minute:
                return max(sent[-self._per_minute] + WINDOW_S - now, 0.001)
            self._write(file, blocked_until, [*sent, now])
            return 0.0

    def _seconds(self) -> float:
        return self._now().astimezone(UTC).timestamp()

    def _read(self, file: BinaryIO) -> tuple[float, list[float]]:
        file.seek(0)
        raw = file.read()
        numbers = array("d", raw[: len(raw) // 8 * 8])
        now = self._seconds()
        blocked_until = numbers[0] if numbers and math.isfinite(numbers[0]) else 0.0
        # What lies in the future was written by a clock that has been set back since, or is damage.
        sent = sorted(at for at in numbers[1:] if now - WINDOW_S < at <= now + CLOCK_JITTER_S)
        return (blocked_until if blocked_until <= now + LONGEST_BLOCK_S + CLOCK_JITTER_S else 0.0), sent

    def _write(self, file: BinaryIO, blocked_until: float, sent: list[float]) -> None:
        file.seek(0)
        file.write(array("d", [blocked_until, *sent]).tobytes())
        file.truncate()
        file.flush()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            file = self._path.open("r+b", buffering=0)
        except OSError as error:
            raise SettingsError(
                f"The file that counts a vendor's requests, {self._path}, cannot be written "
                f"({error.strerror}); make its folder writable."
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
