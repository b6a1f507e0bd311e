"""What people are told about their trades."""

from collections.abc import Iterator
from decimal import Decimal

from trading_orchestration.brokers.broker import BrokerOrder, OrderStatus
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.trade import FINAL_STATUSES, Side, Trade, TradeStatus
from trading_orchestration.services.settlement import Settlement
from trading_orchestration.store.alerts import Notification, Severity
from trading_orchestration.store.portfolios import Account

IN_DOUBT = "in doubt"


def outcome(settlement: Settlement) -> Notification | None:
    """That a trade was filled, wholly or in part, or came to its end; None where neither is so."""
    trade = settlement.trade
    is_late = trade.status in FINAL_STATUSES
    if not settlement.is_news or not (settlement.fills or settlement.status in FINAL_STATUSES):
        return None
    is_ended = settlement.status in FINAL_STATUSES and settlement.status is not TradeStatus.FILLED
    title = words(trade)
    if is_late:
        title += f" was filled after it was {trade.status}"
    elif is_ended:
        title += f" was {settlement.status}{_of_which_filled(settlement)}"
    else:
        title = _filled(settlement)
    is_rejected = settlement.status is TradeStatus.REJECTED and not is_late
    return Notification(
        severity=Severity.WARNING if is_ended else Severity.INFO,
        kind="rejection" if is_rejected else "trade" if is_ended and not is_late else "fill",
        title=title,
        body=settlement.reason or trade.reason,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:{settlement.status}:{plain(settlement.filled_quantity)}",
    )


def sent(trade: Trade) -> Notification:
    """That the broker has the order of a trade."""
    return Notification(
        severity=Severity.INFO,
        kind="trade",
        title=f"{words(trade)} was sent to the broker",
        body=trade.reason,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:submitted",
    )


def unsent(trade: Trade, status: str, reason: str) -> Notification:
    """That a trade ended before the broker had its order, or that nobody knows whether it has."""
    return Notification(
        severity=Severity.WARNING,
        kind="rejection" if status == TradeStatus.REJECTED else "trade",
        title=f"{words(trade)} {'is in doubt' if status == IN_DOUBT else f'was {status}'}",
        body=reason,
        portfolio_id=trade.portfolio_id,
        dedupe_key=f"trade:{trade.id}:{status}",
    )


def words(trade: Trade) -> str:
    """`buy 10 AAPL`."""
    return f"{trade.terms.side} {plain(trade.terms.quantity)} {trade.terms.symbol}"


def _filled(settlement: Settlement) -> str:
    """`bought 4 of 10 AAPL at 187.21`; the price is the mean of what was booked now."""
    terms = settlement.trade.terms
    quantity = sum((new.fill.quantity for new in settlement.fills), Decimal(0))
    if not quantity:
        return f"{words(settlement.trade)} was filled"
    paid = sum((new.fill.quantity * new.fill.price for new in settlement.fills), Decimal(0))
    done = "bought" if terms.side is Side.BUY else "sold"
    part = "" if quantity == terms.quantity else f" of {plain(terms.quantity)}"
    return f"{done} {plain(quantity)}{part} {terms.symbol} at {plain(round(paid / quantity, 4))}"


def _of_which_filled(settlement: Settlement) -> str:
    filled = settlement.filled_quantity
    return f" with {plain(filled)} of it filled" if filled else ""


def oddities(trade: Trade, order: BrokerOrder | None) -> Iterator[Notification]:
    """What the broker says of an order that a person should look at."""
    if order is None:
        return
    if order.status is OrderStatus.UNRECOGNISED:
        title = f"The broker says '{order.vendor_status}' of trade {trade.id}"
        yield _warning(trade, title, "This version does not know the word; the order counts as open.")
    if order.terms.quantity != trade.terms.quantity and not order.earlier_ids:
        title = (
            f"The order of trade {trade.id} is for {plain(order.terms.quantity)} {trade.terms.symbol} at the "
            f"broker, and was sent for {plain(trade.terms.quantity)}"
        )
        body = (
            "Brokers may change orders that are open over a split. What fills it beyond what was sent is not "
            "booked, and halts the portfolio; cancel it at the broker if it is not wanted."
        )
        yield _warning(trade, title, body)
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
