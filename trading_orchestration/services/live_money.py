"""Real money is traded only where a person has said so twice: in the environment, and in the database."""

from datetime import datetime

from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import live_permissions
from trading_orchestration.store.jobs import Begin


def allow_live(begin: Begin, account_number: str, *, reason: str, actor: str, at: datetime) -> bool:
    """Let the account of that number trade real money; False where it may already.

    The number is typed by hand: raises InvalidInputError for one that no portfolio with real money has, and
    for an empty reason. Whether the broker answers with the same number is looked at before anything is sent.
    """
    _require_reason(reason)
    with begin() as connection:
        broker = _broker_of(live_permissions.live_accounts(connection), account_number)
        return live_permissions.permit(connection, broker, account_number, reason=reason, actor=actor, at=at)


def revoke_live(begin: Begin, account_number: str, *, reason: str, actor: str, at: datetime) -> None:
    """Send nothing to that account any more, exits neither; raises InvalidInputError where it may not."""
    _require_reason(reason)
    with begin() as connection:
        broker = _broker_of(live_permissions.live_accounts(connection), account_number)
        if not live_permissions.revoke(connection, broker, account_number, reason=reason, actor=actor, at=at):
            raise InvalidInputError(f"Account {account_number} may not trade real money; nothing to revoke.")


def _broker_of(accounts: list[tuple[str, str]], account_number: str) -> str:
    for broker, number in accounts:
        if number == account_number:
            return broker
    known = ", ".join(number for _, number in accounts) or "none; `trading portfolio add … --live` opens one"
    raise InvalidInputError(
        f"No portfolio trades real money in an account {account_number!r}; there are: {known}."
    )


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInputError("The reason was empty; say why, for whoever looks at this later.")
