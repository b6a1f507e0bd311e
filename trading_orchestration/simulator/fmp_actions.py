"""FMP's splits, dividends, new symbols and delistings, with the ways in which its lists are cut off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.money import EXACT, rounded
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.simulator.alpaca_formats import EXCHANGE, number
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.fmp import RESTRICTED, Plan
from trading_orchestration.simulator.market import Market

#: How far the splits' calendar goes back from the last day asked for.
SPLIT_CALENDAR = timedelta(days=89)
SYMBOL_CHANGES = 100
DELISTED_PER_PAGE = 100

_Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ActionLists:
    """FMP's lists as a plan shows them."""

    plan: Plan

    def admit(self, call: Call) -> Mapping[str, str]:
        """Refuse the calendars where the plan lacks them, as plain text."""
        self.plan.admit(call)
        if not self.plan.has_calendars:
            raise ApiError(402, text=RESTRICTED)
        return {}

    def splits(self, market: Market, call: Call) -> Reply:
        """GET /stable/splits: all of a symbol's, whatever days are asked for; the newest first."""
        return Reply(200, _limited(call, _of(market, ActionKind.SPLIT, _symbol(call))))

    def dividends(self, market: Market, call: Call) -> Reply:
        """GET /stable/dividends: as the splits."""
        return Reply(200, _limited(call, _of(market, ActionKind.DIVIDEND, _symbol(call))))

    def splits_calendar(self, market: Market, call: Call) -> Reply:
        """GET /stable/splits-calendar: of all symbols; it has one page."""
        first, last = _span(market, call)
        rows = _between(_of(market, ActionKind.SPLIT), max(first, last - SPLIT_CALENDAR), last)
        return Reply(200, [] if _page(call) else rows)

    def dividends_calendar(self, market: Market, call: Call) -> Reply:
        """GET /stable/dividends-calendar: of all symbols; the first page is cut off without a word."""
        rows = _between(_of(market, ActionKind.DIVIDEND), *_span(market, call))
        return Reply(200, _paged(rows, _page(call), self.plan.dividends_per_page))

    def symbol_change(self, market: Market, call: Call) -> Reply:
        """GET /stable/symbol-change: the newest, 100 where no `limit` is given."""
        rows = _of(market, ActionKind.SYMBOL_CHANGE)
        return Reply(200, rows[: int(call.query.get("limit", SYMBOL_CHANGES))])

    def delisted_companies(self, market: Market, call: Call) -> Reply:
        """GET /stable/delisted-companies: by pages of at most 100; small plans open the first."""
        if _page(call) and not self.plan.has_calendars:
            raise ApiError(402, text=RESTRICTED)
        limit = min(int(call.query.get("limit", DELISTED_PER_PAGE)), DELISTED_PER_PAGE)
        return Reply(200, _paged(_of(market, ActionKind.DELISTING), _page(call), limit))


def _of(market: Market, kind: ActionKind, symbol: str | None = None) -> _Rows:
    actions = [a for a in market.announced if a.kind is kind and symbol in (None, _theirs(a.symbol))]
    today = market.calendar.local(market.clock()).date()
    splits = [a for a in market.announced if a.kind is ActionKind.SPLIT and a.on <= today]
    return [_row(action, splits) for action in sorted(actions, key=lambda a: (a.on, a.symbol), reverse=True)]


def _row(action: NewAction, splits: Sequence[NewAction]) -> dict[str, Any]:
    symbol, day = _theirs(action.symbol), action.on.isoformat()
    match action.kind:
        case ActionKind.SPLIT:
            new_units, old_units = action.ratio or (None, None)
            return {
                "symbol": symbol,
                "date": day,
                "numerator": number(new_units),
                "denominator": number(old_units),
                "splitType": "stock-split",
            }
        case ActionKind.DIVIDEND:
            amount = action.cash_per_unit or Decimal(0)
            return {
                "symbol": symbol,
                "date": day,
                "recordDate": day,
                "paymentDate": action.pays_on.isoformat() if action.pays_on else "",
                "declarationDate": "",
                "adjDividend": number(_in_units_of_today(action, amount, splits)),
                "dividend": number(amount),
                "yield": 0.5,
                "frequency": "Special" if action.is_special else "Quarterly",
            }
        case ActionKind.SYMBOL_CHANGE:
            new_symbol = _theirs(action.new_symbol or "")
            return {"date": day, "companyName": symbol, "oldSymbol": symbol, "newSymbol": new_symbol}
        case ActionKind.DELISTING:
            named = {"symbol": symbol, "companyName": symbol, "exchange": EXCHANGE, "ipoDate": "2000-01-03"}
            return named | {"delistedDate": day}


def _in_units_of_today(dividend: NewAction, amount: Decimal, splits: Sequence[NewAction]) -> Decimal:
    for split in splits:
        if split.symbol == dividend.symbol and split.on > dividend.on and split.ratio is not None:
            amount = EXACT.divide(EXACT.multiply(amount, split.ratio[1]), split.ratio[0])
    return rounded(amount)


def _symbol(call: Call) -> str:
    if not call.query.get("symbol"):
        told = "Query Error: Invalid or missing query parameter - symbol"
        raise ApiError(400, {"Error Message": told})
    return call.query["symbol"]


def _limited(call: Call, rows: _Rows) -> _Rows:
    return rows[: int(call.query["limit"])] if "limit" in call.query else rows


def _span(market: Market, call: Call) -> tuple[date, date]:
    today = market.calendar.local(market.clock()).date()
    given = (call.query.get("from"), call.query.get("to"))
    first, last = (date.fromisoformat(day) if day else today for day in given)
    return first, last


def _between(rows: _Rows, first: date, last: date) -> _Rows:
    return [row for row in rows if first.isoformat() <= row["date"] <= last.isoformat()]


def _page(call: Call) -> int:
    return int(call.query.get("page", 0))


def _paged(rows: Sequence[dict[str, Any]], page: int, size: int) -> _Rows:
    return list(rows[page * size : (page + 1) * size])


def _theirs(symbol: str) -> str:
    return symbol.replace(".", "-")
