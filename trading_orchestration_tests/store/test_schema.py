"""What the database itself refuses, whatever the code does."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from trading_orchestration_tests.store.rows import AT, LATER, VALID, YESTERDAY, Row, insert, second

# Table, the constraint that must say no, and what makes a valid second row break it.
VIOLATIONS: list[tuple[str, str, Row]] = [
    ("instruments", "symbol_is_upper_case", {"symbol": "aapl"}),
    ("instruments", "symbol_is_upper_case", {"symbol": "A" * 17}),
    ("bars", "bar_ends_after_it_starts", {"ends_at": AT}),
    ("bars", "bar_prices_are_positive", {"low": 0}),
    ("bars", "bar_low_and_high_bound_open_and_close", {"open": 13}),
    ("bars", "bar_low_and_high_bound_open_and_close", {"close": 8}),
    ("bars", "bar_prices_are_finite", {"high": "NaN"}),
    ("bars", "bar_volume_is_not_negative", {"volume": -1}),
    ("bar_revisions", "bar_revision_changes_the_bar", {"new_close": 11}),
    ("bar_acceptances", "acceptance_has_actor_and_reason", {"reason": ""}),
    ("quotes", "quote_price_is_positive", {"price": 0}),
    ("quotes", "quote_bid_is_positive", {"bid": 0}),
    ("quotes", "quote_ask_is_positive", {"ask": -1}),
    ("quotes", "quote_previous_close_is_positive", {"previous_close": 0}),
    ("portfolios", "portfolio_name_is_a_slug", {"name": "My portfolio"}),
    ("portfolios", "max_position_pct_is_a_fraction", {"max_position_pct": 25}),
    ("portfolios", "max_positions_is_positive", {"max_positions": 0}),
    ("portfolios", "stop_loss_pct_is_a_fraction", {"stop_loss_pct": 1}),
    ("portfolios", "take_profit_pct_is_positive", {"take_profit_pct": 0}),
    ("portfolios", "max_daily_loss_pct_is_a_fraction", {"max_daily_loss_pct": 5}),
    ("portfolios", "max_drawdown_pct_is_a_fraction", {"max_drawdown_pct": "NaN"}),
    ("portfolios", "min_cash_pct_is_a_fraction", {"min_cash_pct": -0.1}),
    ("strategies", "strategy_name_is_a_slug", {"name": ""}),
    ("live_permissions", "permission_has_number_actor_and_reason", {"account_number": ""}),
    ("live_permissions", "permission_has_number_actor_and_reason", {"reason": ""}),
    ("live_permissions", "revoked_with_actor_and_reason_or_not_at_all", {"revoked_at": AT}),
    ("halts", "halt_has_a_reason", {"reason": ""}),
    ("halts", "resumed_with_actor_and_reason_or_not_at_all", {"resumed_at": AT, "resumed_by": "me"}),
    ("trades", "client_order_id_is_short_and_plain", {"client_order_id": "x" * 49}),
    ("trades", "client_order_id_is_short_and_plain", {"client_order_id": "with space"}),
    ("trades", "trade_quantity_is_positive", {"quantity": 0}),
    ("trades", "filled_quantity_is_within_quantity", {"filled_quantity": 3}),
    ("trades", "filled_means_the_whole_quantity", {"status": "filled", "filled_quantity": 1}),
    ("trades", "limit_price_where_the_type_needs_it", {"order_type": "limit"}),
    ("trades", "limit_price_where_the_type_needs_it", {"limit_price": 10}),
    ("trades", "stop_price_where_the_type_needs_it", {"order_type": "stop"}),
    ("trades", "limit_price_is_positive", {"order_type": "limit", "limit_price": 0}),
    ("trades", "stop_price_is_positive", {"order_type": "stop", "stop_price": -1}),
    ("trades", "reserved_cash_is_not_negative", {"reserved_cash": -1}),
    ("trades", "the_broker_has_what_is_submitted", {"status": "submitted"}),
    ("trades", "submitting_holds_a_lease", {"status": "submitting"}),
    ("trades", "submitting_holds_a_lease", {"lease_until": AT}),
    ("trades", "final_has_finalized_at", {"status": "rejected"}),
    ("trades", "final_has_finalized_at", {"finalized_at": AT}),
    ("fills", "fill_quantity_is_positive", {"quantity": 0}),
    ("fills", "fill_price_is_positive", {"price": 0}),
    ("fills", "fill_fee_is_finite", {"fee": "NaN"}),
    ("fills", "fill_is_within_its_cumulative_quantity", {"quantity": 2}),
    ("cash_movements", "cash_movement_is_finite", {"amount": "NaN"}),
    ("cash_movements", "cash_movement_has_the_sign_of_its_kind", {"amount": -1}),
    ("cash_movements", "cash_movement_has_the_sign_of_its_kind", {"kind": "withdrawal"}),
    ("cash_movements", "cash_movement_has_the_sign_of_its_kind", {"kind": "fee"}),
    ("cash_movements", "cash_movement_has_the_sign_of_its_kind", {"kind": "interest", "amount": 0}),
    ("discrepancies", "a_discrepancy_differs", {"brokers": 1}),
    ("corporate_actions", "a_split_has_a_ratio", {"new_units": None}),
    ("corporate_actions", "a_split_has_a_ratio", {"kind": "dividend", "cash_per_unit": 1}),
    ("corporate_actions", "split_units_are_positive_and_differ", {"old_units": 0}),
    ("corporate_actions", "split_units_are_positive_and_differ", {"old_units": 7}),
    ("corporate_actions", "only_a_split_leaves_fractions", {"fraction_price": 0}),
    ("corporate_actions", "a_dividend_pays", {"kind": "dividend", "new_units": None, "old_units": None}),
    ("corporate_actions", "cash_per_unit_is_not_negative", {"cash_per_unit": 1}),
    ("corporate_actions", "only_a_dividend_is_paid_later", {"paid_at": LATER}),
    ("corporate_actions", "only_a_dividend_is_special", {"is_special": True}),
    ("corporate_actions", "a_symbol_change_names_another_symbol", {"new_symbol": "IBM"}),
    ("corporate_actions", "withdrawn_with_actor_and_reason_or_not_at_all", {"withdrawn_at": AT}),
    ("adjustments", "a_kept_cost_has_units_and_no_unit_cost", {"keeps_cost": True}),
    ("adjustments", "revision_is_not_negative", {"revision": -1}),
    ("adjustments", "adjustment_moves_a_quantity_or_cash", {"quantity": 0}),
    ("adjustments", "adjusted_quantity_names_its_symbol", {"symbol": None}),
    ("adjustments", "unit_cost_is_not_negative", {"unit_cost": -1}),
    ("positions", "average_cost_is_not_negative", {"average_cost": -1}),
    ("positions", "a_flat_position_has_no_cost", {"quantity": 0}),
    ("portfolio_snapshots", "total_is_cash_plus_positions", {"total_value": 101}),
    ("portfolio_snapshots", "position_count_is_not_negative", {"position_count": -1}),
    ("portfolio_snapshot_positions", "value_is_quantity_times_close", {"value": 11}),
    ("portfolio_snapshot_positions", "a_snapshot_lists_no_flat_position", {"quantity": 0, "value": 0}),
    ("notification_deliveries", "sent_with_its_time_or_not_at_all", {"sent_at": None}),
    ("notification_deliveries", "attempted_with_a_message", {"message_id": None}),
    ("portfolio_snapshot_positions", "a_close_of_another_session_says_how_old_it_is", {"close_age": 1}),
    ("portfolio_snapshots", "gross_value_is_not_below_the_net", {"gross_value": 9}),
    ("portfolio_snapshots", "snapshot_gross_value_is_not_nan", {"gross_value": "NaN"}),
    ("portfolio_snapshots", "stale_with_a_reason_or_not_at_all", {"stale_reason": "why"}),
    ("price_alerts", "alert_threshold_is_positive", {"threshold": 0}),
    ("price_alerts", "percent_change_has_a_reference", {"reference_price": None}),
    ("price_alerts", "percent_change_has_a_reference", {"condition": "above"}),
    ("price_alerts", "alert_reference_is_positive", {"reference_price": 0}),
    ("price_alerts", "triggered_with_time_and_price_or_not_at_all", {"triggered_price": None}),
    ("price_alerts", "triggered_with_time_and_price_or_not_at_all", {"status": "active"}),
    ("price_alerts", "only_a_disabled_alert_was_disabled_by_an_action", {"disabled_by": 1}),
    ("job_executions", "started_holds_a_lease", {"execution_status": "started", "finished_at": None}),
    ("job_executions", "finished_has_finished_at", {"finished_at": None}),
    ("job_executions", "finished_is_not_before_started", {"started_at": LATER, "finished_at": AT}),
    ("job_executions", "skipped_has_a_reason", {"execution_status": "skipped"}),
    ("job_executions", "failed_has_an_error", {"execution_status": "failed"}),
    ("breaker_events", "breaker_event_changes_the_status", {"new_status": "enabled"}),
    ("job_setting_changes", "setting_change_changes_the_value", {"new_value": 240}),
    ("job_setting_changes", "setting_change_has_actor_and_reason", {"reason": ""}),
    ("job_setting_changes", "setting_change_has_actor_and_reason", {"actor": ""}),
    ("paper.transfers", "transfers_amount_check", {"amount": "NaN"}),
    ("paper.orders", "orders_quantity_check", {"quantity": 0}),
    ("paper.orders", "orders_limit_price_check", {"limit_price": 0}),
    ("paper.orders", "orders_stop_price_check", {"stop_price": 0}),
    ("paper.orders", "orders_unit_reserve_check", {"unit_reserve": -1}),
    ("paper.orders", "filled_quantity_is_within_quantity", {"filled_quantity": 3}),
    ("paper.executions", "executions_quantity_check", {"quantity": 0}),
    ("paper.executions", "executions_price_check", {"price": 0}),
    ("paper.prices", "prices_price_check", {"price": 0}),
]

# scheduled_jobs has its six rows from the migration: a change breaks the rule, not an insert.
JOB_VIOLATIONS: list[tuple[str, str]] = [
    ("failure_threshold_is_positive", "failure_threshold = 0"),
    ("probe_successes_is_positive", "probe_successes = 0"),
    ("waits_are_positive_and_ordered", "wait_base_s = wait_cap_s + 1"),
    ("stale_after_is_positive", "stale_after_s = 0"),
    ("lease_is_positive", "lease_s = 0"),
    ("missed_after_is_positive", "missed_after_s = 0"),
    ("counters_are_not_negative", "open_count = -1"),
    ("recent_outcomes_are_at_most_20", "recent_outcomes = array_fill(true, ARRAY[21])"),
    ("an_open_breaker_retries_or_waits_for_a_person", "job_status = 'error'"),
    ("job_numbers_are_not_nan", "average_duration_ms = 'NaN'"),
]

APPEND_ONLY = [
    "bar_revisions",
    "corporate_actions",
    "fills",
    "cash_movements",
    "discrepancies",
    "adjustments",
    "breaker_events",
    "job_setting_changes",
]


@pytest.fixture(scope="module")
def seeded(
    new_database: Callable[[str], AbstractContextManager[str]], template: str
) -> Iterator[psycopg.Connection]:
    """A connection on a database with a valid row in every table, and a second portfolio and the like."""
    with new_database(template) as url, psycopg.connect(url, autocommit=True) as connection:
        for table, row in VALID.items():
            insert(connection, table, row)
        insert(connection, "instruments", {"symbol": "IBM"})
        insert(connection, "portfolios", {"broker_account_id": 1, "name": "second"})
        insert(connection, "notification_channels", {"name": "mail", "served_at": AT})
        insert(connection, "paper.accounts", {"account_number": "3", "cash": 0})
        yield connection


@pytest.fixture
def connection(seeded: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """`seeded` in a transaction that is rolled back."""
    with seeded.transaction(force_rollback=True):
        yield seeded


def columns(connection: psycopg.Connection, condition: str) -> list[tuple[str, str]]:
    """(table, column) of every table of ours where `condition` holds of its pg_attribute row `a`."""
    found = connection.execute(
        "SELECT a.attrelid::regclass::text, a.attname "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace IN ('public'::regnamespace, 'paper'::regnamespace) AND c.relkind = 'r' "
        f"AND c.relname <> 'schema_migrations' AND a.attnum > 0 AND {condition} ORDER BY 1, 2".encode()
    )
    return [(row[0], row[1]) for row in found.fetchall()]


@pytest.mark.parametrize("table", VALID)
def test_the_rows_that_these_tests_spoil_are_valid(connection: psycopg.Connection, table: str) -> None:
    insert(connection, table, second(table))


@pytest.mark.parametrize(("table", "constraint", "changes"), VIOLATIONS)
def test_a_row_that_breaks_a_rule_is_refused_by_the_name_of_the_rule(
    connection: psycopg.Connection, table: str, constraint: str, changes: Row
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        insert(connection, table, second(table, **changes))
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "change"), JOB_VIOLATIONS)
def test_a_setting_of_a_job_that_breaks_a_rule_is_refused(
    connection: psycopg.Connection, constraint: str, change: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        connection.execute(f"UPDATE scheduled_jobs SET {change}".encode())
    assert caught.value.diag.constraint_name == constraint


def test_every_check_is_broken_by_one_of_these_tests(connection: psycopg.Connection) -> None:
    rows = connection.execute(
        "SELECT DISTINCT conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    ).fetchall()
    tried = {name for _, name, _ in VIOLATIONS} | {name for name, _ in JOB_VIOLATIONS}
    missing = {row[0] for row in rows} - tried
    assert {name for name in missing if not name.endswith("_numbers_are_not_nan")} == set()


def test_no_number_of_ours_may_be_nan(connection: psycopg.Connection) -> None:
    """PostgreSQL holds NaN to be greater than any number, so `quantity > 0` lets it pass."""
    numbers = columns(connection, "a.atttypid = 'numeric'::regtype AND a.attgenerated = ''")
    assert len(numbers) > 50
    accepted = []
    for table, column in numbers:
        try:
            with connection.transaction():
                if table == "scheduled_jobs":
                    connection.execute(f"UPDATE scheduled_jobs SET {column} = 'NaN'".encode())
                else:
                    insert(connection, table, second(table, **{column: "NaN"}))
        except psycopg.errors.CheckViolation:
            continue
        accepted.append(f"{table}.{column}")
    assert accepted == []


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = DEFAULT", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_ledger_and_the_audit_trail_are_append_only(
    connection: psycopg.Connection, table: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match="is append-only"):
        connection.execute(sql.SQL(statement).format(sql.Identifier(table)))


@pytest.mark.parametrize("status", ["pending", "submitted", "filled", "expired"])
def test_a_final_trade_keeps_its_status(connection: psycopg.Connection, status: str) -> None:
    connection.execute("UPDATE trades SET status = 'cancelled', finalized_at = now() WHERE id = 1")
    reopen = "UPDATE trades SET status = %s, finalized_at = NULL, broker_order_id = 'x' WHERE id = 1"
    with pytest.raises(psycopg.errors.RestrictViolation, match="trade 1 is cancelled"):
        connection.execute(reopen, [status])


def test_a_late_fill_may_still_be_counted_on_a_final_trade(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE trades SET status = 'cancelled', finalized_at = now() WHERE id = 1")
    connection.execute("UPDATE trades SET filled_quantity = 1, status = 'cancelled' WHERE id = 1")


def started(**changes: Any) -> Row:
    running = {"execution_status": "started", "lease_until": LATER, "finished_at": None}
    return second("job_executions", **{**running, **changes})


UNIQUE: list[tuple[str, str, list[Row]]] = [
    (
        "job_executions",
        "one_running_execution_per_job",
        [started(), started(run_id="third", tick=AT, triggered_by="manual")],
    ),
    ("job_executions", "one_execution_per_job_and_tick", [second("job_executions", tick=AT)]),
    ("job_executions", "one_execution_per_job_and_tick", [started(tick=AT)]),
    ("job_executions", "one_execution_per_run_and_job", [second("job_executions", run_id="first")]),
    (
        "bars",
        "one_daily_bar_per_symbol_and_session",
        [second("bars", timeframe="day", starts_at=YESTERDAY)],
    ),
    (
        "live_permissions",
        "one_live_permission_in_force_per_account",
        [second("live_permissions", account_number="9")],
    ),
    ("halts", "one_active_halt_per_portfolio", [second("halts", portfolio_id=None)]),
    ("halts", "one_active_halt_per_portfolio", [second("halts"), second("halts")]),
    ("decisions", "one_decision_per_portfolio_strategy_and_tick", [second("decisions", tick=AT)]),
    (
        "decisions",
        "one_decision_per_portfolio_strategy_and_tick",
        [second("decisions", strategy_id=None), second("decisions", strategy_id=None)],
    ),
    ("trades", "trades_client_order_id_key", [second("trades", client_order_id="first")]),
    (
        "trades",
        "one_trade_per_broker_order",
        [
            second("trades", broker_order_id="x"),
            second("trades", broker_order_id="x", client_order_id="third"),
        ],
    ),
    ("fills", "a_broker_execution_is_booked_once", [second("fills", broker_execution_id="first")]),
    ("fills", "a_fill_without_identity_is_booked_once", [second("fills", broker_execution_id=None)] * 2),
    ("cash_movements", "one_cash_movement_per_reference", [second("cash_movements", reference="first")]),
    (
        "portfolio_snapshots",
        "portfolio_snapshots_pkey",
        [second("portfolio_snapshots", session="2024-07-03")],
    ),
    ("notifications", "notifications_dedupe_key_key", [second("notifications", dedupe_key="first")]),
    (
        "corporate_actions",
        "a_corporate_action_is_entered_once",
        [second("corporate_actions", session="2024-07-03", new_units=2)],
    ),
    (
        "adjustments",
        "a_corporate_action_is_applied_once",
        [second("adjustments", corporate_action_id=1)] * 2,
    ),
    ("paper.orders", "client_order_id_is_unique", [second("paper.orders", client_order_id="first")]),
    ("paper.transfers", "transfers_pkey", [second("paper.transfers", reference="first")]),
]


@pytest.mark.parametrize(("table", "constraint", "rows"), UNIQUE)
def test_what_may_be_there_once_is_there_once(
    connection: psycopg.Connection, table: str, constraint: str, rows: list[Row]
) -> None:
    for row in rows[:-1]:
        insert(connection, table, row)
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        insert(connection, table, rows[-1])
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(
    "row",
    [
        second("job_executions", tick=AT, execution_status="skipped", skip_reason="closed"),
        second("job_executions", tick=AT, execution_status="failed", error_message="down"),
        second("job_executions", tick=AT, triggered_by="manual"),
        second("job_executions", tick=AT, job_type="position_sync"),
        started(),
    ],
)
def test_a_tick_may_be_skipped_retried_and_repeated_by_hand(connection: psycopg.Connection, row: Row) -> None:
    insert(connection, "job_executions", row)


def test_an_execution_knows_its_duration(connection: psycopg.Connection) -> None:
    assert connection.execute("SELECT duration_ms FROM job_executions").fetchall() == [(60_000,)]


def test_updated_at_moves_with_every_change(connection: psycopg.Connection) -> None:
    """Also within one transaction, and whatever the statement says."""
    touched = columns(connection, "a.attname = 'updated_at' AND c.relname <> 'orders'")
    assert len(touched) == 11
    for table, _ in touched:
        before, after = (
            connection.execute(
                f"UPDATE {table} SET updated_at = 'epoch' RETURNING updated_at".encode()
            ).fetchall()
            for _ in range(2)
        )
        assert before < after, table
        assert before[0][0].year > 2000, table


def test_no_column_holds_a_time_without_its_zone(
    connection: psycopg.Connection,
) -> None:
    assert columns(connection, "a.atttypid = 'timestamp'::regtype") == []
