"""How a session that was traded and its replay are shown side by side."""

from dataclasses import asdict
from typing import Any

from trading_orchestration.cli.output import Column, note, print_json, print_table
from trading_orchestration.cli.replay_compare import Compared
from trading_orchestration.domain.day_comparison import DayTrade, Difference, TradePair
from trading_orchestration.domain.money import plain

_TRADES = [
    Column("tick"),
    Column("portfolio"),
    Column("strategy"),
    Column("symbol"),
    Column("side"),
    Column("happened"),
    Column("replayed"),
    Column("by"),
]
_DIFFERENCES = [
    Column("tick"),
    Column("portfolio"),
    Column("strategy"),
    Column("symbol"),
    Column("what"),
    Column("happened"),
    Column("replayed"),
    Column("by"),
]


def print_compared(compared: Compared, *, as_json: bool) -> None:
    """Both sides: every trade, then everything that differs."""
    if as_json:
        print_json(_json(compared))
        return
    count = len(compared.differences)
    print(
        f"{compared.session.date} replayed from the books as of its open: {len(compared.happened.decisions)} "
        f"decisions and {len(compared.happened.trades)} trades, {count or 'no'} "
        f"difference{'' if count == 1 else 's'}."
    )
    print_table([_trade_row(pair) for pair in compared.trades], _TRADES, empty="No trades on either side.")
    if compared.differences:
        print()
        print_table([_difference_row(one) for one in compared.differences], _DIFFERENCES, empty="")
    for problem in compared.problems:
        note(f"A job failed in the replay: {problem}")
    if compared.database:
        note(f"The replay is kept in database {compared.database}.")


def _json(compared: Compared) -> dict[str, Any]:
    return {
        "session": compared.session.date,
        "decisions": len(compared.happened.decisions),
        "trades": [
            {"happened": _side(pair.happened), "replayed": _side(pair.replayed)} for pair in compared.trades
        ],
        "differences": [
            {**asdict(one.place), "what": one.what, "happened": one.happened, "replayed": one.replayed}
            | {"by": one.by}
            for one in compared.differences
        ],
        "problems": list(compared.problems),
        "database": compared.database,
    }


def _side(trade: DayTrade | None) -> dict[str, Any] | None:
    return None if trade is None else asdict(trade)


def _trade_row(pair: TradePair) -> dict[str, Any]:
    one = pair.either
    before, after = pair.happened, pair.replayed
    by = (
        None if not before or not after or not before.price or not after.price else after.price - before.price
    )
    return {
        "tick": f"{one.tick:%H:%M}",
        "portfolio": one.portfolio,
        "strategy": one.strategy,
        "symbol": one.symbol,
        "side": one.side,
        "happened": _told(before),
        "replayed": _told(after),
        "by": None if by is None else plain(by),
    }


def _told(trade: DayTrade | None) -> str | None:
    if trade is None:
        return None
    if trade.price is None:
        return f"{plain(trade.quantity)} {trade.status}"
    return f"{plain(trade.filled_quantity)} of {plain(trade.quantity)} at {plain(trade.price)}"


def _difference_row(difference: Difference) -> dict[str, Any]:
    place = difference.place
    return {
        "tick": "close" if place.tick is None else f"{place.tick:%H:%M}",
        "portfolio": place.portfolio,
        "strategy": place.strategy,
        "symbol": place.symbol,
        "what": difference.what,
        "happened": difference.happened,
        "replayed": difference.replayed,
        "by": None if difference.by is None else plain(difference.by),
    }
