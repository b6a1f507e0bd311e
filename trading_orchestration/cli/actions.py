"""`trading actions`: splits, dividends, new symbols, delistings."""

from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.amounts import day
from trading_orchestration.cli.output import Column, Json, note, print_json, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trading_orchestration.domain.new_action import NewAction
    from trading_orchestration.services.action_entry import Entered
    from trading_orchestration.store.corporate_actions import RecordedAction
    from trading_orchestration.wiring import Trading

app = typer.Typer(help="Corporate actions: splits, dividends, new symbols, delistings.", no_args_is_help=True)
add = typer.Typer(help="Enter an action; the same again changes nothing.", no_args_is_help=True)
app.add_typer(add, name="add")

On = Annotated[str, typer.Option(help="The first session it counts in, such as 2014-06-09.")]

_LIST = [
    Column("id"),
    Column("session"),
    Column("action"),
    Column("pays_on"),
    Column("source"),
    Column("state"),
]


@add.command("split")
def add_split(
    symbol: str,
    ratio: Annotated[str, typer.Argument(help="New to old units: 7:1, or 1:10 for a reverse split.")],
    on: On,
    cash_in_lieu: Annotated[
        str | None, typer.Option(help="What the broker pays for one new unit of a fraction it does not keep.")
    ] = None,
    as_json: Json = False,
) -> None:
    """There are more or fewer units from a session on, and what was paid for them stays."""
    from trading_orchestration.domain.corporate_action import ActionKind
    from trading_orchestration.domain.new_action import NewAction
    from trading_orchestration.services.actions_import import parse_ratio

    _enter(
        NewAction(
            kind=ActionKind.SPLIT,
            symbol=symbol.upper(),
            on=day(on, what="--on"),
            ratio=parse_ratio(ratio),
            fraction_price=_amount(cash_in_lieu, what="--cash-in-lieu"),
        ),
        as_json=as_json,
    )


@add.command("dividend")
def add_dividend(
    symbol: str,
    amount: Annotated[str, typer.Argument(help="What one unit gets.")],
    ex: Annotated[str, typer.Option(help="The first session without it, such as 2014-05-08.")],
    pay: Annotated[str | None, typer.Option(help="When the cash comes; the ex-date without it.")] = None,
    special: Annotated[bool, typer.Option("--special", help="Beside a regular one of the same day.")] = False,
    as_json: Json = False,
) -> None:
    """Who held units before the ex-date gets cash on the day of payment."""
    from trading_orchestration.domain.corporate_action import ActionKind
    from trading_orchestration.domain.new_action import NewAction

    _enter(
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol=symbol.upper(),
            on=day(ex, what="--ex"),
            pays_on=None if pay is None else day(pay, what="--pay"),
            cash_per_unit=_amount(amount, what="AMOUNT"),
            is_special=special,
        ),
        as_json=as_json,
    )


@add.command("symbol-change")
def add_symbol_change(symbol: str, new_symbol: str, on: On, as_json: Json = False) -> None:
    """A symbol has another name from a session on; holdings, history and alerts follow it."""
    from trading_orchestration.domain.corporate_action import ActionKind
    from trading_orchestration.domain.new_action import NewAction

    _enter(
        NewAction(
            kind=ActionKind.SYMBOL_CHANGE,
            symbol=symbol.upper(),
            on=day(on, what="--on"),
            new_symbol=new_symbol.upper(),
        ),
        as_json=as_json,
    )


@add.command("delisting")
def add_delisting(
    symbol: str,
    on: On,
    cash_per_share: Annotated[
        str | None, typer.Option(help="What a unit pays, 0 where nothing is left; needed where it is held.")
    ] = None,
    as_json: Json = False,
) -> None:
    """A symbol is not traded from a session on; what is held ends for what it pays."""
    from trading_orchestration.domain.corporate_action import ActionKind
    from trading_orchestration.domain.new_action import NewAction

    _enter(
        NewAction(
            kind=ActionKind.DELISTING,
            symbol=symbol.upper(),
            on=day(on, what="--on"),
            cash_per_unit=_amount(cash_per_share, what="--cash-per-share"),
        ),
        as_json=as_json,
    )


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header; docs/corporate-actions.md tells which.")],
    as_json: Json = False,
) -> None:
    """Take over actions from a CSV file, all or nothing; the same file again changes nothing."""
    from trading_orchestration.cli.installation import actor
    from trading_orchestration.services.actions_import import import_actions

    with _opened() as trading:
        entered = import_actions(file, begin=trading.begin, calendar=trading.calendar, actor=actor())
        trading.apply_corporate_actions(trading.begin)
    new = sum(one.is_new for one in entered)
    if as_json:
        print_json({"added": new, "known": len(entered) - new})
    else:
        print(f"{new} actions added, {len(entered) - new} were known.")


