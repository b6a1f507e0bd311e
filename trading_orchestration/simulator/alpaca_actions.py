"""Alpaca's corporate actions: what was announced to the market, by the day on which Alpaca processes it."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.simulator.alpaca_formats import made_uuid, number
from trading_orchestration.simulator.alpaca_pages import Named, bad_request, page
from trading_orchestration.simulator.api import Call, Reply
from trading_orchestration.simulator.market import Market

ACTIONS_PER_PAGE = 100
MOST_ACTIONS_PER_PAGE = 1_000


def corporate_actions(market: Market, call: Call) -> Reply:
    """GET /v1/corporate-actions: sorted by `process_date`; one page holds so many over all kinds."""
    query = call.query
    today = market.calendar.local(market.clock()).date().isoformat()
    first, last = (_day(query.get(name, today), name) for name in ("start", "end"))
    symbols, types = _words(query.get("symbols")), _words(query.get("types"))
    found = [
        (kind, row)
        for action in market.announced
        for kind, row in _rows(action)
        if first <= row["process_date"] <= last
        and (not symbols or symbols & {row.get(key) for key in ("symbol", "old_symbol", "acquiree_symbol")})
        and (not types or kind.removesuffix("s") in types)
    ]
    found.sort(
        key=lambda named: (named[1]["process_date"], named[1]["id"]), reverse=query.get("sort") == "desc"
    )
    ids = [row["id"] for _, row in found]
    most = MOST_ACTIONS_PER_PAGE
    return Reply(200, page("corporate_actions", found, ids, query, usual=ACTIONS_PER_PAGE, most=most))


def _rows(action: NewAction) -> Iterator[Named]:
    """An action in Alpaca's words; of a delisting that does not say what it pays it tells nothing."""
    cusip = made_uuid("cusip", action.symbol)[:9].upper()
    made = {"id": made_uuid("action", action.kind, action.symbol, f"{action.on}{action.is_special}")}
    match action.kind:
        case ActionKind.SPLIT:
            yield _split(action, made, cusip)
        case ActionKind.DIVIDEND:
            dates = {"payable_date": action.pays_on.isoformat()} if action.pays_on else {}
            yield (
                "cash_dividends",
                made
                | dates
                | {
                    "symbol": action.symbol,
                    "cusip": cusip,
                    "rate": number(action.cash_per_unit),
                    "special": action.is_special,
                    "foreign": False,
                    "ex_date": action.on.isoformat(),
                    "process_date": (action.pays_on or action.on).isoformat(),
                },
            )
        case ActionKind.SYMBOL_CHANGE:
            yield (
                "name_changes",
                made
                | {
                    "old_symbol": action.symbol,
                    "old_cusip": cusip,
                    "new_symbol": action.new_symbol,
                    "new_cusip": cusip,
                    "process_date": action.on.isoformat(),
                },
            )
        case ActionKind.DELISTING if action.cash_per_unit is not None:
            yield _end(action, made, cusip, action.cash_per_unit)
        case ActionKind.DELISTING:
            return


def _split(action: NewAction, made: dict[str, Any], cusip: str) -> Named:
    assert action.ratio is not None, "checked when it was announced"
    is_forward = action.ratio[0] > action.ratio[1]
    cusips = {"cusip": cusip} if is_forward else {"old_cusip": cusip, "new_cusip": f"{cusip[:8]}N"}
    return "forward_splits" if is_forward else "reverse_splits", made | cusips | {
        "symbol": action.symbol,
        "new_rate": number(action.ratio[0]),
        "old_rate": number(action.ratio[1]),
        "process_date": action.on.isoformat(),
        "ex_date": action.on.isoformat(),
    }


def _end(action: NewAction, made: dict[str, Any], cusip: str, cash: Decimal) -> Named:
    day = action.on.isoformat()
    if not cash:
        return "worthless_removals", made | {"symbol": action.symbol, "cusip": cusip, "process_date": day}
    return "cash_mergers", made | {
        "acquiree_symbol": action.symbol,
        "acquiree_cusip": cusip,
        "rate": number(cash),
        "process_date": day,
        "effective_date": day,
    }


def _words(given: str | None) -> set[str]:
    return {word for word in (given or "").split(",") if word}


def _day(given: str, name: str) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError:
        raise bad_request(f"invalid {name}: {given}") from None
