"""An outbox to test on: notifications on a real database, a clock set by hand, services that do as told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from trading_orchestration.errors import NotificationRefusedError, NotificationUnknownError
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.notifications.notifier import Message
from trading_orchestration.services.message_sending import LEASE, Outbox, Sent
from trading_orchestration.store.alerts import Kind, Notification, Severity, add_notifications
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK, new_york

TEN = new_york("2024-07-02 10:00")
SECOND = timedelta(seconds=1)


@dataclass
class ScriptedService:
    """A notifier that keeps what arrives; `script` says of each attempt what becomes of it."""

    name: str = "phone"
    script: list[str] = field(default_factory=list)
    arrived: list[Message] = field(default_factory=list)
    attempts: int = 0

    def send(self, message: Message) -> None:
        self.attempts += 1
        what = self.script.pop(0) if self.script else "takes"
        if what in ("takes", "takes and breaks off", "takes and the sender dies"):
            self.arrived.append(message)
        if what == "refuses":
            raise NotificationRefusedError(f"{self.name}: error=500.")
        if what in ("breaks off", "takes and breaks off"):
            raise NotificationUnknownError(f"{self.name} did not answer.")
        if what in ("the sender dies", "takes and the sender dies"):
            raise KeyboardInterrupt

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.arrived]


@dataclass
class OutboxWorld:
    """`world.at` is the clock of writers and senders."""

    engine: sa.Engine
    channels: tuple[Channel, ...] = (Channel(name="phone"),)
    at: datetime = TEN
    services: dict[str, ScriptedService] = field(default_factory=dict)
    pause: Callable[[float], None] = lambda _: None

    @property
    def outbox(self) -> Outbox:
        return Outbox(
            lambda: transaction(self.engine),
            self.channels,
            lambda: self.at,
            INDEPENDENCE_WEEK.timezone,
            pause=self.pause,
        )

    def service(self, name: str = "phone") -> ScriptedService:
        return self.services.setdefault(name, ScriptedService(name))

    def tell(self, title: str, kind: Kind = "fill", severity: Severity = Severity.INFO, **given: Any) -> None:
        message = Notification(
            severity=severity, kind=kind, title=title, **{"dedupe_key": uuid4().hex, **given}
        )
        with transaction(self.engine) as connection:
            add_notifications(connection, [message], at=self.at)

    def advance(self, by: timedelta) -> None:
        self.at += by

    def turn(self, channel: str = "phone") -> Sent:
        """One look at what is new, and one message at a channel."""
        outbox = self.outbox
        outbox.route()
        served = next(one for one in self.channels if one.name == channel)
        return outbox.send_next(served, self.service(channel))

    def drain(self, channel: str = "phone") -> None:
        """All that is due now, and what a wait makes due."""
        for _ in range(200):
            if self.turn(channel) is not Sent.NOTHING_DUE:
                continue
            if not self.is_open(channel):
                return
            self.advance(LEASE)
        raise AssertionError("it never ends")

    def is_open(self, channel: str) -> bool:
        return any(row["status"] in ("waiting", "sending") for row in self.rows(channel))

    def rows(self, channel: str = "phone") -> list[dict[str, Any]]:
        statement = sa.text(
            "SELECT d.*, n.title FROM notification_deliveries d JOIN notifications n "
            "ON n.id = d.notification_id WHERE d.channel = :channel ORDER BY d.notification_id"
        )
        with transaction(self.engine) as connection:
            return [dict(row) for row in connection.execute(statement, {"channel": channel}).mappings()]

    def statuses(self, channel: str = "phone") -> list[str]:
        return [row["status"] for row in self.rows(channel)]
