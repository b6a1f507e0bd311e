"""What prices and corporate actions at FMP share: its key, its symbols, and its many ways to say no."""

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import Any

from pydantic import SecretStr

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import (
    MarketDataNotAuthorizedError,
    MarketDataUnavailableError,
    SettingsError,
)
from trading_orchestration.settings import Settings
from trading_orchestration.vendor_http.answer import Answer, read_text
from trading_orchestration.vendor_http.client import Timeouts, VendorHttp
from trading_orchestration.vendor_http.failures import HttpError, UnreadableAnswerError
from trading_orchestration.vendor_http.rate_limit import FileRateLimiter, RateLimiter

BASE_URL = "https://financialmodelingprep.com"
#: The smallest of the paid plans; the larger ones allow more.
REQUESTS_PER_MINUTE = 300

#: A daily cap does not recover by asking again, so a 429 is not among them.
_RETRIED_STATUSES = frozenset({500, 502, 503, 504})
_GATED_WORDS = ("Restricted Endpoint", "Exclusive Endpoint", "Legacy Endpoint", "Special Endpoint")


class EndpointGatedError(MarketDataNotAuthorizedError):
    """The plan does not include the endpoint."""


class SymbolGatedError(MarketDataNotAuthorizedError):
    """The plan includes the endpoint, and not for one of these symbols, pages or days."""


class LimitReachedError(MarketDataUnavailableError):
    """The plan's requests are used up, for a minute or for the day."""


def fmp_http(
    api_key: SecretStr, base_url: str | None, *, limiter: RateLimiter, now: Clock, timeouts: Timeouts
) -> VendorHttp:
    """A way out to FMP; the key travels in a header."""
    return VendorHttp(
        vendor="FMP",
        base_url=base_url or BASE_URL,
        headers={"apikey": api_key},
        limiter=limiter,
        now=now,
        timeouts=timeouts,
        retried_statuses=_RETRIED_STATUSES,
    )


def key_of(settings: Settings) -> SecretStr:
    """This installation's key; raises SettingsError naming its variable when there is none."""
    if settings.fmp_api_key is None:
        raise SettingsError("FMP needs a key; set FMP_API_KEY.")
    return settings.fmp_api_key


def shared_limiter(settings: Settings, api_key: SecretStr, *, now: Clock) -> RateLimiter:
    """The plan's requests a minute, which all processes of this machine share."""
    digest = sha256(api_key.get_secret_value().encode()).hexdigest()[:12]
    path = settings.home / "rate-limits" / f"fmp-{digest}"
    return FileRateLimiter(path, per_minute=REQUESTS_PER_MINUTE, now=now)


def read_rows(http: VendorHttp, path: str, query: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    """The rows of an answer.

    Raises MarketDataUnavailableError where there are none to be had now, and MarketDataNotAuthorizedError
    where the key or the plan does not give them.
    """
    try:
        answer = http.get(path, query)
        _refuse_errors(answer)
        return answer.rows()
    except HttpError as error:
        problem = str(error)
    raise MarketDataUnavailableError(f"FMP could not be read: {problem}")


def read_day(row: Mapping[str, Any], key: str) -> date:
    """A date that must be there; `UnreadableAnswerError` otherwise."""
    text = read_text(row, key)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UnreadableAnswerError(f"The field {key} was {text!r:.40} instead of a date.") from None


def theirs(symbol: str) -> str:
    """FMP writes a class of shares with a hyphen: BRK-B."""
    return symbol.replace(".", "-")


def _refuse_errors(answer: Answer) -> None:
    """Raise what the answer says is wrong; FMP says it with a status of 200, too, and as plain text."""
    message = (answer.error_row() or {}).get("Error Message")
    if answer.status == 200 and message is None:
        return
    told = f"{str(message)[:200]} (HTTP {answer.status})" if message else answer.describe()
    if answer.status == 401 or "Invalid API KEY" in told:
        raise MarketDataNotAuthorizedError(f"FMP refused the key: {told}; set FMP_API_KEY to a valid one.")
    if answer.status == 429 or "Limit Reach" in told:
        raise LimitReachedError(f"FMP's limit is reached: {told}; wait, or take a larger plan.")
    if "Query Parameter" in told:
        raise SymbolGatedError(f"FMP's plan does not include a symbol: {told}; take a larger plan.")
    if answer.status in (402, 403) or any(words in told for words in _GATED_WORDS):
        raise EndpointGatedError(f"FMP's plan does not include this: {told}; take a larger plan.")
    raise MarketDataUnavailableError(f"FMP did not answer as it should: {told}.")