@app.command("fetch")
def fetch(
    first: Annotated[str, typer.Option("--from", help="The first day, such as 2024-01-02.")],
    last: Annotated[str, typer.Option("--to", help="The last day.")],
    source: Annotated[
        str | None, typer.Option(help="alpaca or fmp; without it, the first of TRADING_PRICE_SOURCE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enter the actions that a vendor (Alpaca or FMP) knows of every symbol that matters."""
    with _opened() as trading:
        fetched = trading.fetch_corporate_actions(
            day(first, what="--from"), day(last, what="--to"), source_name=source
        )
    new = [one for one in fetched.entered if one.is_new]
    if as_json:
        added = [one.action.sentence for one in new]
        print_json({"added": added, "known": len(fetched.entered) - len(new), "left_out": fetched.left_out})
        return
    for one in new:
        print(f"Action {one.id}: {one.action.sentence}.")
    for sentence in fetched.left_out:
        note(sentence)
    print(f"{len(new)} actions added, {len(fetched.entered) - len(new)} were known.")


@app.command("list")
def list_all(
    symbol: Annotated[str | None, typer.Argument(help="Only of this symbol.")] = None, as_json: Json = False
) -> None:
    """Every action, and whether it is in the books."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.corporate_actions import list_actions

    with open_installation() as opened:
        with opened.begin() as connection:
            recorded = list_actions(connection, symbol.upper() if symbol else None)
        rows = [_row(one, opened.calendar.local) for one in recorded]
    show(
        rows,
        _LIST,
        as_json=as_json,
        empty="There are no corporate actions; `trading actions add` enters one.",
    )


@app.command()
def withdraw(
    action_id: int,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    as_json: Json = False,
) -> None:
    """Take an action back, with what it did to the books as of its day; the record stays."""
    from trading_orchestration.cli.installation import actor

    with _opened() as trading:
        withdrawn = trading.withdraw_corporate_action(action_id, actor=actor(), reason=reason)
    if as_json:
        print_json({"id": action_id, "withdrawn": withdrawn.action.sentence})
    else:
        print(f"Withdrawn: {withdrawn.action.sentence}.")


@contextmanager
def _opened() -> "Iterator[Trading]":
    """The whole installation: the paper market goes through actions as the books do."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.wiring import build_trading, system_clock

    with open_installation() as opened:
        yield build_trading(opened.settings, opened.engine, system_clock)


def _enter(new: "NewAction", *, as_json: bool) -> None:
    from trading_orchestration.cli.installation import actor
    from trading_orchestration.services.action_entry import enter_action

    with _opened() as trading:
        entered = enter_action(trading.begin, new, calendar=trading.calendar, source="person", actor=actor())
        trading.apply_corporate_actions(trading.begin)
    _print(entered, as_json=as_json)


def _print(entered: "Entered", *, as_json: bool) -> None:
    if as_json:
        print_json({"id": entered.id, "action": entered.action.sentence, "is_new": entered.is_new})
    else:
        known = "" if entered.is_new else " It was entered before; nothing was changed."
        print(f"Action {entered.id}: {entered.action.sentence}.{known}")


def _row(recorded: "RecordedAction", local: Any) -> dict[str, Any]:
    action = recorded.action
    state = "applied" if recorded.applied_at else "waits for its day"
    return {
        "id": recorded.id,
        "kind": action.kind.value,
        "symbol": action.symbol,
        "session": action.session,
        "action": action.sentence,
        "pays_on": local(action.paid_at).date() if action.paid_at else None,
        "source": recorded.source,
        "actor": recorded.actor,
        "recorded_at": recorded.recorded_at,
        "applied_at": recorded.applied_at,
        "state": f"withdrawn: {recorded.withdrawn_reason}" if recorded.withdrawn_at else state,
    }


def _amount(text: str | None, *, what: str) -> Decimal | None:
    from trading_orchestration.domain.money import parse_amount

    return None if text is None else parse_amount(text, what=what)
