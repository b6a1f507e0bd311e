"""Alpaca's trading rows as values of ours: what each word and field of its published format means here."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from trading_orchestration.brokers.broker import (
    BrokerAccount,
    BrokerClock,
    BrokerEquity,
    BrokerOrder,
    BrokerPosition,
    BrokerSession,
    CashActivity,
    Execution,
    OrderStatus,
)
from trading_orchestration.domain.reconciliation import AdjustmentCause
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce
from trading_orchestration.vendor_http.answer import (
    read_instant,
    read_number,
    read_optional_number,
    read_text,
)
from trading_orchestration.vendor_http.failures import UnreadableAnswerError

NEW_YORK = ZoneInfo("America/New_York")

#: `done_for_day` and `calculated` may live on the next day; `stopped` guarantees a fill still to come.
STATUSES = {
    **dict.fromkeys(
        (
            "new",
            "accepted",
            "pending_new",
            "accepted_for_bidding",
            "pending_review",
            "held",
            "stopped",
            "suspended",
            "calculated",
            "done_for_day",
            "pending_cancel",
            "pending_replace",
            "partially_filled",
        ),
        OrderStatus.OPEN,
    ),
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELLED,
    "expired": OrderStatus.EXPIRED,
    "rejected": OrderStatus.REJECTED,
    "replaced": OrderStatus.REPLACED,
}
#: Types and durations that only an order placed by hand can have, as the nearest of ours.
_TYPES = {**{known.value: known for known in OrderType}, "trailing_stop": OrderType.STOP}
_DURATIONS = {
    "day": TimeInForce.DAY,
    "gtc": TimeInForce.GTC,
    **dict.fromkeys(("opg", "cls", "ioc", "fok"), TimeInForce.DAY),
}


def read_order(row: Mapping[str, Any]) -> BrokerOrder:
    """An order; a word this code does not know makes an open one `UNRECOGNISED`, with the word kept.

    Raises:
        UnreadableAnswerError: a field without which an order means nothing is missing or malformed.
    """
    filled = read_number(row, "filled_qty")
    status, vendor_status = _status(row, filled)
    return BrokerOrder(
        broker_order_id=read_text(row, "id"),
        client_order_id=read_text(row, "client_order_id"),
        terms=_terms(row, filled),
        status=status,
        vendor_status=vendor_status,
        filled_quantity=filled,
        filled_average_price=read_optional_number(row, "filled_avg_price"),
        submitted_at=read_submitted_at(row),
        replaces=row.get("replaces") or None,
        replaced_by=row.get("replaced_by") or None,
    )


def read_submitted_at(row: Mapping[str, Any]) -> datetime:
    """When an order was sent, or made where Alpaca has not sent it on yet."""
    return read_instant(row, "submitted_at" if row.get("submitted_at") else "created_at")


def _status(row: Mapping[str, Any], filled: Decimal) -> tuple[OrderStatus, str]:
    word = read_text(row, "status")
    status = STATUSES.get(word, OrderStatus.UNRECOGNISED)
    unknown = [
        f"{key} {row.get(key)}"
        for key, known in (("type", _TYPES), ("time_in_force", _DURATIONS))
        if row.get(key) not in known
    ]
    if status is OrderStatus.OPEN and unknown:
        status = OrderStatus.UNRECOGNISED
    if status is OrderStatus.OPEN and filled > 0:
        status = OrderStatus.PARTIALLY_FILLED
    return status, ", ".join((word, *unknown))


def _terms(row: Mapping[str, Any], filled: Decimal) -> OrderTerms:
    quantity = read_optional_number(row, "qty")
    return OrderTerms(
        symbol=read_text(row, "symbol"),
        side=_side(row),
        # An order for an amount of money has no quantity; what was filled is all that is known of it.
        quantity=filled if quantity is None else quantity,
        order_type=_TYPES.get(str(row.get("type")), OrderType.MARKET),
        time_in_force=_DURATIONS.get(str(row.get("time_in_force")), TimeInForce.DAY),
        limit_price=read_optional_number(row, "limit_price"),
        stop_price=read_optional_number(row, "stop_price"),
    )


def unknown_words(row: Mapping[str, Any]) -> Iterator[str]:
    """Each word of an order that this version does not know."""
    for key, known in (("status", STATUSES), ("type", _TYPES), ("time_in_force", _DURATIONS)):
        if row.get(key) not in known:
            yield f"the {key} {str(row.get(key))[:40]!r} of an order"


def is_combination(row: Mapping[str, Any]) -> bool:
    """An option combination: it has neither symbol nor side of its own, and none of ours is one."""
    return row.get("order_class") == "mleg"


def _side(row: Mapping[str, Any]) -> Side:
    word = read_text(row, "side")
    if word in ("buy", "sell"):
        return Side(word)
    if word == "sell_short":
        return Side.SELL
    raise UnreadableAnswerError(f"The field side was {word[:40]!r} instead of buy or sell.")


def read_execution(row: Mapping[str, Any]) -> Execution:
    """A FILL activity. Its id begins with New York's local time, so the instant comes from elsewhere."""
    return Execution(
        execution_id=read_text(row, "id"),
        broker_order_id=read_text(row, "order_id"),
        symbol=read_text(row, "symbol"),
        side=_side(row),
        quantity=read_number(row, "qty"),
        price=read_number(row, "price"),
        cumulative_quantity=read_number(row, "cum_qty"),
        executed_at=read_instant(row, "transaction_time"),
    )


