"""The outbox: every notification reaches each channel that wants it, and as a rule once.

A message is claimed (committed), sent without any transaction open, and then marked as sent. Whatever ends
the sender before the claim or after the mark repeats nothing. In between nobody can know whether it arrived,
unless the channel said no: the message is then sent again with the same key, and says that it may be a
repeat. To lose the word of a halt would be worse than to read it twice; a webhook that keeps the key sees it
once.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import uuid4
from zoneinfo import ZoneInfo

from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import (
    DatabaseUnavailableError,
    NotificationError,
    NotificationUnknownError,
    SettingsError,
)
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.notifications.notifier import Notifier
from trading_orchestration.notifications.wording import compose
from trading_orchestration.store import deliveries
from trading_orchestration.store.deliveries import ClaimedMessage
from trading_orchestration.store.jobs import Begin

#: Longer than any attempt takes; after it another sender takes the message over.
LEASE = timedelta(seconds=120)
#: What could not be told for so long is no news any more, and neither is what a replay of a past day tells.
NEWS_FOR = timedelta(days=3)
RETRY_BASE, RETRY_CAP = timedelta(seconds=5), timedelta(minutes=15)
#: Waits for a database that is away, in seconds; together they stay within the lease.
_MARK_AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_SERVED_FRESH_S = 15
_ROUTED_AT_ONCE = 500
_FOLDED_MAX = 50


class Sent(StrEnum):
    """What became of one turn at a channel."""

    NOTHING_DUE = "nothing_due"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outbox:
    """Decides which channels are told what, and sends it. Several processes may do so at once."""

    begin: Begin
    channels: Sequence[Channel]
    clock: Clock
    zone: ZoneInfo
    pause: Callable[[float], None] = time.sleep

    def route(self) -> int:
        """Put new notifications on their way to the channels that want them; answers how many there were.

        Without channels they go nowhere: one that is set up later tells what happens from then on.
        """
        at = self.clock()
        with self.begin() as connection:
            names = [channel.name for channel in self.channels]
            if names:
                deliveries.serve_channels(connection, names, at=at, fresh_s=_SERVED_FRESH_S)
            found = deliveries.hold_unrouted(connection, limit=_ROUTED_AT_ONCE)
            pairs = [
                (one.id, channel.name)
                for one in found
                for channel in self.channels
                if at - one.occurred_at <= NEWS_FOR and channel.wants(one.severity, one.kind)
            ]
            if found:
                deliveries.route(connection, [one.id for one in found], pairs, at=at)
        return len(found)

    def abandon_old(self) -> int:
        """Give up what could not be delivered while it was news; answers how many deliveries."""
        at = self.clock()
        with self.begin() as connection:
            return deliveries.abandon(connection, routed_before=at - NEWS_FOR, at=at)

    def send_next(self, channel: Channel, notifier: Notifier) -> Sent:
        """Send the next message that is due at a channel, if there is one."""
        claimed = self._claim(channel)
        if claimed is None:
            return Sent.NOTHING_DUE
        crashpoint("after_message_claim")
        try:
            notifier.send(compose(claimed, self.zone))
        except (NotificationError, SettingsError) as error:
            self._note_failure(claimed, error)
            return Sent.FAILED
        crashpoint("after_message_sent")
        self._mark_sent(claimed)
        crashpoint("after_message_marked")
        return Sent.SENT

    def _claim(self, channel: Channel) -> ClaimedMessage | None:
        at = self.clock()
        with self.begin() as connection:
            return deliveries.claim_message(
                connection,
                channel.name,
                message_id=uuid4(),
                is_quiet=channel.is_quiet(at),
                sent_after=at - channel.fold,
                at=at,
                lease_until=at + LEASE,
                limit=_FOLDED_MAX,
            )

    def _mark_sent(self, claimed: ClaimedMessage) -> None:
        """Where PostgreSQL is away just now, wait for it: what is not marked is sent again."""
        at = self.clock()
        for wait_s in _MARK_AGAIN_S:
            with suppress(DatabaseUnavailableError), self.begin() as connection:
                deliveries.set_sent(connection, claimed, at=at)
                return
            self.pause(wait_s)
        with self.begin() as connection:
            deliveries.set_sent(connection, claimed, at=at)

    def _note_failure(self, claimed: ClaimedMessage, error: Exception) -> None:
        wait = min(RETRY_CAP, RETRY_BASE * 2 ** min(claimed.attempt - 1, 10))
        with self.begin() as connection:
            deliveries.set_failed(
                connection,
                claimed,
                error=str(error),
                is_in_doubt=isinstance(error, NotificationUnknownError),
                due_at=self.clock() + wait,
            )
