"""The outbox: nothing is lost, and nothing comes twice without saying so."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.notifications.channel import Channel, QuietHours
from trading_orchestration.notifications.wording import IN_DOUBT
from trading_orchestration.services.message_sending import LEASE, NEWS_FOR, RETRY_BASE, Sent
from trading_orchestration.store import deliveries
from trading_orchestration.store.alerts import Kind, Severity
from trading_orchestration.store.database import query, transaction
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK, new_york
from trading_orchestration_tests.services.outbox import SECOND, TEN, OutboxWorld, ScriptedService

QUIET = QuietHours(new_york("2024-07-02 22:00").time(), TEN.time(), INDEPENDENCE_WEEK.timezone)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(engine: sa.Engine) -> OutboxWorld:
    return OutboxWorld(engine)


def test_a_notification_is_sent_once(world: OutboxWorld) -> None:
    world.tell("buy 10 AAPL filled", body="at 100")
    assert [world.turn(), world.turn()] == [Sent.SENT, Sent.NOTHING_DUE]
    (message,) = world.service().arrived
    assert message.title == "buy 10 AAPL filled"
    assert message.body == "at 100\n2024-07-02 10:00:00 EDT"
    assert world.statuses() == ["sent"]


def test_severities_and_portfolios_are_told(world: OutboxWorld) -> None:
    with transaction(world.engine) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO broker_accounts (broker, account_number, environment) "
                "VALUES ('paper', '1', 'paper')"
            )
        )
        connection.execute(sa.text("INSERT INTO portfolios (broker_account_id, name) VALUES (1, 'growth')"))
    world.tell("Trading was halted", kind="halt", severity=Severity.CRITICAL, portfolio_id=1)
    world.turn()
    (message,) = world.service().arrived
    assert message.title == "CRITICAL: Trading was halted"
    assert message.body == "portfolio growth, 2024-07-02 10:00:00 EDT"


def test_each_channel_is_told_what_it_wants(engine: sa.Engine) -> None:
    world = OutboxWorld(engine, (Channel(name="phone", severity=Severity.WARNING), Channel(name="mail")))
    world.tell("a fill")
    world.tell("a halt", kind="halt", severity=Severity.CRITICAL)
    for channel in ("phone", "mail"):
        world.drain(channel)
    assert world.service("phone").titles == ["CRITICAL: a halt"]
    assert world.service("mail").titles == ["CRITICAL: a halt", "a fill"]


def test_a_channel_that_refuses_stops_no_other_and_is_tried_again(engine: sa.Engine) -> None:
    world = OutboxWorld(engine, (Channel(name="phone"), Channel(name="mail")))
    world.service("phone").script = ["refuses", "refuses"]
    world.tell("a fill")
    assert [world.turn("phone"), world.turn("mail")] == [Sent.FAILED, Sent.SENT]
    assert world.turn("phone") is Sent.NOTHING_DUE
    assert world.rows("phone")[0]["last_error"] == "phone: error=500."
    world.advance(RETRY_BASE)
    assert world.turn("phone") is Sent.FAILED
    world.advance(RETRY_BASE)
    assert world.turn("phone") is Sent.NOTHING_DUE
    world.advance(RETRY_BASE)
    assert world.turn("phone") is Sent.SENT
    assert world.service("phone").titles == ["a fill"]


def test_what_may_have_arrived_is_sent_again_under_the_same_key_and_says_so(world: OutboxWorld) -> None:
    world.service().script = ["takes and breaks off"]
    world.tell("Trading was halted", kind="halt", severity=Severity.CRITICAL)
    world.drain()
    first, second = world.service().arrived
    assert first.title == "CRITICAL: Trading was halted"
    assert second.title == first.title + IN_DOUBT
    assert second.key == first.key


def test_what_a_dead_sender_had_claimed_is_sent_by_the_next(world: OutboxWorld) -> None:
    world.service().script = ["the sender dies"]
    world.tell("a fill")
    with pytest.raises(KeyboardInterrupt):
        world.turn()
    world.advance(LEASE - SECOND)
    assert world.turn() is Sent.NOTHING_DUE
    world.advance(SECOND)
    assert world.turn() is Sent.SENT
    assert world.service().titles == [f"a fill{IN_DOUBT}"]


def test_a_mark_that_finds_no_database_is_made_once_there_is_one(
    world: OutboxWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the message would come a second time."""
    away, mark = [3], deliveries.set_sent
    waited: list[float] = []

    def set_sent(*arguments: object, **given: object) -> None:
        if away[0]:
            away[0] -= 1
            raise DatabaseUnavailableError("It is away.")
        mark(*arguments, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(deliveries, "set_sent", set_sent)
    world.pause = waited.append
    world.tell("a fill")
    assert world.turn() is Sent.SENT
    assert (waited, world.statuses()) == ([0.5, 1.0, 2.0], ["sent"])


def test_repeats_of_a_kind_within_the_fold_become_one_message(world: OutboxWorld) -> None:
    world.tell("buy 1 AAPL filled")
    world.turn()
    for number in (2, 3, 4):
        world.advance(SECOND)
        world.tell(f"buy {number} AAPL filled")
        assert world.turn() is Sent.NOTHING_DUE
    world.tell("an order of another kind", kind="trade")
    assert world.turn() is Sent.SENT
    world.advance(MINUTE)
    assert world.turn() is Sent.SENT
    last = world.service().arrived[-1]
    assert last.title == "3 × fill: buy 2 AAPL filled, and 2 more"
    assert last.body.splitlines() == [
        "10:00:01 buy 2 AAPL filled",
        "10:00:02 buy 3 AAPL filled",
        "10:00:03 buy 4 AAPL filled",
    ]
    assert world.statuses() == ["sent"] * 5


def test_a_critical_message_waits_for_no_other(world: OutboxWorld) -> None:
    for number in (1, 2):
        world.tell(f"halt {number}", kind="halt", severity=Severity.CRITICAL)
        assert world.turn() is Sent.SENT
    assert len(world.service().arrived) == 2


def test_a_critical_message_that_repeats_itself_within_the_fold_waits(world: OutboxWorld) -> None:
    for body, wanted in (("IBM", Sent.SENT), ("IBM", Sent.NOTHING_DUE)):
        world.advance(SECOND)
        world.tell("Check failed", kind="check", severity=Severity.CRITICAL, body=body)
        assert world.turn() is wanted
    world.advance(MINUTE)
    assert world.turn() is Sent.SENT
    assert world.service().arrived[-1].body.startswith("IBM")


def test_critical_messages_that_come_at_once_are_one(world: OutboxWorld) -> None:
    for job in ("price_update", "position_sync"):
        world.tell(f"{job} did not run", kind="missed_run", severity=Severity.CRITICAL)
    world.drain()
    (message,) = world.service().arrived
    assert message.title == "CRITICAL: 2 × missed run: price_update did not run, and 1 more"


def test_a_critical_message_goes_before_those_that_wait(world: OutboxWorld) -> None:
    world.tell("a fill")
    world.tell("a halt", kind="halt", severity=Severity.CRITICAL)
    world.drain()
    assert world.service().titles == ["CRITICAL: a halt", "a fill"]


def test_a_message_stays_the_same_over_its_attempts(world: OutboxWorld) -> None:
    """What comes meanwhile is another message: a receiver that keeps the key would not read it."""
    world.service().script = ["takes and breaks off"]
    world.tell("a fill")
    world.turn()
    world.tell("another fill")
    world.drain()
    first, other, repeat = world.service().arrived
    assert [m.title for m in (first, other, repeat)] == ["a fill", "another fill", f"a fill{IN_DOUBT}"]
    assert first.key == repeat.key != other.key


def test_in_quiet_hours_only_critical_messages_go(engine: sa.Engine) -> None:
    world = OutboxWorld(engine, (Channel(name="phone", quiet=QUIET),), at=new_york("2024-07-02 23:00"))
    world.tell("a fill")
    world.tell("a halt", kind="halt", severity=Severity.CRITICAL)
    assert [world.turn(), world.turn()] == [Sent.SENT, Sent.NOTHING_DUE]
    world.at = TEN + timedelta(days=1)
    assert world.turn() is Sent.SENT
    assert world.service().titles == ["CRITICAL: a halt", "a fill"]


def test_without_channels_messages_go_nowhere_and_later_ones_come(engine: sa.Engine) -> None:
    world = OutboxWorld(engine, ())
    world.tell("before")
    assert world.outbox.route() == 1
    world.channels = (Channel(name="phone"),)
    world.tell("after")
    world.drain()
    assert world.service().titles == ["after"]


def test_what_a_replay_of_a_past_day_tells_is_no_news(world: OutboxWorld) -> None:
    world.tell("of 2012")
    world.at += NEWS_FOR + SECOND
    assert [world.turn(), world.rows()] == [Sent.NOTHING_DUE, []]


def test_what_cannot_be_told_for_days_is_abandoned_and_stays_on_record(world: OutboxWorld) -> None:
    world.service().script = ["refuses"] * 1000
    world.tell("a fill")
    world.turn()
    world.advance(NEWS_FOR)
    assert world.outbox.abandon_old() == 0
    world.advance(SECOND)
    assert world.outbox.abandon_old() == 1
    assert world.turn() is Sent.NOTHING_DUE
    assert [(row["status"], row["last_error"]) for row in world.rows()] == [
        ("abandoned", "phone: error=500.")
    ]


def test_two_senders_at_once_send_each_message_once(world: OutboxWorld) -> None:
    world.channels = (Channel(name="phone", fold=timedelta(0)),)
    kinds: list[Kind] = ["trade", "fill", "halt", "breaker", "check", "discrepancy", "price_alert", "system"]
    told = [(kind, severity) for kind in kinds for severity in Severity]
    for kind, severity in told:
        world.tell(f"{kind} {severity}", kind=kind, severity=severity)
    service, lock = ScriptedService(), threading.Lock()

    def send() -> None:
        outbox = world.outbox
        while outbox.route() or outbox.send_next(world.channels[0], locked) is not Sent.NOTHING_DUE:
            pass

    class Locked:
        def send(self, message: object) -> None:
            with lock:
                service.send(message)  # type: ignore[arg-type]

    locked = Locked()
    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    titles = [title.rpartition(": ")[2] for title in service.titles]
    assert Counter(titles) == Counter(f"{kind} {severity}" for kind, severity in told)


def test_a_late_answer_marks_what_another_sender_has_taken_over(world: OutboxWorld) -> None:
    """The first sender stood still past its lease; whoever comes third finds nothing left to do."""
    world.tell("a fill")
    world.outbox.route()

    class Slow(ScriptedService):
        def send(self, message: object) -> None:
            world.advance(LEASE)
            with pytest.raises(KeyboardInterrupt):
                world.turn()
            super().send(message)  # type: ignore[arg-type]

    world.service().script = ["the sender dies"]
    slow = Slow()
    assert world.outbox.send_next(world.channels[0], slow) is Sent.SENT
    world.advance(LEASE)
    assert world.turn() is Sent.NOTHING_DUE
    assert (slow.titles, world.statuses()) == (["a fill"], ["sent"])


KINDS_TOLD: tuple[Kind, Kind] = ("fill", "halt")
OUTCOMES = (
    "takes",
    "refuses",
    "breaks off",
    "takes and breaks off",
    "the sender dies",
    "takes and the sender dies",
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    script=st.lists(st.sampled_from(OUTCOMES), max_size=12),
    steps=st.lists(
        st.tuples(st.sampled_from(KINDS_TOLD), st.sampled_from(Severity), st.sampled_from([0, 1, 70, 130])),
        min_size=1,
        max_size=6,
    ),
)
def test_whatever_services_and_senders_do_nothing_is_lost_and_a_repeat_says_so(
    world: OutboxWorld, script: list[str], steps: list[tuple[Kind, Severity, int]]
) -> None:
    with transaction(world.engine) as connection:
        connection.execute(sa.text("DELETE FROM notifications"))
    world.services = {"phone": ScriptedService(script=list(script))}
    told = []
    for number, (kind, severity, wait_s) in enumerate(steps):
        told.append(f"message {number}.")
        world.tell(told[-1], kind=kind, severity=severity)
        _live(world)
        world.advance(timedelta(seconds=wait_s))
    while world.is_open("phone") or not world.rows():
        _live(world)
        world.advance(LEASE)
    assert set(world.statuses()) == {"sent"}
    seen: set[str] = set()
    said: Counter[str] = Counter()
    for message in world.service().arrived:
        assert message.key not in seen or message.title.endswith(IN_DOUBT)
        if message.key not in seen:
            said.update(title for title in told if title in message.title + message.body)
        seen.add(message.key)
    assert said == Counter(told)


def _live(world: OutboxWorld) -> None:
    """What a sender does in one life."""
    try:
        while world.turn() is Sent.SENT:
            pass
    except KeyboardInterrupt:
        pass


def test_claims_use_their_indexes(world: OutboxWorld) -> None:
    """With a year of sent messages, what is open is found without reading them."""
    given = {"channel": "phone", "at": TEN, "sent_after": TEN, "is_quiet": False, "limit": 50}
    given |= {"message_id": None, "lease_until": TEN}
    world.tell("open")
    world.outbox.route()
    with transaction(world.engine) as connection:
        for statement in YEAR_OF_SENT:
            connection.execute(sa.text(statement))
        for name in ("unrouted_notifications", "claim_message"):
            plan = connection.execute(sa.text(f"EXPLAIN {query(name).text}"), given).scalars()
            assert "Seq Scan on notif" not in "\n".join(plan)


YEAR_OF_SENT = (
    """INSERT INTO notifications (severity, kind, title, dedupe_key, occurred_at, routed_at)
       SELECT 'info', 'fill', 'old', 'old ' || n, now(), now() FROM generate_series(1, 20000) n""",
    """INSERT INTO notification_deliveries
           (notification_id, channel, status, message_id, attempts, due_at, sent_at)
       SELECT id, 'phone', 'sent', gen_random_uuid(), 1, now(), '2024-01-01Z' FROM notifications
       WHERE title = 'old'""",
    "ANALYZE notifications",
    "ANALYZE notification_deliveries",
)
