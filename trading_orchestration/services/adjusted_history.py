"""Histories as strategies see them at an instant: comparable from end to end, and without hindsight.

Prices before a split or a dividend are adjusted by the actions that were effective by the instant, and by no
later one; what was called otherwise before is one history. Nothing stored is changed: bars stay as the market
made them, and the last bar is always raw.
"""

from collections.abc import Sequence
from datetime import datetime

from trading_orchestration.domain.corporate_action import PastAction, price_factor
from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.store import corporate_actions, prices
from trading_orchestration.store.database import Connection
from trading_orchestration.store.prices import History


def adjusted_histories(
    connection: Connection, symbols: Sequence[str], timeframe: Timeframe, *, at: datetime, count: int
) -> dict[str, PriceHistory]:
    """The last `count` bars of each symbol that are complete at `at` (UTC), oldest first.

    Three statements; where a symbol had another name inside its history, three more for each name before.
    """
    if not symbols:
        return {}
    raw = prices.read_histories(connection, symbols, timeframe, at=at, count=count)
    first_sessions = {symbol: history.first_session for symbol, history in raw.items()}
    past = corporate_actions.past_actions(connection, first_sessions, timeframe, at=at, count=count)
    found = {symbol: _arrays(history) for symbol, history in raw.items()}
    short = [symbol for symbol in symbols if symbol not in raw or len(raw[symbol].closes) < count]
    former = corporate_actions.former_symbols(connection, short, at) if short else {}
    for symbol, before in former.items():
        earlier = adjusted_histories(connection, [before.symbol], timeframe, at=before.until, count=count)
        if before.symbol in earlier:
            found[symbol] = _joined(earlier[before.symbol], found.get(symbol), count)
    for symbol, of_symbol in past.items():
        _adjust(found[symbol], of_symbol)
    return found


def _arrays(history: History) -> PriceHistory:
    import numpy as np

    return PriceHistory(
        closes=np.asarray(history.closes, np.float64),
        highs=np.asarray(history.highs, np.float64),
        lows=np.asarray(history.lows, np.float64),
        volumes=np.asarray(history.volumes, np.float64),
    )


def _joined(earlier: PriceHistory, later: PriceHistory | None, count: int) -> PriceHistory:
    import numpy as np

    if later is None:
        return earlier
    return PriceHistory(
        closes=np.concatenate((earlier.closes, later.closes))[-count:].copy(),
        highs=np.concatenate((earlier.highs, later.highs))[-count:].copy(),
        lows=np.concatenate((earlier.lows, later.lows))[-count:].copy(),
        volumes=np.concatenate((earlier.volumes, later.volumes))[-count:].copy(),
    )


def _adjust(history: PriceHistory, past: Sequence[PastAction]) -> None:
    """Multiply what lies before each action, in place."""
    for one in past:
        before = max(0, len(history.closes) - one.bars_since)
        factor = price_factor(one.action, one.previous_close)
        history.closes[:before] *= factor
        history.highs[:before] *= factor
        history.lows[:before] *= factor
        history.volumes[:before] *= float(one.action.ratio)
