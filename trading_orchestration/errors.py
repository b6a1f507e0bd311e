"""Everything this project raises on purpose.

TradingError
├ InvalidInputError          what a person or a file gave is wrong; nothing was changed
├ SettingsError              a setting is missing or contradicts another
├ DatabaseError
│ ├ DatabaseUnavailableError     no answer from PostgreSQL
│ └ SchemaError              the database is not at the version of this code
├ LeaseLostError             this run was given up; it may change nothing any more
├ LedgerError                a booking that would break an invariant of the ledger
├ MarketDataError
│ ├ MarketDataUnavailableError   may work later
│ └ MarketDataNotAuthorizedError a person must mend the key or the plan
├ BrokerError
│ ├ BrokerRefusedError       a definite no; the order does not exist
│ ├ BrokerUnknownError       the order may or may not exist
│ ├ BrokerUnavailableError   nothing was sent, or a read failed; may work later
│ └ BrokerNotAuthorizedError a person must mend the credentials
├ NotificationError
│ ├ NotificationRefusedError a channel did not take the message
│ └ NotificationUnknownError the message may or may not have arrived
└ JobFailedError             a job did what it could and part of it failed

A class exists only where a caller reacts differently.
"""


class TradingError(Exception):
    """Base of all errors of this project; its text is one sentence for a person."""


class InvalidInputError(TradingError):
    """Something a person or a file gave is wrong. Nothing was changed."""


class SettingsError(TradingError):
    """A setting is missing, malformed or contradicts another."""


class DatabaseError(TradingError):
    """PostgreSQL did not do what it was asked."""


class DatabaseUnavailableError(DatabaseError):
    """PostgreSQL cannot be reached or started."""


class SchemaError(DatabaseError):
    """The database's schema is not the one this code was written for."""


class LeaseLostError(TradingError):
    """The run that asks was given up by the sweeper; another may be at work already."""


class LedgerError(TradingError):
    """A booking would break an invariant of the ledger; it was refused."""


class MarketDataError(TradingError):
    """A market data source did not answer as it should."""


class MarketDataUnavailableError(MarketDataError):
    """The source did not answer, or said later; the same call may work later."""


class MarketDataNotAuthorizedError(MarketDataError):
    """The source refused the credentials or the plan; a person must mend it."""


class BrokerError(TradingError):
    """A broker did not answer as it should."""


class BrokerRefusedError(BrokerError):
    """The broker said no, for good: what was asked for did not happen.

    `is_duplicate_client_order_id` tells that the refusal is about an order that exists already,
    `is_about_fractions` that the symbol trades in whole shares only.
    """

    def __init__(
        self, message: str, *, is_duplicate_client_order_id: bool = False, is_about_fractions: bool = False
    ) -> None:
        super().__init__(message)
        self.is_duplicate_client_order_id = is_duplicate_client_order_id
        self.is_about_fractions = is_about_fractions


class BrokerUnknownError(BrokerError):
    """It is not known whether the broker acted; only asking it can tell."""


class BrokerUnavailableError(BrokerError):
    """The broker did not act, or a read failed; the same call may work later."""


class BrokerNotAuthorizedError(BrokerError):
    """The broker refused the credentials; a person must mend them."""


class NotificationError(TradingError):
    """A channel did not take a message as it should. The text holds no part of the channel's address."""


class NotificationRefusedError(NotificationError):
    """The message did not arrive; sending it again repeats nothing."""


class NotificationUnknownError(NotificationError):
    """No answer came: the message may have arrived."""


class JobFailedError(TradingError):
    """A job finished what it could, and part of it failed. The text lists what."""
