"""Notifications on their way to people: which channels want them, who sends them, what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from trading_orchestration.store.alerts import Severity
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True)
class Unrouted:
    """A notification of which nobody has decided yet which channels want it."""

    id: int
    severity: Severity
    kind: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One notification within a message."""

    id: int
    severity: Severity
    kind: str
    title: str
    body: str
    portfolio: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """What one sender sends to one channel: one notification, or several of a kind and severity.

    `attempt` counts from 1. `is_in_doubt`: an earlier attempt may have arrived.
    """

    id: UUID
    channel: str
    attempt: int
    is_in_doubt: bool
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """How a channel fares. Instants are UTC; `waiting_since` is when the oldest waiting message came up."""

    name: str
    served_at: datetime
    last_sent_at: datetime | None
    waiting: int
    waiting_since: datetime | None
    abandoned: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Stuck:
    """Critical messages that have not arrived, and messages of which nobody has taken note."""

    critical: int
    unrouted: int


def serve_channels(connection: Connection, channels: Sequence[str], *, at: datetime, fresh_s: int) -> None:
    """Write down that a sender serves these channels, unless that was done less than `fresh_s` ago."""
    run(connection, "serve_channels", channels=list(channels), at=at, fresh_s=fresh_s)


def hold_unrouted(connection: Connection, *, limit: int) -> list[Unrouted]:
    """Notifications to decide on, locked until the transaction ends, oldest first."""
    rows = run(connection, "unrouted_notifications", limit=limit).mappings()
    return [Unrouted(r["id"], Severity(r["severity"]), r["kind"], r["occurred_at"]) for r in rows]


def route(
    connection: Connection, notification_ids: Sequence[int], pairs: Sequence[tuple[int, str]], *, at: datetime
) -> None:
    """Put notifications on their way: `pairs` of an id and a channel; those in no pair go nowhere."""
    if pairs:
        ids, channels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        run(connection, "insert_deliveries", notification_ids=ids, channels=channels, at=at)
    run(connection, "set_routed", notification_ids=list(notification_ids), at=at)


def abandon(connection: Connection, *, routed_before: datetime, at: datetime) -> int:
    """Give up what is under way for so long; answers how many deliveries."""
    return run(connection, "abandon_deliveries", routed_before=routed_before, at=at).rowcount


def claim_message(
    connection: Connection,
    channel: str,
    *,
    message_id: UUID,
    is_quiet: bool,
    sent_after: datetime,
    at: datetime,
    lease_until: datetime,
    limit: int,
) -> ClaimedMessage | None:
    """Take the next message of a channel, for as long as the lease; None where nothing is due.

    `message_id` names it if it is new. While it `is_quiet` only critical ones are due. A kind of which one
    was sent after `sent_after` waits, a critical one only if that said the same. Up to `limit` notifications
    become one message.
    """
    if run(connection, "hold_channel", channel=channel).scalar() is None:
        return None
    rows = run(
        connection,
        "claim_message",
        channel=channel,
        message_id=message_id,
        is_quiet=is_quiet,
        sent_after=sent_after,
        at=at,
        lease_until=lease_until,
        limit=limit,
    ).mappings()
    found = sorted(rows, key=lambda row: row["id"])
    if not found:
        return None
    first = found[0]
    items = tuple(
        Item(
            id=row["id"],
            severity=Severity(row["severity"]),
            kind=row["kind"],
            title=row["title"],
            body=row["body"],
            portfolio=row["portfolio"],
            occurred_at=row["occurred_at"],
        )
        for row in found
    )
    return ClaimedMessage(first["message_id"], channel, first["attempts"], first["is_in_doubt"], items)


def set_sent(connection: Connection, message: ClaimedMessage, *, at: datetime) -> None:
    """The message has arrived."""
    run(connection, "set_message_sent", message_id=message.id, channel=message.channel, at=at)


def set_failed(
    connection: Connection, message: ClaimedMessage, *, error: str, is_in_doubt: bool, due_at: datetime
) -> None:
    """An attempt failed, and the next is due at an instant; nothing where another made that already."""
    run(
        connection,
        "set_message_failed",
        message_id=message.id,
        channel=message.channel,
        attempts=message.attempt,
        error=error,
        is_in_doubt=is_in_doubt,
        due_at=due_at,
    )


def list_notifications(
    connection: Connection, *, kind: str | None, severity: Severity, limit: int
) -> list[dict[str, Any]]:
    """Messages to people, newest first, of at least a severity, each with its deliveries."""
    rows = run(connection, "notifications", kind=kind, severity=severity.value, limit=limit)
    return [dict(row) for row in rows.mappings()]


def channel_states(connection: Connection) -> list[ChannelState]:
    """How each channel that was ever served fares."""
    return [ChannelState(**row) for row in run(connection, "channel_states").mappings()]


def stuck(connection: Connection, *, before: datetime) -> Stuck:
    """What should have reached people by now: of before an instant."""
    row = run(connection, "stuck_messages", before=before).mappings().one()
    return Stuck(row["critical"], row["unrouted"])
