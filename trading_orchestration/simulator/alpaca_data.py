"""Alpaca's market data: snapshots, latest quotes, trades and bars, and the history of bars."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.simulator.alpaca_formats import bar_row, quote_row, trade_row
from trading_orchestration.simulator.alpaca_orders import instant
from trading_orchestration.simulator.alpaca_pages import bad_request, page
from trading_orchestration.simulator.api import Call, Reply
from trading_orchestration.simulator.market import Market

BARS_PER_PAGE = 1_000
MOST_BARS_PER_PAGE = 10_000
_TIMEFRAMES = {"1Day": Timeframe.DAY, "1D": Timeframe.DAY, "1Min": Timeframe.MINUTE, "1T": Timeframe.MINUTE}
#: How far back the last two daily bars are looked for.
_LOOK_BACK = timedelta(days=14)


def snapshots(market: Market, call: Call) -> Reply:
    """GET /v2/stocks/snapshots."""
    symbols = _symbols(market, call)
    quotes = market.prices.quotes(symbols)
    daily, minute = _last_bars(market, symbols, Timeframe.DAY), _last_bars(market, symbols, Timeframe.MINUTE)
    return Reply(
        200, {symbol: _snapshot(market, quotes[symbol], daily[symbol], minute[symbol]) for symbol in quotes}
    )


def _snapshot(market: Market, quote: Quote, daily: list[Bar], minute: list[Bar]) -> dict[str, Any]:
    bars = [bar_row(bar) for bar in daily[-2:]]
    session = market.calendar.session_at(market.clock())
    if session and session.opens_at <= market.clock() and (not daily or daily[-1].session < session.date):
        # The day's own bar, as far as it is known: one price.
        today = bar_row(_one_price_bar(quote, session.date, session.opens_at, session.closes_at))
        bars = [*bars[-1:], today]
    parts = {
        "latestTrade": trade_row(quote),
        "latestQuote": quote_row(quote),
        "minuteBar": bar_row(minute[-1]) if minute else None,
        "dailyBar": bars[-1] if bars else None,
        "prevDailyBar": bars[-2] if len(bars) > 1 else None,
    }
    return {name: part for name, part in parts.items() if part is not None}


def _one_price_bar(quote: Quote, day: Any, starts_at: datetime, ends_at: datetime) -> Bar:
    price = quote.price
    return Bar(
        symbol=quote.symbol,
        timeframe=Timeframe.DAY,
        session=day,
        starts_at=starts_at,
        ends_at=ends_at,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=price * 0,
        source=quote.source,
    )


def latest_quotes(market: Market, call: Call) -> Reply:
    """GET /v2/stocks/quotes/latest."""
    return _latest(market, call, "quotes", quote_row)


def latest_trades(market: Market, call: Call) -> Reply:
    """GET /v2/stocks/trades/latest."""
    return _latest(market, call, "trades", trade_row)


def _latest(market: Market, call: Call, name: str, row: Callable[[Quote], dict[str, Any]]) -> Reply:
    quotes = market.prices.quotes(_symbols(market, call))
    return Reply(200, {name: {symbol: row(quote) for symbol, quote in quotes.items()}})


def latest_bars(market: Market, call: Call) -> Reply:
    """GET /v2/stocks/bars/latest: of minutes."""
    found = _last_bars(market, _symbols(market, call), Timeframe.MINUTE)
    return Reply(200, {"bars": {symbol: bar_row(bars[-1]) for symbol, bars in found.items() if bars}})


def _last_bars(market: Market, symbols: Sequence[str], timeframe: Timeframe) -> dict[str, list[Bar]]:
    now = market.clock()
    found: dict[str, list[Bar]] = defaultdict(list)
    for bar in market.prices.bars(symbols, timeframe, start=now - _LOOK_BACK, end=now):
        found[bar.symbol].append(bar)
    return found


def bars(market: Market, call: Call) -> Reply:
    """GET /v2/stocks/bars: by symbol, then by time; one page holds so many over all symbols."""
    query, now = call.query, market.clock()
    timeframe = _TIMEFRAMES.get(query.get("timeframe", ""))
    if timeframe is None:
        raise bad_request(f"invalid timeframe: {query.get('timeframe')} is not simulated")
    start = instant(query["start"]) if "start" in query else now.replace(hour=0, minute=0, second=0)
    end = instant(query["end"]) if "end" in query else now
    symbols = sorted(_symbols(market, call))
    # A daily bar of Alpaca's starts at midnight, hours before its session does.
    found = market.prices.bars(symbols, timeframe, start=start, end=end + timedelta(days=1))
    rows = [(bar.symbol, bar_row(bar)) for bar in found]
    rows = [(symbol, row) for symbol, row in rows if start <= instant(row["t"]) <= end]
    if query.get("sort") == "desc":
        rows = [pair for symbol in symbols for pair in reversed(rows) if pair[0] == symbol]
    ids = [f"{symbol}|{row['t']}" for symbol, row in rows]
    return Reply(200, page("bars", rows, ids, query, usual=BARS_PER_PAGE, most=MOST_BARS_PER_PAGE))


def _symbols(market: Market, call: Call) -> list[str]:
    """What was asked for; one symbol that does not exist refuses them all."""
    symbols = [symbol for symbol in call.query.get("symbols", "").split(",") if symbol]
    if not symbols:
        raise bad_request("symbols is required")
    known = market.prices.instruments(symbols)
    for symbol in symbols:
        if symbol not in known:
            raise bad_request(f"invalid symbol: {symbol}")
    return symbols
