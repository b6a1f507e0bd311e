"""Alpaca's orders: POST, GET, PATCH and DELETE under /v2/orders."""

import re
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from trading_orchestration.brokers.paper import PaperRefusedError
from trading_orchestration.domain.money import ZERO, plain, truncated
from trading_orchestration.domain.order_acceptance import RefusalReason
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce
from trading_orchestration.errors import BrokerRefusedError
from trading_orchestration.simulator.alpaca_formats import error_body, order_row
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.market import Market, Notes, OrderView

MOST_ORDERS = 500
_CLOSED = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
#: Alpaca replaces nothing that the exchange does not have yet.
_NOT_REPLACEABLE = _CLOSED | {"accepted", "pending_new", "pending_cancel", "pending_replace"}
_UNIQUE = error_body(40010001, "client_order_id must be unique")
#: The refusals that are 403 with Alpaca's general code; the rest is 422.
_FORBIDDEN = frozenset(
    {
        RefusalReason.NOT_FRACTIONABLE,
        RefusalReason.INSUFFICIENT_QUANTITY,
        RefusalReason.INSUFFICIENT_BUYING_POWER,
    }
)


def submit(market: Market, call: Call) -> Reply:
    """POST /v2/orders."""
    body = _object(call.body)
    notional = _number(body, "notional")
    symbol = str(body.get("symbol", "")).upper()
    quantity = _number(body, "qty")
    if (quantity is None) == (notional is None):
        raise ApiError(422, error_body(40010001, "qty or notional is required, and not both"))
    if body.get("order_class") not in (None, "", "simple"):
        raise ApiError(422, error_body(42210000, f"order_class {body['order_class']} is not simulated"))
    if quantity is None:
        quantity = _bought_for(market, symbol, notional or ZERO)
    terms = OrderTerms(
        symbol=symbol,
        side=_word(body, "side", Side),
        quantity=quantity,
        order_type=_word(body, "type", OrderType),
        time_in_force=_word(body, "time_in_force", TimeInForce),
        limit_price=_number(body, "limit_price"),
        stop_price=_number(body, "stop_price"),
    )
    notes = Notes(
        notional=notional,
        is_extended_hours=bool(body.get("extended_hours")),
        unseen_reads=call.unseen_reads,
    )
    return _taken(market, terms, lambda: market.submit(_client_order_id(body), terms, notes))


def replace(market: Market, call: Call) -> Reply:
    """PATCH /v2/orders/{id}: a new order for what is left."""
    body, old = _object(call.body), _require(market, call.path["order_id"])
    if old.word in _NOT_REPLACEABLE or old.notes.notional is not None:
        raise ApiError(422, error_body(42210000, f"cannot replace an order that is {old.word}"))
    terms = old.order.terms
    quantity = (_number(body, "qty") or terms.quantity) - old.filled_quantity
    if quantity <= 0:
        raise ApiError(422, error_body(42210000, "qty must be larger than what is filled"))
    changed = OrderTerms(
        symbol=terms.symbol,
        side=terms.side,
        quantity=quantity,
        order_type=terms.order_type,
        time_in_force=_word(body, "time_in_force", TimeInForce, terms.time_in_force),
        limit_price=_number(body, "limit_price") or terms.limit_price,
        stop_price=_number(body, "stop_price") or terms.stop_price,
    )
    order_id = old.order.broker_order_id
    return _taken(market, changed, lambda: market.replace(order_id, _client_order_id(body), changed))


def _taken(market: Market, terms: OrderTerms, send: Callable[[], OrderView]) -> Reply:
    try:
        return Reply(200, order_row(send()))
    except PaperRefusedError as refused:
        raise _refusal(market, terms, refused) from None


def _refusal(market: Market, terms: OrderTerms, refused: PaperRefusedError) -> ApiError:
    sentence = str(refused).rstrip(".")
    if refused.reason is RefusalReason.DUPLICATE_CLIENT_ORDER_ID:
        return ApiError(422, _UNIQUE)
    if refused.reason is RefusalReason.INSUFFICIENT_QUANTITY:
        return ApiError(403, _insufficient_quantity(market, terms))
    if refused.reason is RefusalReason.INSUFFICIENT_BUYING_POWER:
        cost = re.search(r"cost_basis: ([0-9.]+)", sentence)
        power = plain(market.account().buying_power)
        more = {"buying_power": power, "cost_basis": cost[1] if cost else "0"}
        return ApiError(403, error_body(40310000, "insufficient buying power", **more))
    if refused.reason in _FORBIDDEN:
        return ApiError(403, error_body(40310000, sentence))
    return ApiError(422, error_body(42210000, sentence))


def _insufficient_quantity(market: Market, terms: OrderTerms) -> Any:
    held = sum((p.quantity for p in market.positions() if p.symbol == terms.symbol), ZERO)
    for_orders = held_for_orders(market, terms.symbol)
    available = plain(max(held - for_orders, ZERO))
    message = (
        f"insufficient qty available for order (requested: {plain(terms.quantity)}, available: {available})"
    )
    return error_body(
        40310000,
        message,
        symbol=terms.symbol,
        available=available,
        existing_qty=plain(held),
        held_for_orders=plain(for_orders),
    )


