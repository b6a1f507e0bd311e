"""The process that tells people: it sends what waits, watches the jobs, and pings the dead-man's switch.

It needs PostgreSQL and nothing of Dagster, so that it still tells of a daemon that is dead. Each channel has
a thread of its own: one that hangs stops no other.
"""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trading_orchestration.cli.installation import open_installation
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.errors import (
    DatabaseUnavailableError,
    NotificationError,
    SettingsError,
    TradingError,
)
from trading_orchestration.notifications.apprise import AppriseNotifier
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.notifications.heartbeat import ping
from trading_orchestration.notifications.routing import Routing
from trading_orchestration.services.job_alarms import watch_jobs, why_unwell
from trading_orchestration.services.message_sending import Outbox, Sent
from trading_orchestration.settings import Settings
from trading_orchestration.store.jobs import Begin
from trading_orchestration.wiring import open_routing, system_clock

ROUTE_EVERY_S = 1.0
WATCH_EVERY_S = 20.0
PING_EVERY_S = 60.0
_DATABASE_AWAY_S = 2.0

Tell = Callable[[str], None]


def run_notifier(tell: Tell) -> None:
    """Work until SIGTERM or Ctrl-C; a message that is under way then is finished.

    Raises SettingsError for channels that cannot be used, and TradingError where so many sends hang that only
    a new process helps; `trading up` starts one.
    """
    with open_installation() as opened:
        routing = open_routing(opened.settings, opened.calendar)
        notifying = Notifying(opened.settings, opened.begin, opened.calendar, system_clock, routing, tell)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: notifying.stop.set())
        names = ", ".join(channel.name for channel, _ in routing.channels) or "none"
        tell(f"Channels: {names}. Ctrl-C ends it.")
        notifying.run()


@dataclass(slots=True)
class Notifying:
    """The loops of the process; `stop` ends them."""

    settings: Settings
    begin: Begin
    calendar: MarketCalendar
    clock: Clock
    routing: Routing
    tell: Tell
    stop: threading.Event = field(default_factory=threading.Event)
    _said: dict[str, str] = field(default_factory=dict)
    _defects: list[Exception] = field(default_factory=list)

    @property
    def outbox(self) -> Outbox:
        """What waits to be sent."""
        channels = [channel for channel, _ in self.routing.channels]
        return Outbox(self.begin, channels, self.clock, self.routing.zone)

    def run(self) -> None:
        """Route, watch and ping here, send in a thread for each channel, until `stop`."""
        pairs = self.routing.channels
        threads = [threading.Thread(target=self._serve, args=pair, name=pair[0].name) for pair in pairs]
        for thread in threads:
            thread.start()
        try:
            self._work()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
        if self._defects:
            raise self._defects[0]
        clogged = [channel.name for channel, notifier in pairs if notifier.is_clogged]
        if clogged:
            raise TradingError(f"Too many messages to {', '.join(clogged)} hang; a new process is needed.")

    def _work(self) -> None:
        watched_at = pinged_at = float("-inf")
        while not self.stop.wait(ROUTE_EVERY_S):
            self._attempt("outbox", self.outbox.route)
            if time.monotonic() - watched_at >= WATCH_EVERY_S:
                watched_at = time.monotonic()
                self._attempt("jobs", self._watch)
            if time.monotonic() - pinged_at >= PING_EVERY_S:
                pinged_at = time.monotonic()
                self._attempt("heartbeat", self._ping)

    def _serve(self, channel: Channel, notifier: AppriseNotifier) -> None:
        """Serve one channel until `stop`. Nobody would miss a thread that dies, so it ends the process."""
        try:
            self._send(channel, notifier)
        except Exception as error:  # noqa: BLE001 (`run` raises it)
            self._defects.append(error)
            self.stop.set()

    def _send(self, channel: Channel, notifier: AppriseNotifier) -> None:
        """Send what is due at one channel, one message after the other."""
        self._attempt(f"channel {channel.name}", lambda: notifier.service)
        outbox = self.outbox
        while not self.stop.is_set():
            outcome = self._attempt(channel.name, lambda: outbox.send_next(channel, notifier))
            if notifier.is_clogged:
                self.stop.set()
            elif outcome is not Sent.SENT:
                self.stop.wait(ROUTE_EVERY_S)

    def _watch(self) -> None:
        for told in watch_jobs(self.begin, self.calendar, self.clock()):
            self.tell(told)
        self.outbox.abandon_old()

    def _ping(self) -> None:
        url = self.settings.trading_heartbeat_url
        if url is None:
            return
        unwell = why_unwell(self.begin, self.clock())
        if unwell is None:
            ping(url)
        self._say("ping", unwell and f"No ping: {unwell}")

    def _attempt(self, what: str, do: Callable[[], object]) -> object:
        """Do something; a database or a service that is away is told once, and tried again."""
        try:
            done = do()
        except DatabaseUnavailableError as error:
            self._say(what, str(error))
            self.stop.wait(_DATABASE_AWAY_S)
            return None
        except (NotificationError, SettingsError) as error:
            self._say(what, str(error))
            return None
        self._say(what, None)
        return done

    def _say(self, what: str, problem: str | None) -> None:
        if problem != self._said.get(what):
            self.tell(f"{what}: {problem or 'all is well again'}")
        if problem is None:
            self._said.pop(what, None)
        else:
            self._said[what] = problem
