"""Opens a market data source by name: the name of its file in this folder, which offers `open_source`."""

from collections.abc import Callable, Sequence
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


#: Those that tell of corporate actions, each in its file `…_actions`.
ACTION_SOURCES = (PriceSourceName.ALPACA, PriceSourceName.FMP)


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


def open_action_source(names: Sequence[str], surroundings: SourceSurroundings) -> CorporateActionSource:
    """The first of these sources that has corporate actions; raises SettingsError where none has them."""
    found = next((name for name in names if name in ACTION_SOURCES), None)
    if found is None:
        raise SettingsError(
            f"The price source {', '.join(names)} has no corporate actions; name one that has them with "
            f"--source ({' or '.join(ACTION_SOURCES)}), or enter them (`trading actions add`, `trading "
            "actions import`)."
        )
    opener: Callable[[SourceSurroundings], CorporateActionSource] = import_module(
        f"{__name__}.{found}_actions"
    ).open_action_source
    return opener(surroundings)
