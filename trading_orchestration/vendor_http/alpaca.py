"""What trading and market data at Alpaca share: the key pair, and how it is sent."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import SettingsError
from trading_orchestration.settings import Settings
from trading_orchestration.vendor_http.answer import Answer
from trading_orchestration.vendor_http.client import Timeouts, VendorHttp, is_loopback
from trading_orchestration.vendor_http.rate_limit import FileRateLimiter, RateLimiter

REQUESTS_PER_MINUTE = 200
PAPER_HOST = "paper-api.alpaca.markets"
LIVE_HOST = "api.alpaca.markets"
#: For messages: the variables that the key pair comes from.
KEY_VARIABLES = "APCA_API_KEY_ID and APCA_API_SECRET_KEY"


@dataclass(frozen=True, slots=True)
class AlpacaKeys:
    """A key pair. The id of a paper key begins with PK, that of a live key with AK."""

    key_id: SecretStr
    secret_key: SecretStr

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """This installation's key pair; raises SettingsError naming the variables when one is missing."""
        if settings.apca_api_key_id is None or settings.apca_api_secret_key is None:
            raise SettingsError(f"Alpaca needs a key pair; set {KEY_VARIABLES}.")
        return cls(settings.apca_api_key_id, settings.apca_api_secret_key)


def refuse_mixed_money(url: str, keys: AlpacaKeys, *, is_live: bool) -> None:
    """Keep paper and live money apart: the host and the key's first letters name their side.

    Raises:
        SettingsError: one of them belongs to the other side.
    """
    host = urlsplit(url).hostname or ""
    foreign_host = host == PAPER_HOST or is_loopback(url) if is_live else host == LIVE_HOST
    wanted, other = ("live", "paper") if is_live else ("paper", "live")
    if foreign_host:
        raise SettingsError(f"The account trades {wanted} money, and {url} is Alpaca's {other} side.")
    foreign_prefix = "PK" if is_live else "AK"
    if keys.key_id.get_secret_value().startswith(foreign_prefix):
        raise SettingsError(f"The account trades {wanted} money, and APCA_API_KEY_ID holds a {other} key.")


def alpaca_http(
    keys: AlpacaKeys, base_url: str, *, limiter: RateLimiter, now: Clock, timeouts: Timeouts
) -> VendorHttp:
    """A way out to one of Alpaca's hosts. The `/v2` that Alpaca shows at the end of its URLs may stay."""
    return VendorHttp(
        vendor="Alpaca",
        base_url=base_url.rstrip("/").removesuffix("/v2"),
        headers={"APCA-API-KEY-ID": keys.key_id, "APCA-API-SECRET-KEY": keys.secret_key},
        limiter=limiter,
        now=now,
        timeouts=timeouts,
    )


def shared_limiter(settings: Settings, keys: AlpacaKeys, *, kind: str, now: Clock) -> RateLimiter:
    """Alpaca's 200 requests a minute, which trading and market data have each for themselves."""
    digest = sha256(keys.key_id.get_secret_value().encode()).hexdigest()[:12]
    path = settings.home / "rate-limits" / f"alpaca-{kind}-{digest}"
    return FileRateLimiter(path, per_minute=REQUESTS_PER_MINUTE, now=now)


def is_not_authorized(answer: Answer) -> bool:
    """Alpaca refuses the keys or the plan. A 403 without an explanation comes from something before it."""
    return answer.status == 401 or (answer.status == 403 and answer.error_row() is not None)
