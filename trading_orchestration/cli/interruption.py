"""Ending long work by Ctrl-C, SIGTERM or SIGHUP so that what it set up is taken down again."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ENDED_BY_SIGNAL = 128


@dataclass(slots=True)
class Interruption:
    """Whether a signal has come.

    At once it raises SystemExit, save while `is_deferred`: an exception in the middle of a statement can come
    out as the loss of a connection, which the work would take for a failure like any other.
    """

    received: int | None = None
    is_deferred: bool = False

    def check(self) -> None:
        """Between two steps: end here if a signal has come."""
        if self.received is not None:
            raise SystemExit(_ENDED_BY_SIGNAL + self.received)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """What the signal calls."""
        self.received = number
        if not self.is_deferred:
            self.check()


@contextmanager
def ending_on_signals() -> Iterator[Interruption]:
    """End the work in this block on a signal, with the exit code that shells give it."""
    interruption = Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interruption.handle) for number in numbers}
    try:
        yield interruption
    except Exception:
        interruption.check()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
