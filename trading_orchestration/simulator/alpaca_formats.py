"""Alpaca's published rows: texts for numbers in trading, numbers in market data, instants with fractions."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from trading_orchestration.brokers.broker import BrokerAccount, BrokerPosition, Execution
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.money import EXACT, ZERO, plain, rounded
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.simulator.market import CashEntry, OrderView
from trading_orchestration.store.prices import Instrument

NEW_YORK = ZoneInfo("America/New_York")
EXCHANGE = "NASDAQ"
_CENT = Decimal("0.01")


def made_uuid(*parts: str) -> str:
    """The same id for the same thing, always."""
    return str(uuid5(NAMESPACE_URL, "|".join(parts)))


def stamp(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC, the fraction without trailing zeros, as Go writes it."""
    if instant is None:
        return None
    text = instant.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return f"{text.rstrip('0').rstrip('.')}Z"


def number(value: Decimal | None) -> float | int | None:
    """A JSON number as market data has it: whole ones without a point."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def text(value: Decimal | None) -> str | None:
    """A number as trading has it."""
    return None if value is None else plain(value)


def asset_id(symbol: str) -> str:
    """The id of a symbol's asset."""
    return made_uuid("asset", symbol)


def order_row(view: OrderView) -> dict[str, Any]:
    """An order."""
    order, terms, notes = view.order, view.order.terms, view.notes
    closed_at = stamp(notes.closed_at)
    return {
        "id": order.broker_order_id,
        "client_order_id": order.client_order_id,
        "created_at": stamp(order.submitted_at),
        "updated_at": stamp(notes.closed_at or notes.filled_at or order.submitted_at),
        "submitted_at": stamp(order.submitted_at),
        "filled_at": stamp(notes.filled_at) if view.word == "filled" else None,
        "expired_at": (closed_at or stamp(view.expires_at)) if view.word == "expired" else None,
        "expires_at": stamp(view.expires_at),
        "canceled_at": closed_at if view.word == "canceled" else None,
        "failed_at": None,
        "replaced_at": closed_at if view.word == "replaced" else None,
        "replaced_by": notes.replaced_by,
        "replaces": notes.replaces,
        "asset_id": asset_id(terms.symbol),
        "symbol": terms.symbol,
        "asset_class": "us_equity",
        "notional": text(notes.notional),
        "qty": None if notes.notional else text(terms.quantity),
        "filled_qty": text(view.filled_quantity),
        "filled_avg_price": text(order.filled_average_price) if view.filled_quantity else None,
        "order_class": "",
        "order_type": terms.order_type.value,
        "type": terms.order_type.value,
        "side": terms.side.value,
        "position_intent": "buy_to_open" if terms.side is Side.BUY else "sell_to_close",
        "time_in_force": terms.time_in_force.value,
        "limit_price": text(terms.limit_price),
        "stop_price": text(terms.stop_price),
        "status": view.word,
        "extended_hours": notes.is_extended_hours,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }


def activity_id(execution: Execution) -> str:
    """New York's local time to the millisecond, and a UUID."""
    local = execution.executed_at.astimezone(NEW_YORK)
    return f"{local:%Y%m%d%H%M%S}{local.microsecond // 1000:03}::{execution_uuid(execution)}"


def execution_uuid(execution: Execution) -> str:
    """The id of a fill in `trade_updates`."""
    return made_uuid("execution", execution.execution_id)


def activity_row(execution: Execution, terms: OrderTerms) -> dict[str, Any]:
    """A fill in the list of activities."""
    leaves = terms.quantity - execution.cumulative_quantity
    return {
        "id": activity_id(execution),
        "activity_type": "FILL",
        "type": "partial_fill" if leaves else "fill",
        "transaction_time": stamp(execution.executed_at),
        "order_id": execution.broker_order_id,
        "order_status": "partially_filled" if leaves else "filled",
        "symbol": execution.symbol,
        "side": execution.side.value,
        "price": text(execution.price),
        "qty": text(execution.quantity),
        "cum_qty": text(execution.cumulative_quantity),
        "leaves_qty": text(leaves),
    }


def cash_row(entry: CashEntry) -> dict[str, Any]:
    """Money that moved without a trade, in the list of activities."""
    return {
        "id": entry.activity_id,
        "activity_type": entry.kind,
        "date": entry.booked_at.astimezone(NEW_YORK).date().isoformat(),
        "created_at": stamp(entry.booked_at),
        "net_amount": text(entry.amount),
        "symbol": entry.symbol or "",
        "description": entry.kind,
        "status": "executed",
    }


