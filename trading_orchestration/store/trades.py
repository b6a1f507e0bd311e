"""Decisions and trades."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.trade import (
    OrderTerms,
    OrderType,
    Side,
    TimeInForce,
    Trade,
    TradeStatus,
)
from trading_orchestration.store.answer import Answer
from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a strategy concluded at one tick."""

    portfolio_id: int
    strategy_id: int | None  # None: stop losses and take profits
    tick: datetime
    session: date
    equity: Decimal
    cash: Decimal
    signals: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrade:
    """A trade that a decision asks for; `is_entry` tells one that opens a position or adds to it."""

    terms: OrderTerms
    client_order_id: str
    reserved_cash: Decimal
    reason: str
    is_entry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What became of a trade."""

    trade_id: int
    status: TradeStatus
    filled_quantity: Decimal
    reason: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one trade's order until `lease_until`, which also names the claim.

    `trade.attempts` counts how often the order was sent, or may have been: 0 is never. `is_exit` tells a
    trade that only closes.
    """

    trade: Trade
    lease_until: datetime
    is_exit: bool


@dataclass(frozen=True, slots=True)
class OpenTrade:
    """What a trade that is not final still holds of its portfolio."""

    symbol: str
    side: Side
    quantity: Decimal
    reserved_cash: Decimal


def add_decision(connection: Connection, decision: Decision) -> int | None:
    """The id of the new decision; None where this strategy decided at this tick before."""
    inserted = run(
        connection,
        "insert_decision",
        portfolio_id=decision.portfolio_id,
        strategy_id=decision.strategy_id,
        tick=decision.tick,
        session=decision.session,
        equity=decision.equity,
        cash=decision.cash,
        signals=json.dumps(decision.signals, allow_nan=False),
    )
    return inserted.scalar()


def decided_portfolios(connection: Connection, tick: datetime) -> set[int]:
    """Which portfolios have decided at this tick."""
    return set(run(connection, "decided_portfolios", tick=tick).scalars())


def equity_at_open(connection: Connection, portfolio_id: int, *, since: datetime) -> Decimal | None:
    """What a portfolio was worth when it was first looked at since the open; None before that.

    What was put in or taken out since then counts as if it had been there, or gone, at the open.
    """
    return run(connection, "equity_at_open", portfolio_id=portfolio_id, since=since).scalar()


def list_stopped(connection: Connection, portfolio_id: int, *, since: datetime) -> set[tuple[str, Side]]:
    """The symbols that a portfolio's stop losses and take profits closed since an instant, and the side."""
    rows = run(connection, "list_stopped", portfolio_id=portfolio_id, since=since)
    return {(row.symbol, Side(row.side)) for row in rows}


def count_decided(connection: Connection, portfolio_id: int, *, since: datetime) -> int:
    """How many trades of a portfolio were decided after an instant."""
    return int(run(connection, "count_decided", portfolio_id=portfolio_id, since=since).scalar_one())


def count_sent(connection: Connection, portfolio_id: int, *, since: datetime, except_id: int) -> int:
    """How many trades of a portfolio that were decided after an instant were sent, but for one."""
    sent = run(connection, "count_sent", portfolio_id=portfolio_id, since=since, except_id=except_id)
    return int(sent.scalar_one())


def add_trades(
    connection: Connection,
    *,
    portfolio_id: int,
    broker_account_id: int,
    decision_id: int,
    trades: Sequence[NewTrade],
    decided_at: datetime,
) -> None:
    """Book the intents of one decision as pending trades, with their reserves."""
    terms = [trade.terms for trade in trades]
    run(
        connection,
        "insert_trades",
        portfolio_id=portfolio_id,
        broker_account_id=broker_account_id,
        decision_id=decision_id,
        decided_at=decided_at,
        symbols=[t.symbol for t in terms],
        sides=[t.side.value for t in terms],
        order_types=[t.order_type.value for t in terms],
        times_in_force=[t.time_in_force.value for t in terms],
        quantities=[t.quantity for t in terms],
        limit_prices=[t.limit_price for t in terms],
        stop_prices=[t.stop_price for t in terms],
        client_order_ids=[trade.client_order_id for trade in trades],
        reserved=[trade.reserved_cash for trade in trades],
        reasons=[trade.reason for trade in trades],
        entries=[trade.is_entry for trade in trades],
    )


def open_trades_of_portfolio(connection: Connection, portfolio_id: int) -> list[OpenTrade]:
    """What the portfolio's trades still hold; a partly filled buy keeps the unfilled share of its reserve."""
    rows = run(connection, "open_trades_of_portfolio", portfolio_id=portfolio_id).mappings()
    return [OpenTrade(row["symbol"], Side(row["side"]), row["quantity"], _reserve_left(row)) for row in rows]


def claim_trades(
    connection: Connection, account_id: int, *, lease_s: int, limit: int, except_ids: Collection[int]
) -> list[Claim]:
    """Take trades to send, sells first: new ones and those whose sender's lease ran out."""
    claimed = run(
        connection,
        "claim_trades",
        broker_account_id=account_id,
        lease_s=lease_s,
        limit=limit,
        except_ids=list(except_ids),
    ).mappings()
    claims = [Claim(_trade(row), row["lease_until"], is_exit=row["is_exit"]) for row in claimed]
    return sorted(claims, key=lambda claim: (claim.trade.terms.side is Side.BUY, claim.trade.id))


