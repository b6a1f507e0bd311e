"""Steering the simulator over HTTP, for tests in other processes and for a person with curl.

POST /simulator/prices   {"AAPL": "190.25"}
POST /simulator/clock    {"to": "2024-07-02T14:30:00Z"}
POST /simulator/faults   {"kind": "reset_after", "method": "POST", "path": "/v2/orders", "times": 1}
POST /simulator/orders   an order placed by hand, in Alpaca's words
POST /simulator/actions  {"kind": "split", "symbol": "AAPL", "on": "2024-07-03", "ratio": ["7", "1"]}
POST /simulator/fills    {"missing": 1, "is_doubled": true, "is_shuffled": true}
"""

from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import BrokerRefusedError, InvalidInputError
from trading_orchestration.simulator.alpaca_formats import activity_id, order_row, stamp
from trading_orchestration.simulator.alpaca_orders import instant
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.faults import Fault, FaultKind, FaultPlan
from trading_orchestration.simulator.market import Market

DONE = Reply(200, {"done": True})


def book(market: Market, _: Call) -> Reply:
    """GET /simulator: what is true, whatever the clients are told."""
    money = market.account()
    return Reply(
        200,
        {
            "now": stamp(market.clock()),
            "cash": plain(money.cash),
            "equity": plain(money.equity),
            "positions": {held.symbol: plain(held.quantity) for held in market.positions()},
            "orders": [order_row(view) for view in market.all_orders()],
            "executions": [
                {
                    "execution_id": execution.execution_id,
                    "activity_id": activity_id(execution),
                    "order_id": execution.broker_order_id,
                    "symbol": execution.symbol,
                    "side": execution.side.value,
                    "qty": plain(execution.quantity),
                    "price": plain(execution.price),
                }
                for execution in market.executions()
            ],
        },
    )


def set_prices(market: Market, call: Call) -> Reply:
    """POST /simulator/prices."""
    market.set_prices({str(symbol): Decimal(price) for symbol, price in _fields(call).items()})
    return DONE


def advance(market: Market, call: Call) -> Reply:
    """POST /simulator/clock."""
    market.advance(instant(str(_fields(call)["to"])))
    return DONE


def change_fills(market: Market, call: Call) -> Reply:
    """POST /simulator/fills; `missing` 0 shows again what was hidden."""
    asked = _fields(call)
    if "missing" in asked:
        if asked["missing"]:
            market.hide_fills(int(asked["missing"]))
        else:
            market.fill_faults.show_missing()
    for name in ("is_doubled", "is_shuffled"):
        if name in asked:
            setattr(market.fill_faults, name, bool(asked[name]))
    return DONE


def bust(market: Market, call: Call) -> Reply:
    """POST /simulator/busts {"execution_id": …}."""
    try:
        market.bust(str(_fields(call)["execution_id"]))
    except InvalidInputError as error:
        raise ApiError(404, {"message": str(error)}) from None
    return DONE


def book_cash(market: Market, call: Call) -> Reply:
    """POST /simulator/cash {"activity_type": "DIV", "amount": "12.50", "symbol": "AAPL"}."""
    asked = _fields(call)
    try:
        market.book_cash(str(asked["activity_type"]), Decimal(asked["amount"]), asked.get("symbol"))
    except (BrokerRefusedError, InvalidInputError) as error:
        raise ApiError(422, {"message": str(error)}) from None
    return DONE


def announce(market: Market, call: Call) -> Reply:
    """POST /simulator/actions: a corporate action that both vendors tell of, in the words of `NewAction`."""
    asked = _fields(call)
    new = NewAction(
        kind=ActionKind(asked["kind"]),
        symbol=str(asked["symbol"]),
        on=date.fromisoformat(asked["on"]),
        pays_on=date.fromisoformat(asked["pays_on"]) if asked.get("pays_on") else None,
        ratio=_ratio(*asked["ratio"]) if asked.get("ratio") else None,
        cash_per_unit=Decimal(asked["cash_per_unit"]) if "cash_per_unit" in asked else None,
        is_special=bool(asked.get("is_special")),
        new_symbol=asked.get("new_symbol"),
    )
    new.action(market.calendar)  # refuses what cannot be
    market.announced.append(new)
    return DONE


def _ratio(new_units: Any, old_units: Any) -> tuple[Decimal, Decimal]:
    return Decimal(new_units), Decimal(old_units)


def change_order(market: Market, call: Call) -> Reply:
    """POST /simulator/orders/{id} {"status": a word or null} or {"expire": true}."""
    asked, order_id = _fields(call), call.path["order_id"]
    try:
        if asked.get("expire"):
            market.expire(order_id)
        else:
            market.set_word(order_id, asked["status"])
    except BrokerRefusedError as error:
        raise ApiError(422, {"message": str(error)}) from None
    return DONE


@dataclass(frozen=True, slots=True)
class FaultControl:
    """Steers a plan of faults."""

    plan: FaultPlan

    def add(self, _: Market, call: Call) -> Reply:
        """POST /simulator/faults, with the fields of `Fault`."""
        asked = _fields(call)
        unknown = asked.keys() - {one.name for one in fields(Fault)}
        if unknown or asked.get("kind") not in set(FaultKind):
            known = ", ".join(FaultKind)
            raise ApiError(422, {"message": f"unknown field {sorted(unknown)}, or kind not one of {known}"})
        self.plan.add(Fault(**{name: _plain_number(value) for name, value in asked.items()}))
        return DONE

    def clear(self, _: Market, __: Call) -> Reply:
        """DELETE /simulator/faults."""
        self.plan.clear()
        return DONE

    def tell(self, _: Market, __: Call) -> Reply:
        """GET /simulator/faults: how often each kind met a request."""
        return Reply(200, dict(self.plan.injected))


def _plain_number(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def _fields(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict) or not call.body:
        raise ApiError(422, {"message": "give a JSON object"})
    return call.body
