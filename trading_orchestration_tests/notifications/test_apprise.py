"""What becomes of a message at a service that takes it, refuses it, breaks off or hangs: over real HTTP."""

import io
import logging
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from trading_orchestration.cli.processes import free_port
from trading_orchestration.errors import (
    NotificationRefusedError,
    NotificationUnknownError,
    SettingsError,
)
from trading_orchestration.notifications import apprise
from trading_orchestration.notifications.apprise import KEY_HEADER, AppriseNotifier
from trading_orchestration.notifications.notifier import Message
from trading_orchestration.store.alerts import Severity
from trading_orchestration_tests.fixtures.loopback_vendor import LoopbackVendor, Reply, loopback_vendor

TOKEN = "t0ken-that-nobody-may-see"
MESSAGE = Message(key="key-1", severity=Severity.CRITICAL, title="Trading was halted", body="A reason.")


@pytest.fixture
def service() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def root_log() -> Iterator[io.StringIO]:
    """What a handler of the root logger writes that lets everything through."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("tests").debug("it listens")
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


def at(service: LoopbackVendor, options: str = "", deadline_s: float = 20) -> AppriseNotifier:
    host = urlsplit(service.url).netloc
    return AppriseNotifier("phone", SecretStr(f"json://{host}/{TOKEN}{options}"), deadline_s)


def test_a_message_arrives_once_with_its_severity_and_its_key(service: LoopbackVendor) -> None:
    service.replies(Reply())
    at(service).send(MESSAGE)
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", f"/{TOKEN}")
    assert (asked.body["title"], asked.body["message"]) == ("Trading was halted", "A reason.")
    assert asked.body["type"] == "failure"
    assert asked.headers[KEY_HEADER.lower()] == "key-1"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_a_no_is_a_refusal(service: LoopbackVendor, status: int) -> None:
    service.replies(Reply(status=status, text=f"no {TOKEN}"))
    with pytest.raises(NotificationRefusedError, match=f"phone .*{status}"):
        at(service).send(MESSAGE)
    assert len(service.asked) == 1


@pytest.mark.parametrize("options", ["", "?retry=3"])
def test_a_connection_that_breaks_off_after_the_message_leaves_it_in_doubt(
    service: LoopbackVendor, options: str
) -> None:
    """And Apprise's own repeats, which would double it, are not used."""
    service.replies(Reply(is_reset=True))
    with pytest.raises(NotificationUnknownError, match="whether it arrived is not known"):
        at(service, options).send(MESSAGE)
    assert len(service.asked) == 1


def test_a_service_that_says_nothing_leaves_it_in_doubt(service: LoopbackVendor) -> None:
    service.replies(Reply(delay_s=1.0))
    with pytest.raises(NotificationUnknownError):
        at(service, "?rto=0.2").send(MESSAGE)


def test_a_service_that_trickles_is_given_up_at_the_deadline(service: LoopbackVendor) -> None:
    service.replies(Reply(text="x" * 20, drip_s=0.1))
    notifier = at(service, deadline_s=0.3)
    with pytest.raises(NotificationUnknownError, match=r"phone did not answer within 0\.3 s"):
        notifier.send(MESSAGE)
    assert not notifier.is_clogged


def test_sends_that_never_end_clog_a_channel(
    service: LoopbackVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apprise, "HANGING_MAX", 2)
    service.replies(Reply(text="x" * 20, drip_s=0.1))
    notifier = at(service, deadline_s=0.05)
    for is_clogged in (False, True):
        with pytest.raises(NotificationUnknownError):
            notifier.send(MESSAGE)
        assert notifier.is_clogged is is_clogged


def test_a_service_that_is_down_took_nothing() -> None:
    notifier = AppriseNotifier("phone", SecretStr(f"json://127.0.0.1:{free_port()}/{TOKEN}"))
    with pytest.raises(NotificationRefusedError):
        notifier.send(MESSAGE)


@pytest.mark.parametrize("reply", [Reply(status=500, text=TOKEN), Reply(is_reset=True)])
def test_no_part_of_the_url_is_logged_or_told(
    service: LoopbackVendor,
    reply: Reply,
    root_log: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Apprise's debug log has the whole URL; neither the root logger nor standard error may see it."""
    service.replies(reply)
    notifier = at(service, "?user=secretuser&+Authorization=secretheader")
    with pytest.raises((NotificationRefusedError, NotificationUnknownError)) as caught:
        notifier.send(MESSAGE)
    captured = capfd.readouterr()
    shown = "\n".join((str(caught.value), repr(notifier), root_log.getvalue(), captured.out, captured.err))
    assert "it listens" in shown
    for secret in (TOKEN, "secretuser", "secretheader"):
        assert secret not in shown
    assert caught.value.__cause__ is None


def test_a_url_that_apprise_cannot_read_is_told_by_its_channel(capfd: pytest.CaptureFixture[str]) -> None:
    notifier = AppriseNotifier("phone", SecretStr(f"nosuch://{TOKEN}"))
    with pytest.raises(SettingsError, match=r"channel phone \(nosuch://…\)") as caught:
        notifier.send(MESSAGE)
    assert TOKEN not in str(caught.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("ntfy://a-topic", "ntfy"),
        ("mailto://me:pass@gmail.com", "E-Mail"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "Telegram"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/", "Slack"),
    ],
)
def test_urls_of_many_services_are_read(url: str, service: str) -> None:
    assert AppriseNotifier("any", SecretStr(url)).service == service
