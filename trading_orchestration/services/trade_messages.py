"""What people are told about their trades."""

from collections.abc import Iterator

from trading_orchestration.brokers.broker import BrokerOrder, OrderStatus
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.trade import FINAL_STATUSES, Trade, TradeStatus
from trading_orchestration.services.settlement import Settlement
from trading_orchestration.store.alerts import Notification, Severity
from trading_orchestration.store.portfolios import Account


def outcome(settlement: Settlement) -> Notification | None:
    """That a trade came to its end, or was filled after it; None where neither is so."""
    trade = settlement.trade
    if not settlement.is_news or settlement.status not in FINAL_STATUSES:
        return None
    is_filled, is_late = settlement.status is TradeStatus.FILLED, trade.status in FINAL_STATUSES
    what = f"{trade.terms.side} {plain(trade.terms.quantity)} {trade.terms.symbol}"
    became = f"was filled after it was {trade.status}" if is_late else settlement.status
    return Notification(
        severity=Severity.INFO if is_filled else Severity.WARNING,
        kind="fill" if is_filled or is_late else "trade",
        title=f"{what} {became}",
        body=settlement.reason or trade.reason,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:{settlement.status}:{plain(settlement.filled_quantity)}",
    )


def oddities(trade: Trade, order: BrokerOrder | None) -> Iterator[Notification]:
    """What the broker says of an order that a person should look at."""
    if order is None:
        return
    if order.status is OrderStatus.UNRECOGNISED:
        title = f"The broker says '{order.vendor_status}' of trade {trade.id}"
        yield _warning(trade, title, "This version does not know the word; the order counts as open.")
    if order.filled_quantity < trade.filled_quantity:
        body = (
            f"It says {plain(order.filled_quantity)} filled, and {plain(trade.filled_quantity)} are booked; "
            "position_sync compares the books."
        )
        yield _warning(trade, f"The broker took back a fill of trade {trade.id}", body)


def unfamiliar(account: Account, words: str) -> Notification:
    """That a broker said something which this version does not know; it is used as far as it goes."""
    return Notification(
        severity=Severity.WARNING,
        kind="broker",
        title=f"{account.broker} answered with {words}",
        body="This version does not know it. What it does know is used; look whether there is a newer one.",
        dedupe_key=f"unfamiliar:{account.id}:{words}",
    )


def _warning(trade: Trade, title: str, body: str) -> Notification:
    return Notification(
        severity=Severity.WARNING,
        kind="trade",
        title=title,
        body=body,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:{title}",
    )
