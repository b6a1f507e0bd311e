"""The process that tells people, without a process: what it pings, what it says, and how it ends."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.cli import notify_process
from trading_orchestration.cli.notify_process import Notifying
from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.notifications.apprise import AppriseNotifier
from trading_orchestration.notifications.channel import Channel
from trading_orchestration.notifications.heartbeat import ping
from trading_orchestration.notifications.routing import Routing
from trading_orchestration.settings import Settings
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import transaction
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor
from trading_orchestration_tests.services.job_record import TEN, JobRecord

PING = Notifying._ping
SECRET = "a-uuid-that-nobody-may-see"


@pytest.fixture
def switch() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        vendor.replies(Reply())
        yield vendor


@dataclass
class Process:
    """A process that works until `looks` are over."""

    engine: sa.Engine
    url: str = ""
    channels: tuple[tuple[Channel, AppriseNotifier], ...] = ()
    said: list[str] = field(default_factory=list)

    def run(self, monkeypatch: pytest.MonkeyPatch, at: JobRecord, looks: int = 2) -> None:
        for name in ("WATCH_EVERY_S", "PING_EVERY_S"):
            monkeypatch.setattr(notify_process, name, 0.0)
        monkeypatch.setattr(notify_process, "ROUTE_EVERY_S", 0.01)
        notifying = Notifying(
            Settings(trading_heartbeat_url=SecretStr(self.url) if self.url else None),
            lambda: transaction(self.engine),
            at.calendar,
            lambda: at.at,
            Routing(self.channels, at.calendar.timezone),
            self.said.append,
        )
        left = [looks]

        def look(this: Notifying) -> None:
            left[0] -= 1
            if not left[0]:
                this.stop.set()
            PING(this)

        monkeypatch.setattr(Notifying, "_ping", look)
        notifying.run()


def late(engine: sa.Engine) -> JobRecord:
    """`price_update` is switched on since yesterday, and has not run today."""
    record = JobRecord(engine, TEN)
    record.change("UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE job_type = 'price_update'")
    return record


def test_the_switch_is_pinged_while_all_is_well(
    engine: sa.Engine, switch: LoopbackVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(engine, f"{switch.url}/{SECRET}")
    process.run(monkeypatch, JobRecord(engine))
    assert [(asked.method, asked.path) for asked in switch.asked] == [("GET", f"/{SECRET}")] * 2
    assert process.said == []


def test_it_raises_the_alarm_without_dagster_and_pings_no_more_until_the_job_runs(
    engine: sa.Engine, switch: LoopbackVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, record = Process(engine, f"{switch.url}/{SECRET}"), late(engine)
    process.run(monkeypatch, record)
    assert process.said == [
        "price_update did not run at 2024-07-02 09:30",
        "ping: No ping: price_update did not run when due.",
    ]
    assert switch.asked == []
    record.succeed()
    process.said.clear()
    process.run(monkeypatch, record)
    assert process.said == ["price_update runs again"]
    assert len(switch.asked) == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=404), "heartbeat: TRADING_HEARTBEAT_URL answered 404."),
        (Reply(is_reset=True), "heartbeat: TRADING_HEARTBEAT_URL cannot be asked: ReadError."),
        (Reply(delay_s=0.5), "heartbeat: TRADING_HEARTBEAT_URL did not answer within 0.1 s."),
    ],
)
def test_a_switch_that_does_not_answer_is_told_once_and_its_url_never(
    engine: sa.Engine, switch: LoopbackVendor, monkeypatch: pytest.MonkeyPatch, reply: Reply, said: str
) -> None:
    switch.replies(reply)
    monkeypatch.setattr(notify_process, "ping", lambda url: ping(url, timeout_s=0.1))
    process = Process(engine, f"{switch.url}/{SECRET}")
    process.run(monkeypatch, JobRecord(engine))
    assert process.said == [said]


def test_a_database_that_is_away_is_told_once_and_again_when_it_is_back(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_process, "_DATABASE_AWAY_S", 0.0)
    away = [2]

    def watch_jobs(*_given: object) -> list[str]:
        away[0] -= 1
        if away[0] >= 0:
            raise DatabaseUnavailableError("PostgreSQL does not answer.")
        return []

    monkeypatch.setattr(notify_process, "watch_jobs", watch_jobs)
    process = Process(engine)
    process.run(monkeypatch, JobRecord(engine), looks=4)
    assert process.said == ["jobs: PostgreSQL does not answer.", "jobs: all is well again"]


def test_a_channel_that_hangs_stops_no_other(
    engine: sa.Engine, switch: LoopbackVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message to the first is answered only when that to the second has come."""
    second_came = threading.Event()

    def answer(asked: Asked) -> Reply:
        if asked.path == "/second":
            second_came.set()
            return Reply()
        return Reply(delay_s=0.0 if second_came.wait(20) else 60.0)

    monkeypatch.setattr(LoopbackVendor, "take", lambda _, asked: answer(asked))
    host = switch.url.removeprefix("http://")
    pairs = tuple(
        (Channel(name=name), AppriseNotifier(name, SecretStr(f"json://{host}/{name}?rto=30")))
        for name in ("first", "second")
    )
    message = Notification(severity=Severity.CRITICAL, kind="halt", title="halted", dedupe_key="x")
    with transaction(engine) as connection:
        add_notifications(connection, [message], at=TEN)
    Process(engine, channels=pairs).run(monkeypatch, JobRecord(engine), looks=60)
    with transaction(engine) as connection:
        sent = connection.execute(sa.text("SELECT status, attempts FROM notification_deliveries")).all()
    assert sent == [("sent", 1), ("sent", 1)]


def test_a_channel_whose_thread_would_die_ends_the_process(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor starts another; a channel that nobody serves would be missed by nobody."""

    def send_next(*_given: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("trading_orchestration.services.message_sending.Outbox.send_next", send_next)
    url = SecretStr("json://127.0.0.1:9")
    process = Process(engine, channels=((Channel(name="phone"), AppriseNotifier("phone", url)),))
    with pytest.raises(ZeroDivisionError):
        process.run(monkeypatch, JobRecord(engine), looks=1_000)


def test_a_channel_that_cannot_be_is_told_when_the_process_starts(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = SecretStr(f"nosuch://{SECRET}")
    process = Process(engine, channels=((Channel(name="phone"), AppriseNotifier("phone", url)),))
    process.run(monkeypatch, JobRecord(engine), looks=100)
    (said,) = process.said
    assert "channel phone (nosuch://…)" in said
    assert SECRET not in said
