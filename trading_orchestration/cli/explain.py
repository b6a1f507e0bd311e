"""`trading explain`: a portfolio's total at a close, down to the fills and prices that made it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.amounts import past_session
from trading_orchestration.cli.output import Json, minute, money, percent, print_json, second
from trading_orchestration.domain.money import ZERO, plain

if TYPE_CHECKING:
    from trading_orchestration.services.explanation import ExplainedPosition, Explanation, Step
    from trading_orchestration.store.lineage import TradeRow


@dataclass(frozen=True, slots=True)
class Node:
    """A line with what it consists of."""

    text: str
    parts: Sequence["Node"] = field(default_factory=list)

    def lines(self, indent: str = "") -> Iterator[str]:
        """The lines below this one, with the branches that lead to them."""
        for number, part in enumerate(self.parts, start=1):
            is_last = number == len(self.parts)
            yield f"{indent}{'└─' if is_last else '├─'} {part.text}"
            yield from part.lines(f"{indent}{'   ' if is_last else '│  '}")


def explain(
    portfolio: Annotated[str, typer.Argument(help="The portfolio.", metavar="PORTFOLIO")],
    session: Annotated[str, typer.Argument(help="A session with a snapshot, such as 2024-07-03.")],
    as_json: Json = False,
) -> None:
    """From a total to its positions, fills, trades, decisions, signals, and the prices they saw.

    Ends with where the ledger or a bar says something else by now, if anywhere.
    """
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.services import explanation
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        day = past_session(session, opened.calendar, now=system_clock()).date
        found = explanation.explain(portfolio, day, begin=opened.begin, calendar=opened.calendar)
    if as_json:
        print_json(asdict(found))
        return
    root = _root(found)
    print(root.text)
    for line in root.lines():
        print(line)


def _root(of: "Explanation") -> Node:
    snapshot = of.snapshot
    positions = [_position(position) for position in of.positions]
    trades = [_trade(trade) for trade in of.trades_of_session]
    differences = [Node(sentence) for sentence in of.differences]
    return Node(
        f"{of.portfolio} at the close of {snapshot.session}: {money(snapshot.total_value)} {of.currency}",
        [
            Node(_day(of)),
            Node(f"cash {money(snapshot.cash)}", _cash(of)),
            Node(f"positions {money(snapshot.positions_value)}{_exposure(of)}", positions or [Node("none")]),
            Node("traded in this session", trades or [Node("nothing")]),
            Node("now the ledger and the bars say", differences or [Node("the same, to the last digit")]),
        ],
    )


def _day(of: "Explanation") -> str:
    snapshot = of.snapshot
    before = "no earlier snapshot" if snapshot.previous_total is None else money(snapshot.previous_total)
    earned = "" if snapshot.daily_return is None else f", {percent(snapshot.daily_return)} in the session"
    since = "" if snapshot.total_return is None else f", {percent(snapshot.total_return)} since the start"
    return f"before: {before}; paid in {money(snapshot.net_deposits)}{earned}{since}"


def _exposure(of: "Explanation") -> str:
    return "" if of.snapshot.exposure is None else f", exposure {of.snapshot.exposure:.1%}"


def _cash(of: "Explanation") -> list[Node]:
    movements = [
        Node(f"{m.kind} {m.id}: {money(m.amount)} on {minute(m.occurred_at)} ({m.reference})")
        for m in of.movements
    ]
    symbols = [
        Node(f"{line.symbol or 'cash alone'}: {money(line.amount)} in {_entries(line.entries)}")
        for line in of.cash_of_symbols
    ]
    moved = sum((m.amount for m in of.movements), ZERO)
    traded = sum((line.amount for line in of.cash_of_symbols), ZERO)
    return [
        Node(f"paid in, paid out, received: {money(moved)}", movements),
        Node(f"fills with their fees, and adjustments: {money(traded)}", symbols),
    ]


def _position(of: "ExplainedPosition") -> Node:
    held = of.holding
    bar = f"{held.bar_timeframe} bar from {held.bar_source}" if held.bar_source else "no bar"
    if held.close_age:
        sessions = "1 session" if held.close_age == 1 else f"{held.close_age} sessions"
        bar += f" of {held.close_session}, {sessions} before"
    return Node(
        f"{held.symbol}: {plain(held.quantity)} × {plain(held.close)} = {money(held.value)} "
        f"({bar}; average cost {plain(held.average_cost)}, unrealised {money(of.unrealised_pnl)})",
        [_step(step) for step in of.steps],
    )


def _step(step: "Step") -> Node:
    after = f"then {plain(step.holds)} at {plain(step.average_cost)}"
    if step.trade is None:
        cost = "" if step.price is None else f" at {plain(step.price)}"
        moved = f"{plain(step.quantity)}{cost}, {step.cause}: {step.note}"
        return Node(f"{step.kind} {step.id}, {second(step.at)}: {moved}; {after}")
    did = "bought" if step.quantity > 0 else "sold"
    return Node(
        f"{step.kind} {step.id}, {second(step.at)}: {did} {plain(abs(step.quantity))} at "
        f"{plain(step.price or ZERO)}, fee {money(step.fee)}; {after}",
        [_trade(step.trade)],
    )


def _trade(trade: "TradeRow") -> Node:
    bounds = [
        f"{name} {plain(price)}"
        for name, price in (("limit", trade.limit_price), ("stop", trade.stop_price))
        if price is not None
    ]
    why = f" ({trade.status_reason})" if trade.status_reason else ""
    filled = "" if trade.status == "filled" else f", {plain(trade.filled_quantity)} filled"
    return Node(
        f"trade {trade.id}: {trade.side} {plain(trade.quantity)} {trade.symbol} "
        f"{' '.join([trade.order_type, *bounds])}, {trade.status}{why}{filled}: {trade.reason}",
        [_decision(trade)],
    )


def _decision(trade: "TradeRow") -> Node:
    who = f"of {trade.strategy}" if trade.strategy else "of the portfolio's own limits"
    text = f"decision {trade.decision_id} {who}, {second(trade.tick)}: equity {money(trade.equity)}, "
    parts = [] if trade.signal is None else [Node(_signal(trade.signal)), Node(_seen(trade.signal))]
    if trade.bar_ends_at is not None and trade.bar_close is not None:
        newest = f"the newest complete one ended {minute(trade.bar_ends_at)} at {plain(trade.bar_close)}"
        if trade.bar_close_now is not None:
            newest += f", since corrected to {plain(trade.bar_close_now)}"
        parts.append(Node(f"bars: by the {trade.bar_timeframe}, {newest}"))
    return Node(f"{text}cash {money(trade.cash)}", parts)


def _signal(signal: Mapping[str, Any]) -> str:
    score = "" if signal.get("score") is None else f" {_score(signal['score'])}"
    factors = ", ".join(f"{name} {_score(value)}" for name, value in (signal.get("factors") or {}).items())
    outcome = f" → {signal['outcome']}" if signal.get("outcome") else ""
    return f"signal: {signal.get('action')}{score}{f' ({factors})' if factors else ''}{outcome}"


def _seen(signal: Mapping[str, Any]) -> str:
    price, quoted_at = signal.get("price"), signal.get("quoted_at")
    if price is None or quoted_at is None:
        return "quote: none that was new enough"
    at = second(datetime.fromisoformat(quoted_at))
    return f"quote: {plain(Decimal(price))} of {at} from {signal.get('source')}"


def _score(value: float | None) -> str:
    return "unknown" if value is None else f"{value:z.3f}"


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"