def position_row(position: BrokerPosition, quote: Quote, held_for_orders: Decimal) -> dict[str, Any]:
    """A position at the price of now."""
    lastday = quote.previous_close or quote.price
    value, cost = position.quantity * quote.price, position.quantity * position.average_entry_price
    gained, gained_today = value - cost, position.quantity * (quote.price - lastday)
    return {
        "asset_id": asset_id(position.symbol),
        "symbol": position.symbol,
        "exchange": EXCHANGE,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(position.quantity),
        "qty_available": text(abs(position.quantity) - held_for_orders),
        "side": "long" if position.quantity > 0 else "short",
        "avg_entry_price": text(position.average_entry_price),
        "market_value": text(rounded(value)),
        "cost_basis": text(rounded(cost)),
        "unrealized_pl": text(rounded(gained)),
        "unrealized_plpc": text(_ratio(gained, abs(cost))),
        "unrealized_intraday_pl": text(rounded(gained_today)),
        "unrealized_intraday_plpc": text(_ratio(gained_today, abs(position.quantity * lastday))),
        "current_price": text(quote.price),
        "lastday_price": text(lastday),
        "change_today": text(_ratio(quote.price - lastday, lastday)),
    }


def _ratio(part: Decimal, whole: Decimal) -> Decimal:
    return rounded(EXACT.divide(part, whole)) if whole else ZERO


def account_row(account: BrokerAccount, *, created_at: datetime, as_of: date) -> dict[str, Any]:
    """The account, without the fields of the day-trading rule that Alpaca removed in July 2026."""
    held = account.equity - account.cash
    money = {
        "cash": account.cash,
        **dict.fromkeys(("equity", "last_equity", "portfolio_value"), account.equity),
        **dict.fromkeys(
            (
                "buying_power",
                "effective_buying_power",
                "regt_buying_power",
                "non_marginable_buying_power",
                "options_buying_power",
            ),
            account.buying_power,
        ),
        **dict.fromkeys(("long_market_value", "position_market_value", "initial_margin"), held),
        **dict.fromkeys(("maintenance_margin", "last_maintenance_margin", "short_market_value"), ZERO),
        **dict.fromkeys(("sma", "accrued_fees", "pending_reg_taf_fees", "intraday_adjustments"), ZERO),
    }
    flags = ("trading_blocked", "transfers_blocked", "account_blocked", "trade_suspended_by_user")
    return {
        "id": made_uuid("account", account.account_number),
        "account_number": account.account_number,
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": account.currency,
        **{name: text(amount) for name, amount in money.items()},
        "multiplier": "1",
        "created_at": stamp(created_at),
        "balance_asof": as_of.isoformat(),
        **dict.fromkeys(flags, False),
        "shorting_enabled": False,
        "options_approved_level": 0,
        "options_trading_level": 0,
        "crypto_tier": 0,
        "admin_configurations": {},
        "user_configurations": None,
    }


def asset_row(instrument: Instrument) -> dict[str, Any]:
    """An asset."""
    return {
        "id": asset_id(instrument.symbol),
        "class": "us_equity",
        "exchange": EXCHANGE,
        "symbol": instrument.symbol,
        "name": instrument.symbol,
        "status": "active" if instrument.is_tradable else "inactive",
        "tradable": instrument.is_tradable,
        "marginable": True,
        "shortable": False,
        "easy_to_borrow": False,
        "fractionable": instrument.is_fractionable,
        "attributes": [],
    }


def calendar_row(session: Session, settlement: date) -> dict[str, str]:
    """A trading day, its times New York's."""
    opens, closes = (instant.astimezone(NEW_YORK) for instant in (session.opens_at, session.closes_at))
    return {
        "date": session.date.isoformat(),
        "open": f"{opens:%H:%M}",
        "close": f"{closes:%H:%M}",
        "session_open": "0400",
        "session_close": "1700" if session.is_early_close else "2000",
        "settlement_date": settlement.isoformat(),
    }


def bar_row(bar: Bar) -> dict[str, Any]:
    """A bar; a daily one starts at New York's midnight. How many trades it holds is not known here."""
    starts_at = bar.starts_at
    if bar.timeframe is Timeframe.DAY:
        starts_at = datetime(bar.session.year, bar.session.month, bar.session.day, tzinfo=NEW_YORK)
    return {
        "t": stamp(starts_at),
        "o": number(bar.open),
        "h": number(bar.high),
        "l": number(bar.low),
        "c": number(bar.close),
        "v": number(bar.volume),
        "n": 1,
        "vw": number(rounded((bar.high + bar.low + bar.close) / 3)),
    }


def trade_row(quote: Quote) -> dict[str, Any]:
    """A last trade."""
    return {
        "t": stamp(quote.quoted_at),
        "x": "V",
        "p": number(quote.price),
        "s": 100,
        "c": ["@"],
        "i": int(quote.quoted_at.timestamp()),
        "z": "C",
    }


def quote_row(quote: Quote) -> dict[str, Any]:
    """The best bid and ask: a cent to either side of the price, where it is above a dollar."""
    spread = _CENT if quote.price > 1 else ZERO
    return {
        "t": stamp(quote.quoted_at),
        "ax": "V",
        "ap": number(quote.price + spread),
        "as": 100,
        "bx": "V",
        "bp": number(quote.price - spread),
        "bs": 100,
        "c": ["R"],
        "z": "C",
    }


def error_body(code: int, message: str, **more: str) -> Mapping[str, Any]:
    """What Alpaca says when it refuses."""
    return {"code": code, "message": message, **more}
