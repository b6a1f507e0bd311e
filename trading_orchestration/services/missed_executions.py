"""Executions that were passed over: searched for when the books and the broker's do not agree."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from trading_orchestration.brokers.broker import Broker, BrokerOrder, Execution
from trading_orchestration.domain.trade import FINAL_STATUSES, Trade
from trading_orchestration.services.trading import TradingService, order_ids
from trading_orchestration.store import ledger, trades

#: A weekend with a holiday on either side.
_SEARCH_BACK = timedelta(days=5)
_REPLACEMENTS_MAX = 10
#: Each order that nobody here knows is asked for; so many at most.
_UNKNOWN_ORDERS_MAX = 20


def book_missed_executions(trading: TradingService) -> Sequence[Execution]:
    """Book the executions of the last days that trades of ours still lack, as late fills.

    Answers those that belong to no trade: somebody else's orders. Only trades that are final are looked at;
    the others are order_status_check's. Raises JobFailedError where a ledger refuses a booking.
    """
    executions = trading.broker.list_executions(after=trading.clock() - _SEARCH_BACK)
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
    return [e for e in strangers if e.broker_order_id not in heirs]


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
