"""How a message reads: one notification, or several of a kind folded into one."""

from zoneinfo import ZoneInfo

from trading_orchestration.notifications.notifier import Message
from trading_orchestration.store.alerts import Severity
from trading_orchestration.store.deliveries import ClaimedMessage, Item

_SEVERITY = {Severity.CRITICAL: "CRITICAL: ", Severity.WARNING: "Warning: ", Severity.INFO: ""}
IN_DOUBT = " (may be a repeat)"
#: What is beyond is in `trading notify list`, and on the page.
_LINE_MAX = 300


def compose(claimed: ClaimedMessage, zone: ZoneInfo) -> Message:
    """The message, with its times in a zone. Only the mark of a possible repeat differs between attempts."""
    first, repeat = claimed.items[0], IN_DOUBT if claimed.is_in_doubt else ""
    if len(claimed.items) == 1:
        title = first.title
        body = "\n".join(filter(None, (first.body, _context(first, zone))))
    else:
        number, kind = len(claimed.items), first.kind.replace("_", " ")
        title = f"{number} × {kind}: {_short(first.title)}, and {number - 1} more"
        body = "\n".join(_line(item, zone) for item in claimed.items)
    return Message(
        key=str(claimed.id),
        severity=first.severity,
        title=f"{_SEVERITY[first.severity]}{title}{repeat}",
        body=body,
    )


def _line(item: Item, zone: ZoneInfo) -> str:
    at = f"{item.occurred_at.astimezone(zone):%H:%M:%S}"
    whose = f"{item.portfolio}: " if item.portfolio else ""
    return _short(f"{at} {whose}{item.title}{f' ({item.body})' if item.body else ''}")


def _context(item: Item, zone: ZoneInfo) -> str:
    at = f"{item.occurred_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    return f"portfolio {item.portfolio}, {at}" if item.portfolio else at


def _short(text: str) -> str:
    return text if len(text) <= _LINE_MAX else text[: _LINE_MAX - 1] + "…"
