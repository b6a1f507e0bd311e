"""One valid row of every table, to be spoiled by tests."""

from typing import Any

import psycopg
from psycopg import sql

AT, LATER, YESTERDAY = "2024-07-03T13:30Z", "2024-07-03T13:31Z", "2024-07-02T13:30Z"
ORDER_ID, OTHER_ORDER_ID = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"

Row = dict[str, Any]


def row(text: str) -> Row:
    """`symbol=AAPL price=10`: every value as PostgreSQL reads it."""
    return dict(field.split("=") for field in text.split())


# One valid row of every table, in the order of their references; identities start at 1.
VALID = {
    "instruments": row("symbol=AAPL"),
    "bars": row(
        f"symbol=AAPL timeframe=day starts_at={AT} ends_at={LATER} session=2024-07-03 "
        "open=10 high=12 low=9 close=11 volume=0 source=test"
    ),
    "bar_revisions": row(
        f"symbol=AAPL timeframe=day starts_at={AT} session=2024-07-03 old_open=10 old_high=12 old_low=9 "
        "old_close=11 old_volume=0 old_source=file new_open=10 new_high=12 new_low=9 new_close=12 "
        "new_volume=0 source=test"
    ),
    "bar_acceptances": row("symbol=AAPL session=2024-07-03 reason=test actor=test"),
    "quotes": row(
        f"symbol=AAPL price=10 bid=9 ask=11 previous_close=8 quoted_at={AT} received_at={AT} source=test"
    ),
    "broker_accounts": row("broker=paper account_number=1 environment=paper"),
    "portfolios": row("broker_account_id=1 name=main stop_loss_pct=0.1 take_profit_pct=2"),
    "strategies": row("portfolio_id=1 name=trend definition={}"),
    "live_permissions": row(f"broker=alpaca account_number=9 reason=test allowed_by=test allowed_at={AT}"),
    "halts": row(f"level=no_new reason=test actor=test halted_at={AT}"),
    "decisions": row(
        f"portfolio_id=1 strategy_id=1 tick={AT} session=2024-07-03 equity=100 cash=100 signals=[]"
    ),
    "trades": row(
        "portfolio_id=1 broker_account_id=1 decision_id=1 symbol=AAPL side=buy order_type=market "
        f"time_in_force=day quantity=2 client_order_id=first reason=test decided_at={AT}"
    ),
    "fills": row(
        "trade_id=1 portfolio_id=1 broker_account_id=1 broker_execution_id=first symbol=AAPL side=buy "
        f"quantity=1 price=10 cumulative_quantity=1 executed_at={AT}"
    ),
    "cash_movements": row(f"portfolio_id=1 kind=deposit amount=100 reference=first occurred_at={AT}"),
    "discrepancies": row(
        "broker_account_id=1 symbol=AAPL ours=1 brokers=2 cause=unknown resolution=adjusted run_id=run "
        f"found_at={AT}"
    ),
    "corporate_actions": row(
        f"kind=split symbol=AAPL session=2024-07-03 effective_at={AT} new_units=7 old_units=1 "
        "fraction_price=10 source=test actor=test"
    ),
    "adjustments": row(
        "portfolio_id=1 symbol=AAPL quantity=1 unit_cost=10 cause=unknown note=test actor=test "
        f"occurred_at={AT}"
    ),
    "positions": row(
        f"portfolio_id=1 symbol=AAPL quantity=1 average_cost=10 realised_pnl=0 last_entry_at={AT} "
        "market_price=11"
    ),
    "cash_balances": row("portfolio_id=1 amount=100"),
    "portfolio_snapshots": row(
        "portfolio_id=1 session=2024-07-03 cash=90 positions_value=10 total_value=100 gross_value=10 "
        f"position_count=1 net_deposits=0 daily_return=0 total_return=0 valued_at={AT}"
    ),
    "portfolio_snapshot_positions": row(
        "portfolio_id=1 session=2024-07-03 symbol=AAPL quantity=1 average_cost=10 close=10 value=10 "
        "close_session=2024-07-03 close_age=0"
    ),
    "price_alerts": row(
        "symbol=AAPL condition=percent_change threshold=0.05 reference_price=10 status=triggered "
        f"triggered_at={AT} triggered_price=11"
    ),
    "notifications": row(f"severity=info kind=test title=test dedupe_key=first occurred_at={AT}"),
    "notification_channels": row(f"name=phone served_at={AT}"),
    "notification_deliveries": row(
        f"notification_id=1 channel=phone status=sent message_id={ORDER_ID} attempts=1 due_at={AT} "
        f"sent_at={AT}"
    ),
    "job_executions": row(
        f"job_type=price_update run_id=first triggered_by=schedule tick={AT} execution_status=completed "
        f"started_at={AT} finished_at={LATER}"
    ),
    "breaker_events": row(
        f"job_type=price_update old_status=enabled new_status=error reason=test actor=test at={AT}"
    ),
    "job_setting_changes": row(
        f"job_type=price_update setting=lease_s old_value=240 new_value=300 reason=test actor=test at={AT}"
    ),
    "paper.accounts": row("account_number=1 cash=100"),
    "paper.transfers": row("account_number=1 reference=first amount=100"),
    "paper.orders": row(
        f"id={ORDER_ID} account_number=1 client_order_id=first symbol=AAPL side=buy order_type=stop_limit "
        "time_in_force=day quantity=2 limit_price=10 stop_price=9 status=accepted unit_reserve=10 "
        f"filled_average_price=10 submitted_at={AT} active_from={AT} updated_at={AT}"
    ),
    "paper.executions": row(
        f"id=first order_id={ORDER_ID} account_number=1 symbol=AAPL side=buy quantity=1 price=10 "
        f"cumulative_quantity=1 executed_at={AT}"
    ),
    "paper.positions": row("account_number=1 symbol=AAPL quantity=1 average_entry_price=10"),
    "paper.prices": row(f"account_number=1 symbol=AAPL price=10 at={AT}"),
    "paper.applied_actions": row(f"account_number=1 corporate_action_id=1 applied_at={AT}"),
    "paper.action_entries": row(
        "account_number=1 corporate_action_id=1 number=1 symbol=AAPL quantity=1 unit_cost=10 "
        f"keeps_cost=false cash=1 occurred_at={AT}"
    ),
}

