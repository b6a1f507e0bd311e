"""Alpaca's account: money, positions, activities, clock, calendar and assets."""

from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from trading_orchestration.brokers.broker import BrokerPosition
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.money import QUANTUM
from trading_orchestration.domain.price import Quote
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.errors import BrokerRefusedError, InvalidInputError
from trading_orchestration.simulator.alpaca_formats import (
    NEW_YORK,
    account_row,
    activity_row,
    asset_id,
    asset_row,
    calendar_row,
    cash_row,
    error_body,
    order_row,
    position_row,
)
from trading_orchestration.simulator.alpaca_orders import cancel_open_orders, held_for_orders, instant
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.market import Market

ACTIVITIES_PER_PAGE = 100


def account(market: Market, _: Call) -> Reply:
    """GET /v2/account."""
    money, now = market.account(), market.clock()
    return Reply(200, account_row(money, created_at=now - timedelta(days=365), as_of=now.date()))


def positions(market: Market, _: Call) -> Reply:
    """GET /v2/positions."""
    held = market.positions()
    quotes = market.prices.quotes([position.symbol for position in held])
    return Reply(200, [_position(market, position, quotes) for position in held])


def position(market: Market, call: Call) -> Reply:
    """GET /v2/positions/{symbol or asset id}."""
    held = _require_position(market, call.path["symbol"])
    return Reply(200, _position(market, held, market.prices.quotes([held.symbol])))


def close_position(market: Market, call: Call) -> Reply:
    """DELETE /v2/positions/{symbol or asset id}, whole or a part of it."""
    held = _require_position(market, call.path["symbol"])
    quantity = abs(held.quantity)
    if "qty" in call.query:
        quantity = Decimal(call.query["qty"])
    elif "percentage" in call.query:
        quantity = (quantity * Decimal(call.query["percentage"]) / 100).quantize(QUANTUM, ROUND_DOWN)
    try:
        return Reply(200, _closed(market, held, quantity))
    except BrokerRefusedError as refused:
        raise ApiError(403, error_body(40310000, str(refused))) from None


def close_all_positions(market: Market, call: Call) -> Reply:
    """DELETE /v2/positions."""
    if call.flag("cancel_orders"):
        cancel_open_orders(market)
    return Reply(207, [_closing(market, held) for held in market.positions()])


def _closing(market: Market, held: BrokerPosition) -> dict[str, Any]:
    try:
        body, status = _closed(market, held, abs(held.quantity)), 200
    except BrokerRefusedError as refused:
        body, status = dict(error_body(40310000, str(refused), symbol=held.symbol)), 403
    return {"symbol": held.symbol, "status": status, "body": body}


def _closed(market: Market, held: BrokerPosition, quantity: Decimal) -> dict[str, Any]:
    side = Side.SELL if held.quantity > 0 else Side.BUY
    return order_row(market.submit(None, OrderTerms(symbol=held.symbol, side=side, quantity=quantity)))


def _position(market: Market, held: BrokerPosition, quotes: dict[str, Quote]) -> dict[str, Any]:
    quote = quotes.get(held.symbol) or Quote(
        symbol=held.symbol, price=held.average_entry_price, quoted_at=market.clock(), source="cost"
    )
    return position_row(held, quote, held_for_orders(market, held.symbol))


def _require_position(market: Market, name: str) -> BrokerPosition:
    for held in market.positions():
        if name in (held.symbol, asset_id(held.symbol)):
            return held
    raise ApiError(404, error_body(40410000, "position does not exist"))


def activities(market: Market, call: Call) -> Reply:
    """GET /v2/account/activities and …/{activity_type}: fills, and money that moved without one."""
    asked = call.path.get("activity_type") or call.query.get("activity_types")
    kinds = asked.split(",") if asked else None
    category = call.query.get("category")
    rows: list[tuple[datetime, dict[str, Any]]] = []
    if category != "non_trade_activity" and (kinds is None or "FILL" in kinds):
        rows += _fills(market)
    entries = [entry for entry in market.cash_entries if kinds is None or entry.kind in kinds]
    if category != "trade_activity" and entries:
        rows += [(entry.booked_at, cash_row(entry)) for entry in entries]
        rows.sort(key=lambda row: row[0])
    found = [row for at, row in rows if _is_within(at, call)]
    if call.query.get("direction", "desc") == "desc":
        found.reverse()
    return Reply(200, _page(found, call))


