"""What the jobs ask of a market data source. A new vendor is one new file that answers it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.domain.price import Bar, Quote, Timeframe


@dataclass(frozen=True, slots=True)
class QuoteBatch:
    """The answer to one batch request: a quote, or the reason why there is none, for every symbol asked."""

    quotes: Mapping[str, Quote]
    failures: Mapping[str, str]


class MarketDataSource(Protocol):
    """Quotes and bars of one vendor.

    Raises `MarketDataUnavailableError` when the whole request failed and may work later, and
    `MarketDataNotAuthorizedError` when a person must mend key or plan. A symbol the vendor does not know is
    a failure of that symbol, never of the batch.
    """

    #: The vendor's name, as recorded with every quote and bar.
    name: str
    #: How many symbols one request may carry: so few that its answer is read well within its timeout.
    max_batch_size: int

    def get_batch_quotes(self, symbols: Sequence[str]) -> QuoteBatch:
        """The newest quote of each symbol, in one request."""
        ...

    def get_bars(
        self, symbols: Sequence[str], timeframe: Timeframe, *, start: datetime, end: datetime
    ) -> Sequence[Bar]:
        """Completed raw (unadjusted) bars with start ≤ `starts_at` < end, by symbol and time."""
        ...


@dataclass(frozen=True, slots=True)
class AnnouncedActions:
    """Corporate actions that a vendor tells of, and a sentence for each that cannot be taken over."""

    actions: list[NewAction]
    untold: list[str]


class CorporateActionSource(Protocol):
    """Corporate actions of one vendor; raises as `MarketDataSource`."""

    #: The vendor's name, as recorded with every action.
    name: str

    def get_actions(self, symbols: Sequence[str], first: date, last: date) -> AnnouncedActions:
        """What happened to some symbols between two dates (inclusive)."""
        ...
