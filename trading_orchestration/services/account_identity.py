"""Whose account it is that the credentials open: nothing is sent to, settled or compared with another's."""

from trading_orchestration.brokers.broker import Broker, BrokerAccount
from trading_orchestration.errors import BrokerNotAuthorizedError
from trading_orchestration.store.portfolios import Account


def confirmed_account(broker: Broker, ours: Account) -> BrokerAccount:
    """The account as its broker has it; raises BrokerNotAuthorizedError where it is none of ours."""
    found = broker.get_account()
    if found.account_number != ours.account_number:
        raise BrokerNotAuthorizedError(
            f"The credentials open account {found.account_number}, and the portfolios trade through "
            f"{ours.account_number}; set those of {ours.account_number}."
        )
    return found
