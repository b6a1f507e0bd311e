"""Alpaca's portfolio history: what the account was worth at each session's close."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import Execution
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.money import EXACT, ZERO, product
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.simulator.alpaca_formats import NEW_YORK, error_body, number
from trading_orchestration.simulator.alpaca_orders import instant
from trading_orchestration.simulator.api import ApiError, Call, Reply
from trading_orchestration.simulator.market import Market

_CENT = Decimal("0.01")


def equity_history(market: Market, call: Call) -> Reply:
    """GET /v2/account/portfolio/history, by the day alone."""
    query = call.query
    if query.get("timeframe", "1D") != "1D":
        raise ApiError(422, error_body(40010001, "the simulator has portfolio history of timeframe 1D only"))
    last = _day(query["end"]) if "end" in query else market.clock().astimezone(NEW_YORK).date()
    first = _day(query["start"]) if "start" in query else last - timedelta(days=30)
    closed = [s for s in market.calendar.sessions_between(first, last) if s.closes_at <= market.clock()]
    values = [value.quantize(_CENT) for value in _values(market, closed)]
    base = values[0] if values else ZERO
    return Reply(
        200,
        {
            "timestamp": [_stamp(session) for session in closed],
            "equity": [number(value) for value in values],
            "profit_loss": [number(value - base) for value in values],
            "profit_loss_pct": [number(EXACT.divide(value - base, base)) if base else 0 for value in values],
            "base_value": number(base),
            "timeframe": "1D",
        },
    )


def _values(market: Market, sessions: Sequence[Session]) -> Iterator[Decimal]:
    """Cash and positions as they were, from those of now back; a position without a close is at what it cost.

    What was transferred into the account counts as having been there from the start.
    """
    executions, cash_now = market.executions(), market.account().cash
    for session in sessions:
        at = session.closes_at
        later = [e for e in executions if e.executed_at > at]
        cash = cash_now - sum((_cash_effect(e) for e in later), ZERO)
        cash -= sum((entry.amount for entry in market.cash_entries if entry.booked_at > at), ZERO)
        held: dict[str, Decimal] = {}
        paid: dict[str, Decimal] = {}
        for e in executions:
            if e.executed_at <= at:
                held[e.symbol] = held.get(e.symbol, ZERO) + e.side.sign * e.quantity
                paid[e.symbol] = e.price
        closes = _closes(market, [symbol for symbol, quantity in held.items() if quantity], session)
        yield cash + sum((product(held[s], closes.get(s, paid[s])) for s in held if held[s]), ZERO)


def _closes(market: Market, symbols: Sequence[str], session: Session) -> dict[str, Decimal]:
    start = session.opens_at - timedelta(days=10)
    bars = market.prices.bars(symbols, Timeframe.DAY, start=start, end=session.closes_at) if symbols else []
    return {bar.symbol: bar.close for bar in bars}


def _cash_effect(execution: Execution) -> Decimal:
    return product(-execution.side.sign * execution.quantity, execution.price) - execution.fee


def _stamp(session: Session) -> int:
    """The end of a day's trading after hours, as in Alpaca's examples."""
    return int(datetime.combine(session.date, time(20), tzinfo=NEW_YORK).timestamp())


def _day(text: str) -> date:
    return instant(text).astimezone(NEW_YORK).date()
