"""Every setting: its unit, its default and the environment variable that sets it. Read once, by the wiring.

A secret may also stand in a file: `TRADING_SECRETS_DIR` names a folder whose files are called like the
variables in lower case.
"""

import os
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_orchestration.errors import SettingsError


class PriceSourceName(StrEnum):
    """Where quotes come from."""

    STORED = "stored"
    ALPACA = "alpaca"
    FMP = "fmp"


class Settings(BaseSettings):
    """The settings of one installation. The field `trading_home` is set by `TRADING_HOME`, and so on."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    #: Folder of the embedded PostgreSQL, Dagster's home and logs.
    trading_home: Path = Path(".trading")
    #: PostgreSQL to use instead of the embedded one, as the role that trades.
    database_url: SecretStr | None = None
    #: The same database as the role that owns its tables and migrates them, and as one that only reads.
    database_owner_url: SecretStr | None = None
    database_reader_url: SecretStr | None = None
    #: Dagster's own database; by default the one called `dagster` on the same server.
    dagster_database_url: SecretStr | None = None
    #: Exchange calendar, by its code in `exchange_calendars`.
    trading_exchange: str = "XNYS"
    #: YAML file of days on which the exchange is closed or keeps other hours than its calendar says.
    trading_hours_file: Path | None = None
    #: Where quotes come from: stored, alpaca, fmp; or several, by commas, in the order they are asked in.
    trading_price_source: str = PriceSourceName.STORED
    #: Share of an order that one touch of its price fills at the paper broker; empty fills the whole.
    trading_paper_fill_fraction: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    #: What the paper broker charges for an order: an amount a share, an amount an order, a share of its value
    #: (0.001 is 0.1 %), and the least that an order costs; in the account's currency.
    trading_paper_commission_per_share: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal(0)
    trading_paper_commission_per_order: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal(0)
    trading_paper_commission_pct: Annotated[Decimal, Field(ge=0, le=0.5, decimal_places=9)] = Decimal(0)
    trading_paper_commission_minimum: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal(0)
    #: How far the paper broker fills market and stop orders against them; hundredths of a percent.
    trading_paper_slippage_bps: Annotated[Decimal, Field(ge=0, le=5000, decimal_places=9)] = Decimal(0)
    #: Whether the paper broker lets an account sell more than it holds, as a margin account may.
    trading_paper_allow_short: bool = True
    #: Where `trading up` and `trading demo` serve the Dagster UI.
    trading_ui_port: Annotated[int, Field(ge=1, le=65535)] = 3000
    #: More values of the Host header that the UI answers to, as `name:port`, separated by commas.
    trading_ui_hosts: str = ""
    #: Where `trading stream` serves prices.
    trading_stream_port: Annotated[int, Field(ge=1, le=65535)] = 8765
    #: A quote older than this is not traded on; seconds.
    trading_quote_age_max_s: Annotated[int, Field(gt=0)] = 900
    #: Number of the account whose real money may be traded, typed by hand; empty allows none.
    trading_live_account: str = ""
    #: Symbol that performance is compared with; empty compares with nothing.
    trading_benchmark: str = ""
    #: A holding without a close is valued at one of at most so many sessions before; 0 makes it an error.
    trading_carry_close_sessions: Annotated[int, Field(ge=0, le=250)] = 0

    #: Where people are told: `NAME=URL`, as Apprise writes URLs, separated by spaces or line ends.
    trading_notify_urls: SecretStr | None = None
    #: YAML file that says which channel is told what, and when.
    trading_notify_file: Path | None = None
    #: An outside dead-man's switch, asked by GET every minute while all jobs run as they should.
    trading_heartbeat_url: SecretStr | None = None

    #: How long job executions are kept; days. The ledger is kept for good.
    trading_keep_record_days: Annotated[int, Field(ge=7)] = 400
    #: How long messages to people are kept; days.
    trading_keep_messages_days: Annotated[int, Field(ge=7)] = 400
    #: How long Dagster's runs, their events and what checks said are kept; days. Those that the UI shows
    #: assets and partitions by stay.
    trading_keep_runs_days: Annotated[int, Field(ge=1)] = 30

    #: Alpaca's key pair, under the names Alpaca's own tools use.
    apca_api_key_id: SecretStr | None = None
    apca_api_secret_key: SecretStr | None = None
    #: Alpaca's trading URL, where it is not the usual one of the account's environment.
    apca_api_base_url: str | None = None
    #: Alpaca's data URL, where it is not the usual one.
    apca_api_data_url: str | None = None
    fmp_api_key: SecretStr | None = None
    #: Financial Modeling Prep's URL, where it is not the usual one.
    fmp_base_url: str | None = None

    @field_validator("trading_price_source")
    @classmethod
    def _know_price_sources(cls, given: str) -> str:
        names = [name.strip() for name in given.split(",")]
        if len(set(names)) < len(names) or not set(names) <= set(PriceSourceName):
            raise ValueError(
                f"give one or more of {', '.join(PriceSourceName)}, each once, separated by commas"
            )
        return ",".join(names)

    @property
    def price_sources(self) -> tuple[PriceSourceName, ...]:
        """The sources of quotes, in the order in which they are asked."""
        return tuple(PriceSourceName(name) for name in self.trading_price_source.split(","))

    @cached_property
    def home(self) -> Path:
        """`trading_home` as an absolute path."""
        return self.trading_home.expanduser().resolve()

    @cached_property
    def hours_file(self) -> Path | None:
        """`trading_hours_file` as an absolute path."""
        return self.trading_hours_file and self.trading_hours_file.expanduser().resolve()


def read_settings() -> Settings:
    """Read the environment once.

    Raises:
        SettingsError: naming the variable, what is wrong with it, and never its value.
    """
    try:
        return Settings(_secrets_dir=os.environ.get("TRADING_SECRETS_DIR"))
    except ValidationError as error:
        problems = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"The environment has settings that cannot be used: {problems}.") from None
