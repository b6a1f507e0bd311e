"""`trading notify`: how people are told, and what they were told."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trading_orchestration.cli.output import Column, Json, second, show

if TYPE_CHECKING:
    from trading_orchestration.notifications.apprise import AppriseNotifier
    from trading_orchestration.notifications.channel import Channel

app = typer.Typer(help="Messages to people: channels, and what was sent through them.", no_args_is_help=True)

_LIST = [
    Column("id"),
    Column("occurred_at", "at", second),
    Column("severity"),
    Column("kind"),
    Column("portfolio"),
    Column("title"),
    Column("delivered", "sent to"),
]
_TESTED = [Column("channel"), Column("service"), Column("outcome")]


@app.command("test")
def send_test(
    channel: Annotated[str | None, typer.Argument(help="The channel to try; else all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Send a test message now, past quiet hours and routing. Exits with 1 when a channel does not take it."""
    from trading_orchestration.errors import InvalidInputError, SettingsError
    from trading_orchestration.settings import read_settings
    from trading_orchestration.wiring import open_calendar, open_routing

    settings = read_settings()
    routing = open_routing(settings, open_calendar(settings))
    names = [served.name for served, _ in routing.channels]
    if not names:
        raise SettingsError(
            "There are no channels; set TRADING_NOTIFY_URLS, for example to phone=ntfy://TOPIC."
        )
    if channel is not None and channel not in names:
        raise InvalidInputError(f"There is no channel {channel}; there are: {', '.join(names)}.")
    chosen = [pair for pair in routing.channels if channel in (None, pair[0].name)]
    rows = [_tried(served, notifier) for served, notifier in chosen]
    show(rows, _TESTED, as_json=as_json, empty="")
    if any(not row["is_sent"] for row in rows):
        raise typer.Exit(1)


@app.command("list")
def list_all(
    kind: Annotated[str | None, typer.Option(help="Only messages of this kind, such as fill.")] = None,
    severity: Annotated[Literal["info", "warning", "critical"], typer.Option(help="And above.")] = "info",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Messages, newest first, and through which channels each was sent."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.alerts import Severity
    from trading_orchestration.store.deliveries import list_notifications

    with open_installation() as opened, opened.begin() as connection:
        rows = list_notifications(connection, kind=kind, severity=Severity(severity), limit=limit)
    if not as_json:
        rows = [{**row, "delivered": _delivered(row)} for row in rows]
    show(rows, _LIST, as_json=as_json, empty="There are no messages.")


@app.command()
def run() -> None:
    """Send messages, watch the jobs and ping TRADING_HEARTBEAT_URL, until Ctrl-C; `trading up` starts it."""
    from trading_orchestration.cli.notify_process import run_notifier

    run_notifier(lambda sentence: print(sentence, flush=True))


def _tried(channel: "Channel", notifier: "AppriseNotifier") -> dict[str, Any]:
    from uuid import uuid4

    from trading_orchestration.errors import TradingError
    from trading_orchestration.notifications.notifier import Message
    from trading_orchestration.store.alerts import Severity

    message = Message(
        key=str(uuid4()),
        severity=Severity.INFO,
        title="A test of trading",
        body=f"Channel {channel.name} works; it is told {channel.severity} messages and above.",
    )
    try:
        service = notifier.service
    except TradingError as error:
        return {"channel": channel.name, "service": None, "is_sent": False, "outcome": str(error)}
    try:
        notifier.send(message)
    except TradingError as error:
        outcome, is_sent = str(error), False
    else:
        outcome, is_sent = "sent", True
    return {"channel": channel.name, "service": service, "is_sent": is_sent, "outcome": outcome}


def _delivered(row: dict[str, Any]) -> str:
    if row["routed_at"] is None:
        return "not looked at yet; `trading up` or `trading notify run` sends"
    return ", ".join(_in_words(delivery) for delivery in row["deliveries"]) or "no channel"


def _in_words(delivery: dict[str, Any]) -> str:
    if delivery["status"] == "sent":
        repeat = " (may be a repeat)" if delivery["is_in_doubt"] else ""
        return f"{delivery['channel']}{repeat}"
    error = f": {delivery['last_error']}" if delivery["last_error"] else ""
    return f"{delivery['channel']} {delivery['status']} after {delivery['attempts']} attempts{error}"
