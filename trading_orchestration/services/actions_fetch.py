"""Corporate actions from a vendor: entered like a person's, and what is refused is told and stops nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.market_data.source import CorporateActionSource
from trading_orchestration.services.action_entry import Entered, enter_action
from trading_orchestration.store import prices
from trading_orchestration.store.jobs import Begin


@dataclass(frozen=True, slots=True)
class FetchedActions:
    """What a vendor told of: entered or known already, and a sentence for each that was not taken over."""

    entered: Sequence[Entered]
    left_out: Sequence[str]


def fetch_actions(
    source: CorporateActionSource,
    first: date,
    last: date,
    *,
    begin: Begin,
    calendar: MarketCalendar,
    benchmark: str | None = None,
) -> FetchedActions:
    """Enter the actions of every symbol that matters between two dates (inclusive); again changes nothing.

    Raises MarketDataError where the vendor does not answer, InvalidInputError where `first` is after `last`.
    """
    if first > last:
        raise InvalidInputError(f"The first day, {first}, is after the last, {last}; swap them.")
    with begin() as connection:
        symbols = prices.symbols_between(connection, first, last, benchmark=benchmark)
    announced = source.get_actions(symbols, first, last) if symbols else None
    if announced is None:
        return FetchedActions((), ())
    entered: list[Entered] = []
    left_out = list(announced.untold)
    for new in announced.actions:
        try:
            entered.append(
                enter_action(
                    begin, new, calendar=calendar, source=source.name, actor=source.name, is_from_vendor=True
                )
            )
        except InvalidInputError as error:
            left_out.append(str(error))
    return FetchedActions(entered, left_out)
