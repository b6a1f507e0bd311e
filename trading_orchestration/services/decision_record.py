"""What a decision saw and concluded, as it is kept: plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from trading_orchestration.domain.money import plain
from trading_orchestration.domain.price import Quote
from trading_orchestration.domain.risk import Approved, Refused
from trading_orchestration.domain.strategy import Signal


def of_signal(
    signal: Signal, quotes: Mapping[str, Quote], approved: Sequence[Approved], refused: Sequence[Refused]
) -> dict[str, Any]:
    """A strategy's signal with its scores, the price it was seen at, and what came of it."""
    side = signal.action.value
    outcomes = [
        f"{order.terms.side} {plain(order.terms.quantity)}"
        for order in approved
        if (order.terms.symbol, order.terms.side) == (signal.symbol, side)
    ]
    outcomes += [f"refused: {no.reason}" for no in refused if (no.symbol, no.side) == (signal.symbol, side)]
    return {
        "symbol": signal.symbol,
        "action": side,
        "score": signal.score,
        "factors": dict(signal.factor_scores),
        "reason": signal.reason,
        "outcome": "; ".join(outcomes) or None,
        **_of_quote(quotes.get(signal.symbol)),
    }


def of_exit(order: Approved, quotes: Mapping[str, Quote], waiting: Mapping[str, str]) -> dict[str, Any]:
    """An exit that belongs to the portfolio, not to a strategy; `waiting` says of symbols why it waits."""
    symbol = order.terms.symbol
    outcome = f"{order.terms.side} {plain(order.terms.quantity)}"
    if symbol in waiting:
        outcome = f"waits for position_sync: {waiting[symbol]}"
    return {
        "symbol": symbol,
        "action": order.terms.side.value,
        "reason": order.reason,
        "outcome": outcome,
        **_of_quote(quotes.get(symbol)),
    }


def _of_quote(quote: Quote | None) -> dict[str, Any]:
    if quote is None:
        return {"price": None}
    return {"price": plain(quote.price), "quoted_at": quote.quoted_at.isoformat(), "source": quote.source}