def _fills(market: Market) -> list[tuple[datetime, dict[str, Any]]]:
    """In the order in which they are reported, which a fault may have shuffled."""
    terms = {view.order.broker_order_id: view.order.terms for view in market.all_orders()}
    return [(e.executed_at, activity_row(e, terms[e.broker_order_id])) for e in market.reported_executions()]


def _is_within(executed_at: datetime, call: Call) -> bool:
    query = call.query
    if "date" in query and executed_at.astimezone(NEW_YORK).date().isoformat() != query["date"][:10]:
        return False
    if "after" in query and executed_at <= instant(query["after"]):
        return False
    return "until" not in query or executed_at < instant(query["until"])


def _page(rows: list[dict[str, Any]], call: Call) -> list[dict[str, Any]]:
    size = call.query.get("page_size", str(ACTIVITIES_PER_PAGE))
    if not size.isdecimal() or not 0 < int(size) <= ACTIVITIES_PER_PAGE:
        raise ApiError(422, error_body(40010001, f"page_size must be 1 to {ACTIVITIES_PER_PAGE}"))
    token, ids = call.query.get("page_token"), [row["id"] for row in rows]
    if token in ids:
        rows = rows[ids.index(token) + 1 :]
    elif token:
        raise ApiError(422, error_body(40010001, "page_token is invalid"))
    return rows[: int(size)]


def clock(market: Market, _: Call) -> Reply:
    """GET /v2/clock, in New York's time."""
    known = market.broker.get_clock()
    return Reply(
        200,
        {
            "timestamp": known.now.astimezone(NEW_YORK).isoformat(),
            "is_open": known.is_open,
            "next_open": _in_new_york(known.next_open, known.now),
            "next_close": _in_new_york(known.next_close, known.now),
        },
    )


def _in_new_york(instant: datetime | None, now: datetime) -> str:
    """Alpaca always knows a session ahead."""
    if instant is None:
        raise InvalidInputError(f"The simulator's calendar has no session after {now}.")
    return instant.astimezone(NEW_YORK).isoformat()


def calendar(market: Market, call: Call) -> Reply:
    """GET /v2/calendar."""
    first, last = (_day(call.query.get(name, default)) for name, default in _BOUNDS)
    sessions = market.calendar.sessions_between(first, last)
    return Reply(200, [calendar_row(session, _settlement(market, session)) for session in sessions])


_BOUNDS = (("start", "1970-01-01"), ("end", "2029-12-31"))


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given[:10])
    except ValueError:
        raise ApiError(422, error_body(40010001, f"{given} is not a date")) from None


def _settlement(market: Market, session: Session) -> date:
    known = market.calendar.sessions
    return session.date if session == known[-1] else market.calendar.next(session.date).date


def assets(market: Market, call: Call) -> Reply:
    """GET /v2/assets."""
    known = market.prices.instruments(market.prices.all_symbols()).values()
    rows = [asset_row(instrument) for instrument in sorted(known, key=lambda one: one.symbol)]
    status = call.query.get("status")
    return Reply(200, [row for row in rows if status in (None, row["status"])])


def asset(market: Market, call: Call) -> Reply:
    """GET /v2/assets/{symbol or asset id}."""
    name = call.path["symbol"]
    by_id = {asset_id(symbol): symbol for symbol in market.prices.all_symbols()}
    symbol = by_id.get(name, name)
    known = market.prices.instruments([symbol])
    if symbol not in known:
        raise ApiError(404, error_body(40410000, f"asset not found for {name}"))
    return Reply(200, asset_row(known[symbol]))
