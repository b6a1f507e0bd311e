"""What `trading doctor` finds about telling people: channels, and messages that do not reach them."""

from collections.abc import Iterator
from datetime import timedelta

from trading_orchestration.cli.findings import Finding, error, ok, warning
from trading_orchestration.cli.output import minute
from trading_orchestration.errors import SettingsError, TradingError
from trading_orchestration.notifications.apprise import AppriseNotifier
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.settings import Settings
from trading_orchestration.store import deliveries
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.store.deliveries import ChannelState
from trading_orchestration.wiring import open_calendar, open_routing, system_clock

#: A message that waits for longer waits for something.
_WAITING_MAX = timedelta(minutes=10)


def examine_channels(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Every finding about channels. Nothing is sent; `trading notify test` does that."""
    try:
        channels = open_routing(settings, open_calendar(settings)).channels
    except TradingError as problem:
        yield error("channels", str(problem), "correct the variable and ask again")
        return
    if not channels:
        yield ok("channels", "none; set TRADING_NOTIFY_URLS to be told of halts, breakers and fills")
    for channel, notifier in channels:
        yield _channel(channel, notifier)
    with transaction(engine) as connection:
        states = deliveries.channel_states(connection)
        unrouted = deliveries.stuck(connection, before=system_clock() - _WAITING_MAX).unrouted
    known = {channel.name for channel, _ in channels}
    yield from (found for state in states if (found := _waiting(state, known)))
    if channels and unrouted:
        yield warning("messages", f"{unrouted} wait to be looked at", "start `trading up`, which sends them")


def _channel(channel: Channel, notifier: AppriseNotifier) -> Finding:
    try:
        service = notifier.service
    except SettingsError as problem:
        return error(f"channel {channel.name}", str(problem), "`trading notify test` tries it")
    kinds = "all kinds" if channel.kinds is None else ", ".join(channel.kinds)
    quiet = channel.quiet
    hours = f", quiet {quiet.begins:%H:%M} to {quiet.ends:%H:%M} {quiet.zone.key}" if quiet else ""
    return ok(f"channel {channel.name}", f"{service}: {channel.severity} and above, {kinds}{hours}")


def _waiting(state: ChannelState, known: set[str]) -> Finding | None:
    since = state.waiting_since
    if since is None or system_clock() - since < _WAITING_MAX:
        return None
    why = state.last_error or f"it was last served at {minute(state.served_at)}"
    mend = (
        f"`trading notify test {state.name}`; `trading up` sends them"
        if state.name in known
        else "it has no URL in TRADING_NOTIFY_URLS any more; they are given up after three days"
    )
    return warning(f"messages to {state.name}", f"{state.waiting} wait since {minute(since)}: {why}", mend)
