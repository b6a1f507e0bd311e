"""Executions that were passed over: searched for when the books and the broker's do not agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from trading_orchestration.brokers.broker import Broker, BrokerOrder, Execution
from trading_orchestration.domain.trade import FINAL_STATUSES, Fill, Trade
from trading_orchestration.services.discrepancy_causes import Evidence
from trading_orchestration.services.trading import TradingService, order_ids
from trading_orchestration.store import discrepancies, ledger, trades

#: A weekend with a holiday on either side.
_SEARCH_BACK = timedelta(days=5)
_REPLACEMENTS_MAX = 10
#: Each order that nobody here knows is asked for; so many at most.
_UNKNOWN_ORDERS_MAX = 20


def book_missed_executions(trading: TradingService) -> Evidence:
    """Book the executions of the last days that trades of ours still lack, as late fills.

    Answers what else may explain a difference: somebody else's orders, fills that were taken back, dividends,
    fees. Only trades that are final are looked at; the others are order_status_check's. Raises JobFailedError
    where a ledger refuses a booking.
    """
    after = trading.clock() - _SEARCH_BACK
    executions = trading.broker.list_executions(after=after)
    activities = trading.broker.list_cash_activities(after=after)
    account_id = trading.account.id
    with trading.begin() as connection:
        booked = ledger.booked_executions(connection, account_id, [e.execution_id for e in executions])
        unbooked = [e for e in executions if e.execution_id not in booked]
        traded = trades.trades_by_broker_orders(connection, account_id, order_ids(unbooked))
    known = {trade.broker_order_id for trade in traded}
    strangers = [e for e in unbooked if e.broker_order_id not in known]
    chains = [_chain(trading.broker, order_id) for order_id in order_ids(strangers)[:_UNKNOWN_ORDERS_MAX]]
    with trading.begin() as connection:
        earlier = sorted({order_id for _, replaced in chains for order_id in replaced})
        replaced = trades.trades_by_broker_orders(connection, account_id, earlier)
    orders = {trade.id: _heirs(trade, chains) for trade in replaced}
    final = [trade for trade in [*traded, *replaced] if trade.status in FINAL_STATUSES]
    trading.settle_trades(final, orders, unbooked).raise_if_failed()
    heirs = {name for order in orders.values() for name in (order.broker_order_id, *order.earlier_ids)}
    found = Evidence(
        strangers=[e for e in strangers if e.broker_order_id not in heirs],
        taken_back=_taken_back(trading, executions, after),
        activities=activities,
    )
    with trading.begin() as connection:
        return replace(found, settled=discrepancies.settled_by(connection, account_id, found.ids()))


def _taken_back(
    trading: TradingService, executions: Sequence[Execution], after: datetime
) -> Mapping[str, Fill]:
    listed = {execution.execution_id for execution in executions}
    with trading.begin() as connection:
        return ledger.fills_not_among(connection, trading.account.id, listed, after=after)


def _heirs(trade: Trade, chains: Sequence[tuple[BrokerOrder | None, list[str]]]) -> BrokerOrder:
    """The order that a trade lives on as, with all that came between."""
    mine = [(o, ids) for o, ids in chains if o is not None and trade.broker_order_id in ids]
    newest, ids = max(mine, key=lambda chain: len(chain[1]))
    between = {name for order, names in mine for name in (order.broker_order_id, *names)}
    return replace(newest, earlier_ids=tuple(sorted(between | set(ids))))


def _chain(broker: Broker, order_id: str) -> tuple[BrokerOrder | None, list[str]]:
    """An order, and the ids of those that it replaced, one after the other."""
    newest = order = broker.get_order(order_id)
    replaced: list[str] = []
    while order is not None and order.replaces is not None and len(replaced) < _REPLACEMENTS_MAX:
        replaced.append(order.replaces)
        order = broker.get_order(order.replaces)
    return newest, replaced
