"""Opens a market data source by name: the name of its file in this folder, which offers `open_source`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.errors import SettingsError
from trading_orchestration.market_data.source import CorporateActionSource, MarketDataSource
from trading_orchestration.settings import PriceSourceName, Settings

if TYPE_CHECKING:
    # Calendars are loaded from this package by every Dagster process, long before a database is opened.
    from trading_orchestration.store.database import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSurroundings:
    """What a source may need to answer."""

    engine: "Engine"
    calendar: MarketCalendar
    clock: Clock
    settings: Settings


def open_source(name: str, surroundings: SourceSurroundings) -> MarketDataSource:
    """The source of that name; raises SettingsError naming the known ones."""
    if name not in set(PriceSourceName):
        raise SettingsError(f"There is no price source '{name}'; there are: {', '.join(PriceSourceName)}.")
    opener: Callable[[SourceSurroundings], MarketDataSource] = import_module(f"{__name__}.{name}").open_source
    return opener(surroundings)


def open_action_source(names: Collection[str], surroundings: SourceSurroundings) -> CorporateActionSource:
    """Where corporate actions come from, among these sources; raises SettingsError where none has them."""
    if PriceSourceName.ALPACA not in names:
        raise SettingsError(
            f"The price source {', '.join(names)} has no corporate actions here; add alpaca to "
            "TRADING_PRICE_SOURCE, or enter them (`trading actions add`, `trading actions import`)."
        )
    from trading_orchestration.market_data import alpaca_actions

    return alpaca_actions.open_action_source(surroundings)
