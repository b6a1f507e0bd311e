"""Accounts of the paper broker: opening one, and the money that comes in and goes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

from trading_orchestration.domain.money import ZERO, is_on_grid, plain
from trading_orchestration.errors import (
    BrokerError,
    BrokerNotAuthorizedError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
    DatabaseUnavailableError,
    InvalidInputError,
)
from trading_orchestration.store import paper_market
from trading_orchestration.store.database import Engine
from trading_orchestration.store.paper_market import UnknownAccountError


def open_account(engine: Engine, account_number: str, cash: Decimal) -> bool:
    """Make an account with its first cash; False, with nothing changed, where it exists already.

    Raises:
        InvalidInputError: the number is empty, or the cash is negative or has more than 9 places.
        BrokerUnavailableError: the database did not answer; the same call may be made again.
    """
    if not account_number.strip() or not account_number.isprintable():
        raise InvalidInputError(f"The account number was {account_number!r}; give it a name.")
    if not is_on_grid(cash) or cash < 0:
        raise InvalidInputError(f"The cash of {account_number} was {cash}; give 0 or more, to 9 places.")
    with broker_errors(BrokerUnavailableError), paper_market.connected(engine) as connection:
        return paper_market.open_account(connection, account_number, cash=cash)


def deposit(engine: Engine, account_number: str, amount: Decimal, *, reference: str) -> None:
    """Put money into an account; the same reference again changes nothing.

    Raises:
        InvalidInputError: the amount is not above 0 or has more than 9 places.
        BrokerRefusedError: the reference was used for another amount.
        BrokerUnknownError: the database did not answer; the same call may be made again.
    """
    _check_amount(amount, reference)
    with (
        broker_errors(BrokerUnknownError),
        paper_market.writing(engine, account_number) as connection,
    ):
        if not _is_booked(paper_market.transfer_amount(connection, account_number, reference), amount):
            paper_market.book_transfer(connection, account_number, reference, amount=amount)


def withdraw(engine: Engine, account_number: str, amount: Decimal, *, reference: str, now: datetime) -> None:
    """Take money out of an account, at most its buying power at `now` (UTC); otherwise as `deposit`."""
    _check_amount(amount, reference)
    with (
        broker_errors(BrokerUnknownError),
        paper_market.writing(engine, account_number) as connection,
    ):
        if _is_booked(paper_market.transfer_amount(connection, account_number, reference), -amount):
            return
        free = paper_market.account_money(connection, account_number, now=now).buying_power
        if amount > free:
            raise BrokerRefusedError(
                f"{plain(amount)} cannot leave account {account_number}; at most {plain(free)} can."
            )
        paper_market.book_transfer(connection, account_number, reference, amount=-amount)


@contextmanager
def broker_errors(lost: type[BrokerError]) -> Iterator[None]:
    """Say what the database said in a broker's words: `lost` where it did not answer."""
    try:
        yield
    except DatabaseUnavailableError as error:
        raise lost(str(error)) from error
    except UnknownAccountError as error:
        raise BrokerNotAuthorizedError(str(error)) from error


def _check_amount(amount: Decimal, reference: str) -> None:
    if not is_on_grid(amount) or amount <= ZERO:
        raise InvalidInputError(f"The transfer {reference} was {amount}; give more than 0, to 9 places.")


def _is_booked(known: Decimal | None, amount: Decimal) -> bool:
    if known is not None and known != amount:
        raise BrokerRefusedError(
            f"The reference stands for a transfer of {plain(known)}; give {plain(amount)} one of its own."
        )
    return known is not None
