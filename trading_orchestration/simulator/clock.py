"""The simulator's own time: it stands still or runs at any speed, and can be moved forwards."""

import threading
import time
from datetime import UTC, datetime, timedelta

from trading_orchestration.errors import InvalidInputError


class SimulatorClock:
    """Market time (UTC), given by a call. `speed` is market seconds in a real one; 0 stands still."""

    def __init__(self, start: datetime, *, speed: float = 1.0) -> None:
        """Raises InvalidInputError for a start without an offset and for a speed below 0."""
        if start.tzinfo is None or speed < 0:
            raise InvalidInputError(
                f"The simulator's clock was to start at {start} with speed {speed}; give an instant with its "
                "offset and a speed of 0 or more."
            )
        self._speed = speed
        self._lock = threading.Lock()
        self._set(start.astimezone(UTC))

    def __call__(self) -> datetime:
        with self._lock:
            return self._now()

    def advance(self, to: datetime) -> None:
        """Move forwards to an instant; raises InvalidInputError for one that has passed."""
        with self._lock:
            if to < self._now():
                raise InvalidInputError(
                    f"The simulator's clock is at {self._now()} and does not go back to {to}."
                )
            self._set(to.astimezone(UTC))

    def step(self, by: timedelta) -> None:
        """Move forwards by so much."""
        with self._lock:
            self._set(self._now() + by)

    def _set(self, instant: datetime) -> None:
        self._start, self._started_at = instant, time.monotonic()

    def _now(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._started_at) * self._speed)