def begin_attempt(connection: Connection, claim: Claim, *, lease_s: int) -> Claim | None:
    """The claim with one more attempt, after which the broker may have the order; None when it was lost."""
    row = (
        run(
            connection,
            "begin_attempt",
            trade_id=claim.trade.id,
            lease_until=claim.lease_until,
            lease_s=lease_s,
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    trade = replace(claim.trade, attempts=row["attempts"])
    return replace(claim, trade=trade, lease_until=row["lease_until"])


def take_back_attempt(connection: Connection, claim: Claim) -> None:
    """The order is known never to have left: the trade is as if this attempt had not been."""
    run(connection, "take_back_attempt", trade_id=claim.trade.id, lease_until=claim.lease_until)


def release_claims(connection: Connection, claims: Sequence[Claim]) -> None:
    """Give claims back, for the next run to take."""
    if claims:
        run(
            connection,
            "release_claims",
            trade_ids=[claim.trade.id for claim in claims],
            leases_until=[claim.lease_until for claim in claims],
        )


def set_submitted(
    connection: Connection, trade_id: int, *, broker_order_id: str, submitted_at: datetime
) -> bool:
    """The broker has the order; False where that is on record already."""
    updated = run(
        connection,
        "set_submitted",
        trade_id=trade_id,
        broker_order_id=broker_order_id,
        submitted_at=submitted_at,
    )
    return updated.scalar() is not None


def set_not_sent(
    connection: Connection, claim: Claim, *, status: TradeStatus, reason: str, at: datetime
) -> bool:
    """No order came of the trade; False where another has claimed it meanwhile."""
    updated = run(
        connection,
        "set_not_sent",
        trade_id=claim.trade.id,
        lease_until=claim.lease_until,
        status=status.value,
        reason=reason,
        at=at,
    )
    return updated.scalar() is not None


def trades_at_broker(connection: Connection, account_id: int) -> list[Trade]:
    """Trades of an account that the broker may still fill, oldest first."""
    return _trades(run(connection, "trades_at_broker", broker_account_id=account_id))


def entries_to_cancel(connection: Connection, account_id: int) -> list[Trade]:
    """Entries at the broker of portfolios whose halt asks for their cancellation."""
    return _trades(run(connection, "entries_to_cancel", broker_account_id=account_id))


def trades_by_broker_orders(
    connection: Connection, account_id: int, broker_order_ids: Sequence[str]
) -> list[Trade]:
    """The trades behind some of the broker's orders."""
    if not broker_order_ids:
        return []
    return _trades(
        run(
            connection,
            "trades_by_broker_orders",
            broker_account_id=account_id,
            broker_order_ids=list(broker_order_ids),
        )
    )


def stray_orders(connection: Connection, account_id: int, client_order_ids: Sequence[str]) -> set[str]:
    """Which of these open orders no trade of the account accounts for."""
    if not client_order_ids:
        return set()
    strays = run(
        connection, "stray_orders", broker_account_id=account_id, client_order_ids=list(client_order_ids)
    )
    return set(strays.scalars())


def hold_trades(connection: Connection, trade_ids: Sequence[int]) -> dict[int, Trade]:
    """Some trades by id, locked, as they are now."""
    return {trade.id: trade for trade in _trades(run(connection, "hold_trades", trade_ids=list(trade_ids)))}


def set_progress(connection: Connection, progress: Sequence[Progress], *, at: datetime) -> None:
    """Record what became of some trades, in one statement."""
    run(
        connection,
        "set_progress",
        at=at,
        trade_ids=[p.trade_id for p in progress],
        statuses=[p.status.value for p in progress],
        filled_quantities=[p.filled_quantity for p in progress],
        reasons=[p.reason for p in progress],
    )


def list_trades(
    connection: Connection,
    *,
    portfolio: str | None = None,
    symbol: str | None = None,
    session: date | None = None,
    is_open: bool = False,
    limit: int | None = None,
) -> list[RowMapping]:
    """The newest trades, oldest first, with portfolio, strategy and average fill price, for people.

    `is_open` leaves out those that are final.
    """
    rows = run(
        connection,
        "list_trades",
        portfolio=portfolio,
        symbol=symbol,
        session=session,
        is_open=is_open,
        limit=limit,
    )
    return list(reversed(rows.mappings().all()))


def _reserve_left(row: RowMapping) -> Decimal:
    reserved: Decimal = row["reserved_cash"]
    return reserved if not row["filled_quantity"] else reserved * row["quantity"] / row["whole"]


def _trades(result: Answer) -> list[Trade]:
    return [_trade(row) for row in result.mappings()]


def _trade(row: RowMapping) -> Trade:
    return Trade(
        id=row["id"],
        portfolio_id=row["portfolio_id"],
        broker_account_id=row["broker_account_id"],
        decision_id=row["decision_id"],
        terms=OrderTerms(
            symbol=row["symbol"],
            side=Side(row["side"]),
            quantity=row["quantity"],
            order_type=OrderType(row["order_type"]),
            time_in_force=TimeInForce(row["time_in_force"]),
            limit_price=row["limit_price"],
            stop_price=row["stop_price"],
        ),
        client_order_id=row["client_order_id"],
        status=TradeStatus(row["status"]),
        reason=row["reason"],
        decided_at=row["decided_at"],
        filled_quantity=row["filled_quantity"],
        reserved_cash=row["reserved_cash"],
        attempts=row["attempts"],
        broker_order_id=row["broker_order_id"],
        status_reason=row["status_reason"],
        submitted_at=row["submitted_at"],
    )
