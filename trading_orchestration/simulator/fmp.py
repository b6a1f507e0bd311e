"""Financial Modeling Prep's quotes and daily history, and its ways to refuse them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.money import EXACT, rounded
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.simulator.alpaca_formats import EXCHANGE, NEW_YORK, number
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.market import Market

INVALID_KEY = (
    "Invalid API KEY. Feel free to create a Free API Key or visit "
    "https://site.financialmodelingprep.com/faqs?search=why-is-my-api-key-invalid for more information."
)
RESTRICTED = (
    "Restricted Endpoint: This endpoint is not available under your current subscription please visit our "
    "subscription page to upgrade your plan at https://site.financialmodelingprep.com/developer/docs/pricing"
)
LIMIT_REACHED = (
    "Limit Reach . Please upgrade your plan or visit our documentation for more details at "
    "https://site.financialmodelingprep.com/"
)
LEGACY = (
    "Legacy Endpoint : Due to Legacy endpoints being no longer supported - This endpoint is only available "
    "for legacy users who have valid subscriptions prior August 31, 2025."
)


_Writer = Callable[[Quote], dict[str, Any]]


@dataclass(slots=True)
class Plan:
    """What the simulated key may do. `requests_left` None is without a daily cap."""

    key: str
    has_batch: bool = True
    #: Whether the calendars of all symbols are open, and more than the first page of delistings.
    has_calendars: bool = True
    dividends_per_page: int = 4_000
    requests_left: int | None = None

    def admit(self, call: Call) -> Mapping[str, str]:
        """Refuse a wrong key and a used-up day; the key may come in the query or in a header."""
        if self.key not in (call.query.get("apikey"), call.headers.get("apikey")):
            raise ApiError(401, {"Error Message": INVALID_KEY})
        if self.requests_left is not None:
            if self.requests_left <= 0:
                raise ApiError(429, {"Error Message": LIMIT_REACHED})
            self.requests_left -= 1
        return {}

    def admit_batch(self, call: Call) -> Mapping[str, str]:
        """Refuse the endpoints that only larger plans have, as plain text."""
        self.admit(call)
        if not self.has_batch:
            raise ApiError(402, text=RESTRICTED)
        return {}


def legacy(_: Market, __: Call) -> Reply:
    """GET /api/v3/…: closed to keys given out after August 2025."""
    return Reply(403, {"Error Message": LEGACY})


def quote(market: Market, call: Call) -> Reply:
    """GET /stable/quote: one symbol; for more than one the answer is empty, without a word."""
    return Reply(200, _quotes(market, [call.query.get("symbol", "")], _quote_row))


def batch_quote(market: Market, call: Call) -> Reply:
    """GET /stable/batch-quote."""
    return Reply(200, _quotes(market, call.query.get("symbols", "").split(","), _quote_row))


def batch_quote_short(market: Market, call: Call) -> Reply:
    """GET /stable/batch-quote-short."""
    return Reply(200, _quotes(market, call.query.get("symbols", "").split(","), _short_row))


def _quotes(
    market: Market, theirs: list[str], row: Callable[[Quote], dict[str, Any]]
) -> list[dict[str, Any]]:
    quotes = market.prices.quotes([_ours(symbol) for symbol in theirs])
    return [row(quotes[_ours(symbol)]) for symbol in theirs if _ours(symbol) in quotes]


def _quote_row(found: Quote) -> dict[str, Any]:
    close = found.previous_close or found.price
    return _short_row(found) | {
        "name": found.symbol,
        "changePercentage": number(_percentage(found.price - close, close)),
        "dayLow": number(found.price),
        "dayHigh": number(found.price),
        "yearHigh": number(found.price),
        "yearLow": number(found.price),
        "marketCap": None,
        "priceAvg50": number(found.price),
        "priceAvg200": number(found.price),
        "exchange": EXCHANGE,
        "open": number(found.price),
        "previousClose": number(close),
        "timestamp": int(found.quoted_at.timestamp()),
    }


def _short_row(found: Quote) -> dict[str, Any]:
    close = found.previous_close or found.price
    return {
        "symbol": _theirs(found.symbol),
        "price": number(found.price),
        "change": number(found.price - close),
        "volume": 0,
    }


def history_full(market: Market, call: Call) -> Reply:
    """GET /stable/historical-price-eod/full. FMP adjusts these for splits; the stored bars are raw."""
    return Reply(200, [_full_row(bar) for bar in _history(market, call)])


def history_raw(market: Market, call: Call) -> Reply:
    """GET /stable/historical-price-eod/non-split-adjusted: raw, though the fields are called adj…"""
    return Reply(200, [_raw_row(bar) for bar in _history(market, call)])


def _history(market: Market, call: Call) -> list[Bar]:
    """Newest first, both dates included."""
    first, last = _day(call, "from", date(1970, 1, 1)), _day(call, "to", date(2100, 1, 1))
    start, end = (
        datetime.combine(day, at, tzinfo=NEW_YORK) for day, at in ((first, time.min), (last, time.max))
    )
    symbols = [_ours(call.query.get("symbol", ""))]
    return market.prices.bars(symbols, Timeframe.DAY, start=start, end=end)[::-1]


def _day(call: Call, name: str, default: date) -> date:
    try:
        return date.fromisoformat(call.query[name]) if name in call.query else default
    except ValueError:
        raise ApiError(400, {"Error Message": f"Invalid date format for {name}"}) from None


def _full_row(bar: Bar) -> dict[str, Any]:
    return {
        "symbol": _theirs(bar.symbol),
        "date": bar.session.isoformat(),
        "open": number(bar.open),
        "high": number(bar.high),
        "low": number(bar.low),
        "close": number(bar.close),
        "volume": number(bar.volume),
        "change": number(bar.close - bar.open),
        "changePercent": number(_percentage(bar.close - bar.open, bar.open)),
        "vwap": number(rounded((bar.high + bar.low + bar.close) / 3)),
    }


def _raw_row(bar: Bar) -> dict[str, Any]:
    return {
        "symbol": _theirs(bar.symbol),
        "date": bar.session.isoformat(),
        "adjOpen": number(bar.open),
        "adjHigh": number(bar.high),
        "adjLow": number(bar.low),
        "adjClose": number(bar.close),
        "volume": number(bar.volume),
    }


def _percentage(part: Decimal, whole: Decimal) -> Decimal:
    return rounded(EXACT.divide(part * 100, whole))


def _theirs(symbol: str) -> str:
    return symbol.replace(".", "-")


def _ours(symbol: str) -> str:
    return symbol.replace("-", ".")