def held_for_orders(market: Market, symbol: str) -> Decimal:
    """How much of a holding open orders may still sell."""
    return sum(
        (
            order.terms.quantity - order.filled_quantity
            for order in market.broker.list_open_orders()
            if order.terms.symbol == symbol and order.terms.side is Side.SELL
        ),
        ZERO,
    )


def _bought_for(market: Market, symbol: str, notional: Decimal) -> Decimal:
    quote = market.prices.quotes([symbol]).get(symbol)
    if quote is None:
        raise ApiError(422, error_body(42210000, f'asset "{symbol}" not found'))
    return truncated(notional / quote.price)


def by_id(market: Market, call: Call) -> Reply:
    """GET /v2/orders/{id}."""
    return Reply(200, order_row(_require(market, call.path["order_id"])))


def by_client_order_id(market: Market, call: Call) -> Reply:
    """GET /v2/orders:by_client_order_id."""
    client_order_id = call.query.get("client_order_id", "")
    view = market.order_by_client_id(client_order_id) if client_order_id else None
    if view is None:
        raise _not_found(client_order_id)
    return Reply(200, order_row(view))


def cancel(market: Market, call: Call) -> Reply:
    """DELETE /v2/orders/{id}."""
    order_id = _require(market, call.path["order_id"]).order.broker_order_id
    try:
        market.cancel(order_id)
    except BrokerRefusedError:
        raise ApiError(422, error_body(42210000, "order is not cancelable")) from None
    return Reply(204)


def cancel_all(market: Market, _: Call) -> Reply:
    """DELETE /v2/orders."""
    return Reply(207, [{"id": order_id, "status": 200} for order_id in cancel_open_orders(market)])


def cancel_open_orders(market: Market) -> list[str]:
    """Cancel everything that is open; gives the orders' ids."""
    order_ids = [order.broker_order_id for order in market.broker.list_open_orders()]
    for order_id in order_ids:
        market.cancel(order_id)
    return order_ids


def list_orders(market: Market, call: Call) -> Reply:
    """GET /v2/orders."""
    query = call.query
    limit = _limit(query.get("limit", "50"))
    found: Sequence[OrderView] = _within(market.orders(), query)
    wanted = query.get("status", "open")
    if wanted != "all":
        found = [view for view in found if (view.word in _CLOSED) == (wanted == "closed")]
    if symbols := query.get("symbols"):
        found = [view for view in found if view.order.terms.symbol in symbols.split(",")]
    if side := query.get("side"):
        found = [view for view in found if view.order.terms.side == side]
    if query.get("direction", "desc") == "desc":
        found = found[::-1]
    return Reply(200, [order_row(view) for view in found[:limit]])


def _within(views: list[OrderView], query: Any) -> list[OrderView]:
    """The part of the list (oldest first) that `after`, `until` and the ids leave, all exclusive."""
    if {"after_order_id", "before_order_id"} & query.keys() and {"after", "until"} & query.keys():
        raise ApiError(422, error_body(40010001, "order ids and times cannot be combined"))
    if after := query.get("after"):
        views = [view for view in views if view.order.submitted_at > instant(after)]
    if until := query.get("until"):
        views = [view for view in views if view.order.submitted_at < instant(until)]
    ids = [view.order.broker_order_id for view in views]
    if (after_id := query.get("after_order_id")) is not None:
        views = views[_index(ids, after_id) + 1 :]
    if (before_id := query.get("before_order_id")) is not None:
        views = views[: _index(ids, before_id)]
    return views


def _index(ids: list[str], order_id: str) -> int:
    if order_id not in ids:
        raise _not_found(order_id)
    return ids.index(order_id)


def _limit(given: str) -> int:
    if not given.isdecimal() or not 0 < int(given) <= MOST_ORDERS:
        raise ApiError(422, error_body(40010001, f"limit must be between 1 and {MOST_ORDERS}"))
    return int(given)


def _require(market: Market, order_id: str) -> OrderView:
    try:
        uuid.UUID(order_id)
    except ValueError:
        raise ApiError(422, error_body(40010001, "order_id is not a valid UUID")) from None
    view = market.order(order_id)
    if view is None:
        raise _not_found(order_id)
    return view


def _not_found(order_id: str) -> ApiError:
    return ApiError(404, error_body(40410000, f"order not found for {order_id}"))


def _client_order_id(body: dict[str, Any]) -> str | None:
    given = body.get("client_order_id")
    return str(given) if given else None


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError(400, error_body(40010000, "request body format is invalid"))
    return body


def _number(body: dict[str, Any], name: str) -> Decimal | None:
    """Alpaca takes numbers and texts."""
    value = body.get(name)
    if value is None:
        return None
    try:
        return Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise ApiError(422, error_body(40010001, f"{name} must be a number")) from None


_Word = TypeVar("_Word", Side, OrderType, TimeInForce)


def _word(body: dict[str, Any], name: str, words: type[_Word], default: _Word | None = None) -> _Word:
    value = body.get(name)
    if value is None and default is not None:
        return default
    try:
        return words(str(value))
    except ValueError:
        raise ApiError(422, error_body(42210000, f"{name} {value} is not simulated")) from None


def instant(given: str) -> datetime:
    """An instant of a query: a date (UTC) or RFC 3339."""
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        raise ApiError(422, error_body(40010001, f"{given} is not a time")) from None
    return parsed if parsed.tzinfo else datetime.fromisoformat(f"{parsed.isoformat()}+00:00")
