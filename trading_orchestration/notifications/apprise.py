"""Apprise: mail, Slack, Telegram, ntfy, webhooks and a hundred more, one URL each.

Apprise (2.3) answers only whether it worked; why not stands in its log. Its logger is kept from all other
handlers, because it writes addresses with their tokens, and is listened to while a message is sent.
"""

import logging
import re
import sys
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from trading_orchestration.errors import (
    NotificationRefusedError,
    NotificationUnknownError,
    SettingsError,
)
from trading_orchestration.notifications.notifier import Message
from trading_orchestration.store.alerts import Severity

#: Seconds to connect, and seconds without a byte; what the URL says (`cto`, `rto`) goes before.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 10.0
#: A message takes no longer than this, whatever trickles in meanwhile.
DEADLINE_S = 45.0
#: So many sends that never end, and the process had better be started anew.
HANGING_MAX = 8
_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
#: Services whose receiver is a program: it is given the key, by which it can leave out a repeat.
_WEBHOOKS = frozenset({"json", "jsons", "form", "forms", "xml", "xmls"})
KEY_HEADER = "Idempotency-Key"
_SHORTEST_SECRET = 6
_SCHEME = re.compile(r"^[a-z0-9]{2,16}(?=://)")
#: Exceptions of `requests`, `smtplib` and sockets in which nothing can have been taken by the service.
_NOTHING_SENT = frozenset(
    {"ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "NameResolutionError", "gaierror"}
    | {"ConnectionRefusedError", "SSLCertVerificationError", "ProxyError", "InvalidURL", "MissingSchema"}
    | {"SMTPConnectError", "SMTPHeloError", "SMTPAuthenticationError", "SMTPNotSupportedError"}
    | {"SMTPSenderRefused", "SMTPRecipientsRefused"}
)


@dataclass(slots=True)
class AppriseNotifier:
    """Sends to one Apprise URL, whose value is never told."""

    name: str
    url: SecretStr = field(repr=False)
    deadline_s: float = DEADLINE_S
    _hanging: list[threading.Thread] = field(default_factory=list, repr=False)

    @property
    def service(self) -> str:
        """The service's name, such as `Slack`; raises SettingsError where Apprise cannot read the URL."""
        return str(self._plugin().service_name)

    def send(self, message: Message) -> None:
        """Raises as the protocol says, and NotificationUnknownError after the deadline."""
        plugin, listener = self._plugin(), _Listener()
        if _scheme(self.url) in _WEBHOOKS:
            plugin.headers[KEY_HEADER] = message.key
        thread = threading.Thread(target=_send, args=(plugin, message, listener), daemon=True)
        thread.start()
        thread.join(self.deadline_s)
        if thread.is_alive():
            self._hanging = [t for t in (*self._hanging, thread) if t.is_alive()]
            raise NotificationUnknownError(f"{self.name} did not answer within {self.deadline_s:g} s.")
        if not listener.has_sent:
            self._raise_why(plugin, listener)

    @property
    def is_clogged(self) -> bool:
        """Whether so many sends hang that a new process is needed to be rid of them."""
        return sum(thread.is_alive() for thread in self._hanging) >= HANGING_MAX

    def _plugin(self) -> Any:
        """A new one for each message: it keeps connections and times of its own."""
        from apprise import Apprise, AppriseAsset

        _keep_to_ourselves()
        asset = AppriseAsset(app_id="trading", app_desc="trading_orchestration", async_mode=False)
        try:
            plugin = Apprise.instantiate(_with_timeouts(self.url), asset=asset, suppress_exceptions=True)
        except Exception:  # noqa: BLE001 (whatever it says may quote the URL)
            plugin = None
        if plugin is None:
            raise SettingsError(
                f"Apprise cannot read the URL of channel {self.name} ({_scheme(self.url) or 'no scheme'}://…)"
                "; correct it in TRADING_NOTIFY_URLS."
            )
        return plugin

    def _raise_why(self, plugin: Any, listener: "_Listener") -> None:
        told = _scrub(" ".join(listener.sentences), self.url).strip() or "it gave no reason"
        sentence = f"{self.name} ({plugin.service_name}): {told}"
        causes = {name for error in listener.errors for name in _chain(error)}
        if causes and not causes & _NOTHING_SENT:
            kind = type(listener.errors[-1]).__name__
            raise NotificationUnknownError(f"{sentence} ({kind}: whether it arrived is not known)")
        raise NotificationRefusedError(sentence)


def _send(plugin: Any, message: Message, listener: "_Listener") -> None:
    from apprise import NotifyFormat, NotifyType
    from apprise.common import OverflowMode

    # One notification is one message: what a service has no room for is cut.
    plugin.overflow_mode = OverflowMode.TRUNCATE
    listener.listen()
    try:
        listener.has_sent = plugin.notify(
            title=message.title,
            body=message.body,
            notify_type=NotifyType(_TYPES[message.severity]),
            body_format=NotifyFormat.TEXT,
        )
    except Exception as error:  # noqa: BLE001 (a plugin's own; its text may quote the URL)
        listener.errors.append(error)
        listener.sentences.append(f"{type(error).__name__} in Apprise.")
    finally:
        listener.stop()


class _Listener(logging.Handler):
    """Hears what Apprise logs in one thread, and which exception it was handling then."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.sentences: list[str] = []
        self.errors: list[BaseException] = []
        self.has_sent = False
        self._thread: int | None = None

    def listen(self) -> None:
        self._thread = threading.get_ident()
        logging.getLogger("apprise").addHandler(self)

    def stop(self) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        handled = sys.exc_info()[1]
        if handled is not None and handled not in self.errors:
            self.errors.append(handled)
        if record.levelno >= logging.WARNING:
            self.sentences.append(record.getMessage())


def _keep_to_ourselves() -> None:
    """No log of Apprise's or of its HTTP client's reaches a file: both write whole URLs."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def _with_timeouts(url: SecretStr) -> str:
    text = url.get_secret_value()
    parts = [("cto", CONNECT_TIMEOUT_S), ("rto", READ_TIMEOUT_S)]
    given = urlsplit(text).query
    wanted = [f"{name}={value:g}" for name, value in parts if not re.search(rf"(^|&){name}=", given)]
    return text + ("&" if "?" in text else "?") + "&".join(wanted) if wanted else text


def _scheme(url: SecretStr) -> str:
    found = _SCHEME.match(url.get_secret_value().lower())
    return found.group() if found else ""


def _scrub(text: str, url: SecretStr) -> str:
    """The text without any part of the URL that could be a token."""
    whole = url.get_secret_value()
    parts = {whole, *re.split(r"[/?&=@:#,]+", whole)}
    parts |= {unquote(part) for part in parts}
    for part in sorted((p for p in parts if len(p) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _chain(error: BaseException) -> set[str]:
    """The names of an exception's class, of what it was made from, and of what it wraps."""
    names: set[str] = set()
    left: list[object] = [error]
    while left:
        found = left.pop()
        if isinstance(found, BaseException) and type(found).__name__ not in names:
            names.add(type(found).__name__)
            left += [found.__cause__, found.__context__, getattr(found, "reason", None), *found.args]
    return names
