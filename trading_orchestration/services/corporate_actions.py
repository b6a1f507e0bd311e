"""Corporate actions come into the books on their day, once, however late they were entered.

What an action does is worked out from what each portfolio held just before it, and compared with what it has
done so far; only the difference is booked, as of its day. So a second run books nothing, and a fill from
before the action that comes in after it is made good by a further entry.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction, Effect, effects
from trading_orchestration.domain.money import EXACT, ZERO, plain, rounded
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.reconciliation import AdjustmentCause
from trading_orchestration.domain.trade import Fill
from trading_orchestration.store import action_entries, alerts, corporate_actions, portfolios
from trading_orchestration.store.action_entries import ActionEntry
from trading_orchestration.store.alerts import Notification, Severity
from trading_orchestration.store.corporate_actions import Booked, RecordedAction
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin

ACTOR = "corporate actions"
#: A split or dividend that position_sync repaired is the action's own when it was found this near to its day.
GUESS_WINDOW = timedelta(days=10)
_CENT = Decimal("0.01")

#: Lets a market of ours (the paper broker) do to its accounts what actions do; again, it changes nothing.
MarketListener = Callable[[Sequence[RecordedAction], datetime], None]

_Key = tuple[int, str, bool]  # portfolio, symbol, whether the cost is kept
_NOTHING = Booked(ZERO, ZERO, ZERO, -1)
_CAUSES = {
    ActionKind.SPLIT: AdjustmentCause.SPLIT,
    ActionKind.DIVIDEND: AdjustmentCause.DIVIDEND,
    ActionKind.SYMBOL_CHANGE: AdjustmentCause.SYMBOL_CHANGE,
    ActionKind.DELISTING: AdjustmentCause.DELISTING,
}


def apply_due_actions(begin: Begin, now: datetime, market: MarketListener) -> list[RecordedAction]:
    """Apply every action that is due, in the order of their days; answers those that were applied.

    One short statement where nothing is due. The `market` comes first: should the process die in between, the
    next run tells it again and then books.
    """
    with begin() as connection:
        due = corporate_actions.due_actions(connection, now)
    if not due:
        return []
    market(due, now)
    applied = []
    for recorded in due:
        with begin() as connection:
            portfolios.hold_all_portfolios(connection)
            held = corporate_actions.hold_action(connection, recorded.id)
            if held is None or held.applied_at is not None or held.withdrawn_at is not None:
                continue
            if _apply_first(connection, held, now):
                applied.append(held)
    return applied


def reapply_after_late_fills(connection: Connection, portfolio_id: int, fills: Sequence[Fill]) -> None:
    """Bring a portfolio up to actions that some fills came before, though they were booked after them.

    The portfolio is held by the caller.
    """
    oldest: dict[str, datetime] = {}
    for fill in fills:
        oldest[fill.symbol] = min(fill.executed_at, oldest.get(fill.symbol, fill.executed_at))
    for recorded in corporate_actions.applied_after(connection, oldest, min(oldest.values())):
        if oldest[recorded.action.symbol] < recorded.action.effective_at:
            wanted = _wanted(connection, recorded)
            _book(connection, recorded, wanted, "a fill from before it came later", only=portfolio_id)


def undo(connection: Connection, recorded: RecordedAction, reason: str) -> None:
    """Take back what an action did to the books, as of its day. The portfolios are held by the caller."""
    _book(connection, recorded, [], f"withdrawn: {reason}")
    if recorded.applied_at is None:
        return
    action = recorded.action
    match action.kind:
        case ActionKind.SPLIT:
            back = replace(action, new_units=action.old_units, old_units=action.new_units)
            corporate_actions.adjust_for_split(connection, back)
        case ActionKind.SYMBOL_CHANGE:
            back = replace(action, symbol=action.new_symbol or "", new_symbol=action.symbol)
            corporate_actions.rename(connection, back)
            corporate_actions.revive(connection, action.symbol, action_id=recorded.id)
        case ActionKind.DELISTING:
            corporate_actions.revive(connection, action.symbol, action_id=recorded.id)
        case ActionKind.DIVIDEND:
            pass


def _apply_first(connection: Connection, recorded: RecordedAction, now: datetime) -> bool:
    """Book an action and all that hangs on it; False where it does not say what its holders get."""
    action = recorded.action
    before = _held_before(connection, recorded)
    holds = any(not one.is_flat for one in before.values())
    if action.kind is ActionKind.DELISTING and action.cash_per_unit is None and holds:
        _tell_of_unknown_payment(connection, recorded, now)
        return False
    touched = _adjust_surroundings(connection, recorded)
    booked = _book(connection, recorded, _wanted(connection, recorded), None)
    corporate_actions.set_applied(connection, recorded.id, at=now)
    _tell(connection, recorded, booked, touched, now)
    return True


def _adjust_surroundings(connection: Connection, recorded: RecordedAction) -> Sequence[int]:
    """Quotes, alerts and the symbol itself; answers the alerts that were changed."""
    action = recorded.action
    match action.kind:
        case ActionKind.SPLIT:
            return corporate_actions.adjust_for_split(connection, action)
        case ActionKind.SYMBOL_CHANGE:
            return corporate_actions.rename(connection, action)
        case ActionKind.DELISTING:
            return corporate_actions.end(connection, action.symbol, action_id=recorded.id)
        case ActionKind.DIVIDEND:
            return ()


def _held_before(connection: Connection, recorded: RecordedAction) -> dict[int, Position]:
    """A dividend goes to whoever held the units of the day before, whatever else its own day brings."""
    action = recorded.action
    own = None if action.kind is ActionKind.DIVIDEND else recorded.id
    return action_entries.holdings_before(connection, action.symbol, at=action.effective_at, action_id=own)


def _wanted(connection: Connection, recorded: RecordedAction) -> list[Effect]:
    """What an action does in all, account by account; less what was repaired before it was known."""
    action = recorded.action
    by_account: dict[int, dict[int, Position]] = defaultdict(dict)
    account_of = {p.id: p.broker_account_id for p in portfolios.read_portfolios(connection)}
    for portfolio_id, position in _held_before(connection, recorded).items():
        by_account[account_of[portfolio_id]][portfolio_id] = position
    found: list[Effect] = []
    for account_id, held in by_account.items():
        found += _unguessed(connection, action, account_id, effects(action, held))
    return found


def _unguessed(
    connection: Connection, action: CorporateAction, account_id: int, wanted: Sequence[Effect]
) -> Sequence[Effect]:
    """What position_sync has not repaired already, when it did not know of the action."""
    since, until = action.due_at - GUESS_WINDOW, action.due_at + GUESS_WINDOW
    if action.kind is ActionKind.SPLIT:
        guessed = corporate_actions.guessed_splits(connection, action.symbol, since=since, until=until)
        return [e for e in wanted if not (e.keeps_cost and guessed.get(e.portfolio_id) == e.quantity)]
    if action.kind is ActionKind.DIVIDEND:
        paid = sum((effect.cash for effect in wanted), ZERO)
        repaired = corporate_actions.guessed_dividends(connection, account_id, since=since, until=until)
        return [] if any(abs(one - paid) <= _CENT for one in repaired) else wanted
    return wanted


def _book(
    connection: Connection,
    recorded: RecordedAction,
    wanted: Sequence[Effect],
    why: str | None,
    *,
    only: int | None = None,
) -> list[Effect]:
    """Book what is wanted beyond what was booked for the action, in all portfolios or `only` one."""
    booked = corporate_actions.booked_of(connection, recorded.id)
    by_key: dict[_Key, Effect] = {(e.portfolio_id, e.symbol, e.keeps_cost): e for e in wanted}
    entries = []
    keys = [key for key in by_key.keys() | booked.keys() if only in (None, key[0])]
    for key in sorted(keys, key=lambda k: (k[0], not k[2], k[1])):
        effect = _missing(key, by_key.get(key), booked.get(key, _NOTHING))
        if effect.quantity or effect.cash:
            entries.append(ActionEntry(effect, booked.get(key, _NOTHING).revision + 1))
    if entries:
        action_entries.add_action_entries(
            connection,
            recorded.id,
            entries,
            cause=_CAUSES[recorded.action.kind],
            note=f"{recorded.action.sentence}{f' ({why})' if why else ''}.",
            actor=ACTOR,
            at=recorded.action.due_at,
        )
    return [entry.effect for entry in entries]


def _missing(key: _Key, wanted: Effect | None, booked: Booked) -> Effect:
    """What an action does beyond what it has done; units come at what makes up for their cost."""
    portfolio_id, symbol, keeps_cost = key
    whole = wanted or Effect(portfolio_id=portfolio_id, symbol=symbol, keeps_cost=keeps_cost)
    quantity = whole.quantity - booked.quantity
    return replace(
        whole,
        quantity=quantity,
        cash=whole.cash - booked.cash,
        unit_cost=None if keeps_cost or not quantity else _unit_cost(whole, booked, quantity),
    )


def _unit_cost(whole: Effect, booked: Booked, quantity: Decimal) -> Decimal:
    cost = EXACT.multiply(whole.quantity, whole.unit_cost or ZERO) - booked.cost
    return max(rounded(EXACT.divide(cost, quantity)), ZERO)


def _tell(
    connection: Connection,
    recorded: RecordedAction,
    booked: Sequence[Effect],
    alert_ids: Sequence[int],
    now: datetime,
) -> None:
    """One message an action that touched anything; a warning where a person should look."""
    action = recorded.action
    is_over = action.kind in (ActionKind.SYMBOL_CHANGE, ActionKind.DELISTING)
    changes_units = action.kind is not ActionKind.DIVIDEND
    opened = corporate_actions.open_trades_before(connection, action.symbol, action.effective_at)
    crossed = opened if changes_units else []
    strategies = corporate_actions.strategies_on(connection, action.symbol) if is_over else []
    sentences = [
        *_changes(connection, booked),
        *(f"Alert {alert_id} was changed with it." for alert_id in alert_ids),
        *(
            f"Trade {row['id']} of {row['portfolio']} ({row['side']} {plain(row['quantity'])}) was decided "
            "before it and is still open; its broker says what becomes of it. What fills it beyond "
            f"{plain(row['quantity'])} is not booked, and halts the portfolio."
            for row in crossed
        ),
        *(f"Strategy {row['name']} of {row['portfolio']} still names {action.symbol}." for row in strategies),
    ]
    if sentences:
        message = Notification(
            severity=Severity.WARNING if crossed or strategies else Severity.INFO,
            kind="corporate_action",
            title=action.sentence,
            body="\n".join(sentences),
            dedupe_key=f"corporate_action:{recorded.id}",
        )
        alerts.add_notifications(connection, [message], at=now)


def _changes(connection: Connection, booked: Sequence[Effect]) -> list[str]:
    names = {p.id: p.name for p in portfolios.read_portfolios(connection)}
    found = []
    for effect in booked:
        sign = "+" if effect.quantity > 0 else ""
        units = [f"{sign}{plain(effect.quantity)} {effect.symbol}"] if effect.quantity else []
        cash = [f"{effect.cash:+,.2f} in cash"] if effect.cash else []
        found.append(f"{names[effect.portfolio_id]}: {', '.join(units + cash)}.")
    return found


def _tell_of_unknown_payment(connection: Connection, recorded: RecordedAction, now: datetime) -> None:
    message = Notification(
        severity=Severity.CRITICAL,
        kind="corporate_action",
        title=f"{recorded.action.sentence}, and it is held",
        body=f"Nobody said what a unit pays: withdraw action {recorded.id} and enter it with "
        "--cash-per-share, which is 0 where nothing is left.",
        dedupe_key=f"corporate_action:{recorded.id}:unknown",
    )
    alerts.add_notifications(connection, [message], at=now)


class ActionWatch:
    """Remembers when the next action is due, for a replay: nobody else writes to its database."""

    def __init__(self) -> None:
        self._is_known = False
        self._next_at: datetime | None = None

    def forget(self) -> None:
        """Ask anew: what was applied since may have been undone."""
        self._is_known = False

    def is_due(self, begin: Begin, now: datetime) -> bool:
        """Whether an action is due at an instant (UTC); a statement only after one was."""
        if not self._is_known:
            with begin() as connection:
                self._next_at = corporate_actions.next_due(connection)
        is_due = self._next_at is not None and self._next_at <= now
        self._is_known = not is_due
        return is_due
