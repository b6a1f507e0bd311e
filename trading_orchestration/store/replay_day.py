"""The books as of a session's open, for a replay of that session, and what was decided and traded in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from trading_orchestration.domain.day_comparison import DayDecision, DayRecord, DayTrade, DayValue
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import ledger
from trading_orchestration.store.database import run
from trading_orchestration.store.replay_copy import COPIES, both_sides, copy_tables

_ALIKE = {"instruments", "broker_accounts", "portfolios"}
_TRADES = """
    id portfolio_id broker_account_id decision_id symbol side order_type time_in_force quantity limit_price
    stop_price client_order_id reason status status_reason broker_order_id filled_quantity attempts decided_at
    submitted_at finalized_at is_entry
"""
_FILLS = """
    id trade_id portfolio_id broker_account_id broker_execution_id symbol side quantity price fee
    cumulative_quantity executed_at is_late
"""
_ADJUSTMENTS = """
    id portfolio_id symbol quantity cash_amount unit_cost cause note actor occurred_at corporate_action_id
    revision keeps_cost
"""
_ACTIONS = """
    id kind symbol session effective_at paid_at new_units old_units fraction_price cash_per_unit is_special
    new_symbol source actor applied_at
"""
_SNAPSHOTS = """
    portfolio_id session cash positions_value gross_value total_value position_count net_deposits daily_return
    total_return valued_at
"""
_BARS = "symbol timeframe starts_at ends_at session open high low close volume source"
#: As `replay_copy.COPIES`: what a replay of one day starts with.
_COPIES = (
    *(copy for copy in COPIES if copy[0] in _ALIKE),
    ("bars", _BARS, "day_bars"),
    ("strategies", "id portfolio_id name definition is_enabled", "day_strategies"),
    ("price_alerts", "id symbol condition threshold reference_price status note", "day_price_alerts"),
    ("cash_movements", "portfolio_id kind amount reference occurred_at", "day_cash_movements"),
    ("decisions", "id portfolio_id strategy_id tick session equity cash signals", "day_decisions"),
    ("trades", _TRADES, "day_trades"),
    ("fills", _FILLS, "day_fills"),
    ("corporate_actions", _ACTIONS, "day_corporate_actions"),
    ("adjustments", _ADJUSTMENTS, "day_adjustments"),
    ("halts", "id portfolio_id level reason actor halted_at", "day_halts"),
    ("portfolio_snapshots", _SNAPSHOTS, "day_snapshots"),
)


@dataclass(frozen=True, slots=True)
class TradedDay:
    """Who decided in a session, and when its first decision was made (UTC)."""

    portfolio_ids: Sequence[int]
    strategy_ids: Sequence[int]
    seen_at: datetime


def copy_day(books: sa.Engine, scratch: sa.Engine, session: Session) -> None:
    """Copy the books as they were when a session opened; every account becomes one at the paper broker.

    Raises InvalidInputError where nothing was decided in the session.
    """
    with both_sides(books, scratch) as (source, target):
        day = _traded_day(source, session.date)
        run(
            source,
            "replay_day_settings",
            portfolio_ids=list(day.portfolio_ids),
            strategy_ids=list(day.strategy_ids or ()),
            session=session.date,
            opens_at=session.opens_at,
            seen_at=day.seen_at,
        )
        copy_tables(source, target, _COPIES)
        run(target, "replay_move_sequences")
        run(target, "replay_day_move_sequences")
        run(target, "replay_day_fill_cash_balances")
        for portfolio_id in day.portfolio_ids:
            ledger.refold_positions(target, portfolio_id)
        run(target, "replay_day_fill_paper_accounts")
        run(target, "replay_analyze")


def day_record(connection: sa.Connection, session: date) -> DayRecord:
    """What was decided and traded in a session, and what it came to at its close; three statements."""
    values = [DayValue(**row) for row in run(connection, "day_values", session=session).mappings()]
    return DayRecord(
        decisions=[
            DayDecision(**row) for row in run(connection, "day_decisions", session=session).mappings()
        ],
        trades=[
            DayTrade(**{**row, "side": Side(row["side"])})
            for row in run(connection, "day_trades", session=session).mappings()
        ],
        values={value.portfolio: value for value in values},
    )


def _traded_day(connection: sa.Connection, session: date) -> TradedDay:
    row = run(connection, "replay_day_of", session=session).mappings().one_or_none()
    if row is None:
        raise InvalidInputError(
            f"Nothing was decided in {session}; give a session in which strategies were executed."
        )
    return TradedDay(**row)
