"""Which channel is told what, and when; and what is wrong with settings, told without a URL."""

import re
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from trading_orchestration.errors import SettingsError
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.notifications.routing import Routing, read_routing
from trading_orchestration.settings import Settings
from trading_orchestration.store.alerts import KINDS, Severity
from trading_orchestration_tests.fixtures.market_calendars import new_york

NEW_YORK = ZoneInfo("America/New_York")
URLS = "phone=ntfy://secret-topic mail=mailto://me:secret-word@example.com"
PACKAGE = Path(__file__).parents[2] / "trading_orchestration"


def routing(tmp_path: Path, text: str | None = None, urls: str | None = URLS) -> Routing:
    file = tmp_path / "notify.yaml"
    if text is not None:
        file.write_text(text)
    settings = Settings(
        trading_notify_urls=SecretStr(urls) if urls is not None else None,
        trading_notify_file=file if text is not None else None,
    )
    return read_routing(settings, zone=NEW_YORK)


def channel(tmp_path: Path, rules: str, name: str = "phone") -> Channel:
    found = routing(tmp_path, f"channels:\n  {name}: {rules}\n").channels
    return next(served for served, _ in found if served.name == name)


def test_without_settings_nobody_is_told(tmp_path: Path) -> None:
    assert routing(tmp_path, urls=None).channels == ()


def test_a_channel_without_rules_is_told_everything(tmp_path: Path) -> None:
    found = routing(tmp_path)
    assert [served for served, _ in found.channels] == [Channel(name="phone"), Channel(name="mail")]
    assert found.zone == NEW_YORK
    assert all(Channel(name="phone").wants(severity, kind) for severity in Severity for kind in KINDS)


def test_a_severity_bounds_what_a_channel_is_told(tmp_path: Path) -> None:
    phone = channel(tmp_path, "{severity: warning}")
    assert [phone.wants(severity, "fill") for severity in Severity] == [False, True, True]


def test_critical_messages_come_whatever_their_kind(tmp_path: Path) -> None:
    phone = channel(tmp_path, "{kinds: [fill]}")
    assert phone.wants(Severity.INFO, "fill")
    assert not phone.wants(Severity.WARNING, "trade")
    assert phone.wants(Severity.CRITICAL, "halt")


def test_the_fold_is_set_in_seconds(tmp_path: Path) -> None:
    assert channel(tmp_path, "{fold_s: 300}").fold == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("local", "is_quiet"),
    [("21:59", False), ("22:00", True), ("00:30", True), ("06:59", True), ("07:00", False), ("12:00", False)],
)
def test_quiet_hours_go_over_midnight_in_their_time_zone(tmp_path: Path, local: str, is_quiet: bool) -> None:
    """Tokyo is 13 hours ahead of New York in summer: 22:00 there is 09:00 here."""
    file = "time_zone: Asia/Tokyo\nchannels: {phone: {quiet_hours: '22:00-07:00'}}"
    (phone, _), _ = routing(tmp_path, file).channels
    assert phone.is_quiet(new_york(f"2024-07-02 {local}") - timedelta(hours=13)) is is_quiet


def test_quiet_hours_of_one_day_end_on_it(tmp_path: Path) -> None:
    phone = channel(tmp_path, "{quiet_hours: '12:00-13:00'}")
    quiet = [phone.is_quiet(new_york(f"2024-07-02 {at}")) for at in ("11:59", "12:00", "12:59", "13:00")]
    assert quiet == [False, True, True, False]


@pytest.mark.parametrize(
    ("urls", "wanted"),
    [
        ("ntfy://secret-topic", "entry 1 is not NAME=URL"),
        ("phone=ntfy://a Phone=ntfy://secret-topic", "entry 2 is not NAME=URL"),
        ("phone=ntfy://a phone=ntfy://secret-topic", "two channels called phone"),
        ("phone=secret-topic", "entry 1 is not NAME=URL"),
    ],
)
def test_urls_that_cannot_be_used_are_told_by_their_place(tmp_path: Path, urls: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted) as caught:
        routing(tmp_path, urls=urls)
    assert "secret-topic" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("channels: {fax: {}}", "a channel fax, which has no URL"),
        ("channels: {phone: {severity: loud}}", "channels.phone.severity: Input should be 'info'"),
        ("channels: {phone: {kinds: [fil]}}", "there is no kind fil; there are trade, fill"),
        ("channels: {phone: {quiet_hours: '22:00'}}", "a span of the day such as 22:00-07:00"),
        ("channels: {phone: {quiet_hours: '24:00-07:00'}}", "a span of the day"),
        ("channels: {phone: {fold_s: -1}}", "channels.phone.fold_s: Input should be greater"),
        ("channels: {phone: {url: 'ntfy://secret-topic'}}", "channels.phone.url: Extra inputs"),
        ("time_zone: Mars/Olympus", "a time zone such as Europe/Berlin"),
        ("channels: [phone]", "channels: Input should be a valid dictionary"),
        ("channels: {phone", "notify.yaml is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_its_key(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(SettingsError, match=wanted) as caught:
        routing(tmp_path, text)
    assert "secret-topic" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = Settings(trading_notify_file=tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read: No such file"):
        read_routing(settings, zone=NEW_YORK)


def test_every_kind_that_is_written_can_be_routed() -> None:
    files = [text for path in PACKAGE.rglob("*.py") if " Notification(" in (text := path.read_text())]
    lines = [line for text in files for line in text.splitlines() if re.match(r"\s+kind=", line)]
    written = {kind for line in lines for kind in re.findall(r'"(\w+)"', line)}
    assert written | {"test"} == set(KINDS)
