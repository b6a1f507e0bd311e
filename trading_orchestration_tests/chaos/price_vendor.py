"""A price vendor on loopback, in the form of FMP's batch quotes, that can let a request wait."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, Reply, loopback_vendor

#: Longer than any client waits for an answer.
_HELD_S_MAX = 300


@dataclass
class PriceVendor:
    """Prices of this second around 100. A worker that waits for them stands at a place that is known."""

    chance: random.Random
    url: str
    _may_answer: threading.Event = field(default_factory=threading.Event)
    _is_asked: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def held(self) -> Iterator[threading.Event]:
        """Inside the block nobody gets an answer; the event tells that somebody waits for one."""
        self._is_asked.clear()
        self._may_answer.clear()
        try:
            yield self._is_asked
        finally:
            self._may_answer.set()

    def __post_init__(self) -> None:
        self._may_answer.set()

    def answer(self, asked: Asked) -> Reply:
        """One request."""
        self._is_asked.set()
        self._may_answer.wait(_HELD_S_MAX)
        now = int(system_clock().timestamp())
        return Reply(
            json=[
                {"symbol": symbol, "price": self.chance.randint(9_900, 10_100) / 100, "timestamp": now}
                for symbol in asked.params.get("symbols", "").split(",")
            ]
        )


@contextmanager
def price_vendor(seed: int) -> Iterator[PriceVendor]:
    """A vendor that answers at once, until it is held."""
    with loopback_vendor() as server:
        vendor = PriceVendor(random.Random(seed), server.url)
        server.answer = vendor.answer
        yield vendor
