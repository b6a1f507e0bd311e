"""Old rows go in bounded batches, found by their indexes; what something still names stays."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from trading_orchestration.store import retention
from trading_orchestration.store.database import query, transaction

AGED = """
    INSERT INTO job_executions (job_type, run_id, triggered_by, tick, execution_status, started_at,
                                finished_at, error_message)
    SELECT 'order_status_check', 'run-' || n, 'schedule', at,
           CAST(CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END AS execution_status), at, at,
           CASE WHEN n % 10 = 0 THEN 'down' END
    FROM generate_series(1, :number) n CROSS JOIN LATERAL (SELECT now() - n * interval '1 minute' AS at) a;
    INSERT INTO notifications (severity, kind, title, dedupe_key, occurred_at, created_at, routed_at)
    SELECT 'info', 'fill', 'a fill', 'message-' || n, at, at, at
    FROM generate_series(1, :number) n CROSS JOIN LATERAL (SELECT now() - n * interval '1 minute' AS at) a
"""
#: 20,000 minutes are almost 14 days, so that 6,000 or so are older than ten.
NUMBER, KEEP_DAYS = 20_000, 10
OLD = NUMBER - KEEP_DAYS * 1440


@pytest.fixture
def aged(engine: sa.Engine) -> sa.Engine:
    with transaction(engine) as connection:
        for statement in AGED.split(";"):
            connection.execute(sa.text(statement), {"number": NUMBER})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    return engine


def ask(engine: sa.Engine, statement: str) -> list[object]:
    with transaction(engine) as connection:
        return list(connection.execute(sa.text(statement)).scalars())


def change(engine: sa.Engine, *statements: str) -> None:
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("purge", "table"),
    [
        (retention.purge_executions, "job_executions"),
        (retention.purge_notifications, "notifications"),
    ],
)
def test_old_rows_go_in_bounded_batches(
    aged: sa.Engine, purge: Callable[..., int], table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCHES_MAX", 2)
    removed = [purge(lambda: transaction(aged), keep_days=KEEP_DAYS) for _ in range(3)]
    assert removed[0] == 2 * retention.BATCH
    assert abs(sum(removed) - OLD) < 5
    assert ask(aged, f"SELECT count(*) FROM {table} WHERE {table}.id > 0") == [NUMBER - sum(removed)]


def test_executions_stay_that_a_difference_or_a_breaker_names(aged: sa.Engine) -> None:
    """What an open halt was made for can be looked up, however long ago that was."""
    change(
        aged,
        "INSERT INTO broker_accounts (broker, account_number, environment) VALUES ('paper', '1', 'paper')",
        "INSERT INTO discrepancies (broker_account_id, symbol, ours, brokers, cause, resolution, run_id, "
        "found_at) VALUES (1, NULL, 1, 2, 'unknown', 'halted', 'run-19000', now())",
        "INSERT INTO breaker_events (job_type, old_status, new_status, reason, run_id, actor, at) VALUES "
        "('order_status_check', 'enabled', 'error', 'down', 'run-19001', 'breaker', now())",
        "UPDATE scheduled_jobs SET probe_run_id = 'run-19002' WHERE job_type = 'order_status_check'",
    )
    retention.purge_executions(lambda: transaction(aged), keep_days=KEEP_DAYS)
    left = ask(
        aged, "SELECT run_id FROM job_executions WHERE started_at < now() - interval '11 days' ORDER BY 1"
    )
    assert left == ["run-19000", "run-19001", "run-19002"]


def test_a_message_under_way_stays_and_one_that_arrived_goes_with_its_deliveries(aged: sa.Engine) -> None:
    change(
        aged,
        "INSERT INTO notification_channels VALUES ('phone', now())",
        "INSERT INTO notification_deliveries (notification_id, channel, due_at) "
        "SELECT id, 'phone', now() FROM notifications WHERE dedupe_key IN ('message-19000', 'message-19001')",
        "UPDATE notification_deliveries SET status = 'sent', sent_at = now(), attempts = 1, "
        "message_id = gen_random_uuid() WHERE notification_id = "
        "(SELECT id FROM notifications WHERE dedupe_key = 'message-19000')",
    )
    retention.purge_notifications(lambda: transaction(aged), keep_days=KEEP_DAYS)
    old = "SELECT dedupe_key FROM notifications WHERE created_at < now() - interval '11 days'"
    assert ask(aged, old) == ["message-19001"]
    assert ask(aged, "SELECT status FROM notification_deliveries") == ["waiting"]


@pytest.mark.parametrize(
    ("name", "table"), [("purge_executions", "job_executions"), ("purge_notifications", "notifications")]
)
def test_what_is_old_is_found_by_an_index(aged: sa.Engine, name: str, table: str) -> None:
    """Also when nothing is, which is what most evaluations find."""
    given = {"job_type": "order_status_check", "keep_days": 400, "limit": retention.BATCH}
    with transaction(aged) as connection:
        plan = "\n".join(connection.execute(sa.text(f"EXPLAIN {query(name).text}"), given).scalars())
    assert f"Seq Scan on {table}" not in plan, plan
