"""What tells people: one way out of here, whatever the service behind it."""

from dataclasses import dataclass
from typing import Protocol

from trading_orchestration.store.alerts import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person reads. `key` stays the same over all attempts to send it."""

    key: str
    severity: Severity
    title: str
    body: str


class Notifier(Protocol):
    """Sends messages to one address. An implementation has timeouts of its own and repeats nothing itself."""

    def send(self, message: Message) -> None:
        """Send a message; it has arrived when this returns.

        Raises NotificationRefusedError when it has not, and NotificationUnknownError when nobody can know.
        Neither error's text holds any part of the address.
        """
        ...
