"""Opens a broker by name: the name of its file in this folder, which offers `open_broker`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from trading_orchestration.brokers.broker import Broker
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.errors import SettingsError
from trading_orchestration.settings import Settings
from trading_orchestration.store.database import Engine

#: A new broker is a new file and its name here.
BROKER_NAMES = ("alpaca", "paper")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSurroundings:
    """What a broker may need to open an account. `is_live` tells that real money moves."""

    account_number: str
    is_live: bool
    engine: Engine
    calendar: MarketCalendar
    clock: Clock
    settings: Settings


def open_broker(name: str, surroundings: BrokerSurroundings) -> Broker:
    """The account at the broker of that name; raises SettingsError naming the known ones."""
    if name not in BROKER_NAMES or find_spec(f"{__name__}.{name}") is None:
        raise SettingsError(f"There is no broker named '{name}'; there are: {', '.join(BROKER_NAMES)}.")
    opener: Callable[[BrokerSurroundings], Broker] = import_module(f"{__name__}.{name}").open_broker
    return opener(surroundings)