# What makes a second row differ from the first where a key must.
OTHER = {
    "instruments": row("symbol=MSFT"),
    "bars": row("timeframe=minute"),
    "bar_acceptances": row("session=2024-07-05"),
    "quotes": row("symbol=IBM"),
    "broker_accounts": row("account_number=2"),
    "portfolios": row("name=third"),
    "strategies": row("name=other"),
    "live_permissions": row("account_number=8"),
    "halts": row("portfolio_id=1"),
    "decisions": row(f"tick={LATER}"),
    "trades": row("client_order_id=second"),
    "fills": row("broker_execution_id=second"),
    "cash_movements": row("reference=second"),
    "corporate_actions": row("session=2024-07-05"),
    "positions": row("symbol=IBM"),
    "cash_balances": row("portfolio_id=2"),
    "portfolio_snapshots": row("session=2024-07-05"),
    "portfolio_snapshot_positions": row("symbol=IBM"),
    "notifications": row("dedupe_key=second"),
    "notification_channels": row("name=desk"),
    "notification_deliveries": row("channel=mail"),
    "job_executions": row(f"run_id=second tick={LATER}"),
    "paper.accounts": row("account_number=2"),
    "paper.transfers": row("reference=second"),
    "paper.orders": row(f"id={OTHER_ORDER_ID} client_order_id=second"),
    "paper.executions": row("id=second"),
    "paper.positions": row("symbol=IBM"),
    "paper.prices": row("symbol=IBM"),
    "paper.applied_actions": row("account_number=3"),
    "paper.action_entries": row("number=2"),
}


def insert(connection: psycopg.Connection, table: str, row: Row) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(statement, list(row.values()))


def second(table: str, **changes: Any) -> Row:
    """A valid second row of `table`, changed."""
    return {**VALID[table], **OTHER.get(table, {}), **changes}