#: What a dividend and a fee are called; of the rest (transfers, interest, journals) nothing is made.
CASH_KINDS = {
    **dict.fromkeys(
        ("DIV", "DIVCGL", "DIVCGS", "DIVFT", "DIVNRA", "DIVROC", "DIVTW", "DIVTXEX"), AdjustmentCause.DIVIDEND
    ),
    **dict.fromkeys(("FEE", "CFEE", "DIVFEE", "PTC"), AdjustmentCause.FEE),
}


def read_cash_activity(row: Mapping[str, Any]) -> CashActivity:
    """A dividend or a fee; what was withheld from a dividend is one of its own, negative."""
    return CashActivity(
        activity_id=read_text(row, "id"),
        cause=CASH_KINDS.get(read_text(row, "activity_type"), AdjustmentCause.UNKNOWN),
        amount=read_number(row, "net_amount"),
        symbol=row.get("symbol") or None,
    )


def read_position(row: Mapping[str, Any]) -> BrokerPosition:
    """A position; short is negative whether or not the number says so."""
    quantity = read_number(row, "qty")
    return BrokerPosition(
        symbol=read_text(row, "symbol"),
        quantity=-abs(quantity) if row.get("side") == "short" else quantity,
        average_entry_price=read_number(row, "avg_entry_price"),
    )


def read_account(row: Mapping[str, Any]) -> BrokerAccount:
    """The account. Fields of the retired pattern-day-trader rule are not asked for."""
    blocks = ("account_blocked", "trading_blocked", "trade_suspended_by_user")
    return BrokerAccount(
        account_number=read_text(row, "account_number"),
        currency=read_text(row, "currency"),
        cash=read_number(row, "cash"),
        equity=read_number(row, "equity"),
        buying_power=read_number(row, "buying_power"),
        is_blocked=row.get("status") != "ACTIVE" or any(row.get(key) for key in blocks),
    )


def read_clock(row: Mapping[str, Any]) -> BrokerClock:
    """The market clock, whose instants carry New York's offset."""
    is_open = row.get("is_open")
    if not isinstance(is_open, bool):
        raise UnreadableAnswerError(f"The field is_open was {is_open!r} instead of true or false.")
    return BrokerClock(
        now=read_instant(row, "timestamp"),
        is_open=is_open,
        next_open=read_instant(row, "next_open"),
        next_close=read_instant(row, "next_close"),
    )


def read_session(row: Mapping[str, Any]) -> BrokerSession:
    """A trading day; its times are New York's, without a zone."""
    try:
        session = date.fromisoformat(read_text(row, "date"))
        hours = [time.fromisoformat(read_text(row, key)) for key in ("open", "close")]
    except ValueError:
        raise UnreadableAnswerError(f"The calendar has an unreadable day: {dict(row)!r:.80}.") from None
    opens_at, closes_at = (datetime.combine(session, hour, tzinfo=NEW_YORK).astimezone(UTC) for hour in hours)
    return BrokerSession(session=session, opens_at=opens_at, closes_at=closes_at)


def equity_window(first: date, last: date) -> dict[str, str]:
    """The parameters by which Alpaca's portfolio history has one value a session between two dates."""
    start, end = (
        datetime.combine(day, at, tzinfo=NEW_YORK) for day, at in ((first, time(9, 30)), (last, time(20)))
    )
    return {"timeframe": "1D", "start": start.isoformat(), "end": end.isoformat()}


def read_equities(row: Mapping[str, Any]) -> list[BrokerEquity]:
    """Two lists side by side; a day before the account was funded has no value.

    A day's instant lies on that day in New York, whether it is the day's first or, as in Alpaca's examples,
    the end of its trading after hours.
    """
    instants, values = row.get("timestamp"), row.get("equity")
    if not isinstance(instants, list) or not isinstance(values, list) or len(instants) != len(values):
        raise UnreadableAnswerError("The portfolio history has not as many values as instants.")
    found = []
    for instant, value in zip(instants, values, strict=True):
        if not isinstance(instant, int):
            raise UnreadableAnswerError(f"The portfolio history has the instant {instant!r:.40}.")
        if value is not None:
            day = datetime.fromtimestamp(instant, NEW_YORK).date()
            found.append(BrokerEquity(session=day, equity=read_number({"equity": value}, "equity")))
    return found
