"""The installation, as Dagster passes it to assets, ops, schedules and sensors."""

import atexit
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from trading_orchestration.wiring import Trading

_lock = threading.Lock()
_opened: dict[str, "Trading"] = {}


class TradingResource(dg.ConfigurableResource["TradingResource"]):
    """Opens the installation that the environment describes, once a process.

    Nothing is configured here, so that no secret can reach a run's configuration.
    """

    def open(self) -> "Trading":
        """The open installation; raises DatabaseUnavailableError, SchemaError or SettingsError."""
        from trading_orchestration.settings import read_settings
        from trading_orchestration.wiring import open_trading

        settings = read_settings()
        url = settings.database_url.get_secret_value() if settings.database_url else ""
        key = f"{settings.home}|{url}"
        with _lock:
            if key not in _opened:
                stack = ExitStack()
                _opened[key] = stack.enter_context(open_trading(settings))
                atexit.register(stack.close)
            return _opened[key]
