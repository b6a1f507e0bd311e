"""Corporate actions from a CSV file, all or nothing.

    kind,symbol,on,ratio,amount,pays_on,new_symbol
    split,AAPL,2014-06-09,7:1,,,
    dividend,AAPL,2014-05-08,,3.29,2014-05-15,
    symbol_change,FB,2022-06-09,,,,META
    delisting,TWTR,2022-11-08,,54.20,,

`amount` is what one unit gets, or what one new unit of a fraction pays in a split; a special dividend is of
the kind `special_dividend`.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.domain.money import parse_amount
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.action_entry import Entered, enter_action
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin

COLUMNS = ("kind", "symbol", "on", "ratio", "amount", "pays_on", "new_symbol")
_SPECIAL = "special_dividend"


def import_actions(path: Path, *, begin: Begin, calendar: MarketCalendar, actor: str) -> list[Entered]:
    """Enter the actions of a file, in its order; those that are known already are left as they are.

    Raises InvalidInputError naming the line and the reason of the first bad row; nothing is entered then.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise InvalidInputError(f"{path.name} line 1: the header must be '{','.join(COLUMNS)}'.")
            lines = [(rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from None
    entered = []
    with begin() as connection:

        @contextmanager
        def within() -> Iterator[Connection]:
            yield connection

        for number, row in lines:
            try:
                entered.append(
                    enter_action(within, _new(row), calendar=calendar, source=path.name[:64], actor=actor)
                )
            except InvalidInputError as error:
                raise InvalidInputError(f"{path.name} line {number}: {error}") from None
    return entered


def parse_ratio(text: str) -> tuple[Decimal, Decimal]:
    """A ratio as 7:1, new units first; raises InvalidInputError."""
    new, colon, old = text.partition(":")
    if not colon:
        raise InvalidInputError(f"The ratio was '{text}'; give new to old units, as in 7:1.")
    return parse_amount(new, what="The ratio's first number"), parse_amount(
        old, what="The ratio's second number"
    )


def _new(row: Mapping[str | None, str | None]) -> NewAction:
    if None in row or None in row.values():
        raise InvalidInputError(f"it does not have the {len(COLUMNS)} fields of the header.")
    given = {str(name): str(value).strip() for name, value in row.items()}
    kind = _kind(given["kind"])
    amount = parse_amount(given["amount"], what="amount") if given["amount"] else None
    is_split = kind is ActionKind.SPLIT
    return NewAction(
        kind=kind,
        symbol=given["symbol"].upper(),
        on=_date(given["on"], "on"),
        pays_on=_date(given["pays_on"], "pays_on") if given["pays_on"] else None,
        ratio=parse_ratio(given["ratio"]) if given["ratio"] else None,
        fraction_price=amount if is_split else None,
        cash_per_unit=None if is_split else amount,
        is_special=given["kind"] == _SPECIAL,
        new_symbol=given["new_symbol"].upper() or None,
    )


def _kind(text: str) -> ActionKind:
    if text == _SPECIAL:
        return ActionKind.DIVIDEND
    try:
        return ActionKind(text)
    except ValueError:
        known = ", ".join([*ActionKind, _SPECIAL])
        raise InvalidInputError(f"the kind was '{text}'; there are {known}.") from None


def _date(text: str, what: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{what} was '{text}'; give a date such as 2024-07-03.") from None
