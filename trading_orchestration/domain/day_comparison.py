"""A session as it was traded beside the same session replayed: what differs, and by how much. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from trading_orchestration.domain.money import plain
from trading_orchestration.domain.trade import Side

#: What is compared of a signal, as `decisions.signals` keeps it, and of a trade and a value at the close.
_OF_SIGNAL = ("action", "score", "price", "outcome")
_OF_TRADE = ("quantity", "status", "filled_quantity", "price", "fee")
_OF_VALUE = ("cash", "positions_value", "total_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class DayDecision:
    """What a strategy (None: the portfolio itself) concluded at a tick (UTC)."""

    tick: datetime
    portfolio: str
    strategy: str | None
    equity: Decimal
    cash: Decimal
    signals: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTrade:
    """A trade and what its fills came to; `price` is their average, None without any."""

    tick: datetime
    portfolio: str
    strategy: str | None
    symbol: str
    side: Side
    quantity: Decimal
    status: str
    filled_quantity: Decimal
    price: Decimal | None
    fee: Decimal
    status_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayValue:
    """A portfolio at the session's close."""

    portfolio: str
    cash: Decimal
    positions_value: Decimal
    total_value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRecord:
    """A session's decisions and trades in order, and the values at its close by portfolio."""

    decisions: Sequence[DayDecision]
    trades: Sequence[DayTrade]
    values: Mapping[str, DayValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is compared: something of a portfolio, at a tick (UTC), of a strategy, of a symbol."""

    portfolio: str
    tick: datetime | None = None
    strategy: str | None = None
    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is another in the replay.

    `what` is decision, trade, or the name of what differs ("signal price", "trade fee", "close cash"). The
    two sides are text, None where there is nothing; `by` is replayed − happened where both are numbers.
    """

    place: Place
    what: str
    happened: str | None
    replayed: str | None
    by: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TradePair:
    """A trade that happened and its counterpart in the replay; None where one side has none."""

    happened: DayTrade | None
    replayed: DayTrade | None

    @property
    def either(self) -> DayTrade:
        """The side that there is."""
        found = self.happened or self.replayed
        assert found is not None
        return found


def pair_trades(happened: DayRecord, replayed: DayRecord) -> list[TradePair]:
    """Trades of one tick, portfolio, strategy, symbol and side belong together, in their order."""
    ours, theirs = _trades_by_key(happened.trades), _trades_by_key(replayed.trades)
    pairs = []
    for key in sorted({*ours, *theirs}, key=_text_key):
        pairs += [TradePair(a, b) for a, b in zip_longest(ours.get(key, ()), theirs.get(key, ()))]
    return pairs


def compare_days(happened: DayRecord, replayed: DayRecord) -> list[Difference]:
    """Every difference: of decisions and their signals, then of trades, then of the values at the close."""
    return [
        *_decisions(happened.decisions, replayed.decisions),
        *(found for pair in pair_trades(happened, replayed) for found in _trade(pair)),
        *_values(happened.values, replayed.values),
    ]


def _decisions(happened: Iterable[DayDecision], replayed: Iterable[DayDecision]) -> Iterator[Difference]:
    ours = {(d.tick, d.portfolio, d.strategy or ""): d for d in happened}
    theirs = {(d.tick, d.portfolio, d.strategy or ""): d for d in replayed}
    for key in sorted({*ours, *theirs}):
        tick, portfolio, strategy = key
        place = Place(tick=tick, portfolio=portfolio, strategy=strategy or None)
        if key in ours and key in theirs:
            yield from _signals(ours[key].signals, theirs[key].signals, place)
            continue
        happened_then, replayed_then = ("decided" if key in side else None for side in (ours, theirs))
        yield Difference(place=place, what="decision", happened=happened_then, replayed=replayed_then)


def _signals(
    happened: Sequence[Mapping[str, Any]], replayed: Sequence[Mapping[str, Any]], place: Place
) -> Iterator[Difference]:
    ours, theirs = ({s["symbol"]: s for s in signals} for signals in (happened, replayed))
    for symbol in sorted({*ours, *theirs}):
        of_symbol = replace(place, symbol=symbol)
        for name in _OF_SIGNAL:
            before, after = (side.get(symbol, {}).get(name) for side in (ours, theirs))
            yield from _differing(of_symbol, f"signal {name}", before, after)


def _trade(pair: TradePair) -> Iterator[Difference]:
    one = pair.either
    place = Place(tick=one.tick, portfolio=one.portfolio, strategy=one.strategy, symbol=one.symbol)
    if pair.happened is None or pair.replayed is None:
        happened, replayed = (_told(side) for side in (pair.happened, pair.replayed))
        yield Difference(place=place, what="trade", happened=happened, replayed=replayed)
        return
    for name in _OF_TRADE:
        before, after = getattr(pair.happened, name), getattr(pair.replayed, name)
        yield from _differing(place, f"trade {name.replace('_', ' ')}", before, after)


def _told(trade: DayTrade | None) -> str | None:
    return None if trade is None else f"{trade.side} {plain(trade.quantity)}"


def _values(happened: Mapping[str, DayValue], replayed: Mapping[str, DayValue]) -> Iterator[Difference]:
    for portfolio in sorted({*happened, *replayed}):
        for name in _OF_VALUE:
            before, after = (getattr(side.get(portfolio), name, None) for side in (happened, replayed))
            yield from _differing(
                Place(portfolio=portfolio), f"close {name.replace('_', ' ')}", before, after
            )


def _differing(place: Place, what: str, happened: Any, replayed: Any) -> Iterator[Difference]:
    ours, theirs = _number(happened), _number(replayed)
    if happened == replayed or (ours is not None and ours == theirs):
        return
    by = None if ours is None or theirs is None else theirs - ours
    yield Difference(place=place, what=what, happened=_text(happened), replayed=_text(replayed), by=by)


def _number(value: Any) -> Decimal | None:
    """What counts as a number: amounts, scores, and prices that JSON keeps as text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return plain(value) if isinstance(value, Decimal) else str(value)


_Key = tuple[datetime, str, str | None, str, Side]


def _trades_by_key(trades: Iterable[DayTrade]) -> dict[_Key, list[DayTrade]]:
    found: dict[_Key, list[DayTrade]] = defaultdict(list)
    for trade in trades:
        found[trade.tick, trade.portfolio, trade.strategy, trade.symbol, trade.side].append(trade)
    return found


def _text_key(key: _Key) -> tuple[datetime, str, str, str, str]:
    tick, portfolio, strategy, symbol, side = key
    return tick, portfolio, strategy or "", symbol, side.value
