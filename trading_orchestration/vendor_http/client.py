"""The one way out to a vendor: explicit timeouts, a shared rate limit, and no secret in any message."""

import ipaddress
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import SettingsError
from trading_orchestration.vendor_http.answer import Answer
from trading_orchestration.vendor_http.failures import (
    HttpError,
    NoAnswerError,
    NotSentError,
    RateLimitedError,
)
from trading_orchestration.vendor_http.rate_limit import RateLimiter

#: Seconds before the second and the third time a read is tried.
RETRY_WAITS_S = (0.25, 1.0)
#: A read may be tried again after these; an order never.
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
#: What is shorter, such as a public demo key, is no secret, and may be part of any honest word.
SHORTEST_SECRET = 8
LARGEST_ANSWER_BYTES = 32 * 1024 * 1024

# Its debug lines show headers, and a vendor may echo a key in one.
logging.getLogger("httpcore").setLevel(logging.INFO)

_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. `answer_s` bounds the wait for an answer and again for its body; after `read_s` no read is
    tried again; `rate_limit_s` is how long a request waits for room under the rate limit."""

    connect_s: float = 5.0
    answer_s: float = 10.0
    read_s: float = 20.0
    rate_limit_s: float = 8.0


DEFAULT_TIMEOUTS = Timeouts()


class VendorHttp:
    """Requests to one vendor over kept-alive connections; safe to share between threads."""

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        headers: Mapping[str, SecretStr],
        limiter: RateLimiter,
        now: Clock,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retried_statuses: frozenset[int] = RETRIED_STATUSES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`headers` authenticate.

        Raises:
            SettingsError: a secret is empty, or the URL would carry it in clear over a network.
        """
        self.vendor = vendor
        values = (value.get_secret_value() for value in headers.values())
        self._secrets = tuple(value for value in values if len(value) >= SHORTEST_SECRET)
        self._limiter = limiter
        self._now = now
        self._timeouts = timeouts
        self._retried_statuses = retried_statuses
        self._sleep = sleep
        self._client = httpx.Client(
            base_url=checked_base_url(vendor, base_url),
            headers={"User-Agent": "trading-orchestration", **self._authentication(headers)},
            timeout=httpx.Timeout(timeouts.answer_s, connect=timeouts.connect_s),
            limits=httpx.Limits(max_connections=10, keepalive_expiry=30.0),
            follow_redirects=False,  # a redirect would carry the key to another host
            trust_env=not is_loopback(base_url),
        )
        # Nobody has to close a broker: the connections go with it.
        self._close = weakref.finalize(self, self._client.close)

    def _authentication(self, headers: Mapping[str, SecretStr]) -> dict[str, str]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if not text or not text.isascii() or not text.isprintable() or " " in text:
                raise SettingsError(
                    f"The key for {self.vendor}'s header {name} is empty or holds a character no key has."
                )
        return {name: value.get_secret_value() for name, value in headers.items()}

    def close(self) -> None:
        """Give the connections back."""
        self._close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """Read, at most three times within the budget, and return the last answer, whatever its status.

        Raises:
            NotSentError, NoAnswerError: no answer came, the last time it was tried.
        """
        give_up_at = time.monotonic() + self._timeouts.read_s
        for wait_s in RETRY_WAITS_S:
            try:
                answer = self.send("GET", path, params=params)
            except RateLimitedError:
                raise
            except (NotSentError, NoAnswerError):
                if time.monotonic() + wait_s > give_up_at:
                    raise
            else:
                if answer.status not in self._retried_statuses or time.monotonic() + wait_s > give_up_at:
                    return answer
            self._sleep(wait_s)
        return self.send("GET", path, params=params)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send exactly once and return the answer, whatever its status.

        Raises:
            NotSentError: the vendor got nothing.
            NoAnswerError: it may have acted, and no whole answer came in time.
        """
        self._limiter.acquire(max_wait_s=self._timeouts.rate_limit_s)
        request = self._client.build_request(method, path, params=params, json=body)
        answer = self._exchange(request)
        self._heed_limits(answer)
        return answer

    def _exchange(self, request: httpx.Request) -> Answer:
        deadline = time.monotonic() + self._timeouts.answer_s
        try:
            response = self._client.send(request, stream=True)
            try:
                text = self._read_body(response, deadline)
            finally:
                response.close()
        except httpx.HTTPError as error:
            failure = self._failure(request, error)
        else:
            headers = {name.lower(): self._scrub(value) for name, value in response.headers.items()}
            return Answer(self.vendor, response.status_code, self._scrub(text), headers)
        # Raised here, so that no httpx error, which holds the request and its keys, hangs on to it.
        raise failure

    def _read_body(self, response: httpx.Response, deadline: float) -> str:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > LARGEST_ANSWER_BYTES:
                raise httpx.ReadError(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"the answer took longer than {self._timeouts.answer_s:g} s")
        return content.decode(response.encoding or "utf-8", errors="replace")

    def _failure(self, request: httpx.Request, error: httpx.HTTPError) -> HttpError:
        detail = self._scrub(str(error)) or "no detail"
        what = f"{request.method} {request.url.path}: {type(error).__name__}, {detail}"
        if isinstance(error, _NEVER_LEFT):
            return NotSentError(f"{self.vendor} could not be reached ({what}).")
        return NoAnswerError(f"{self.vendor} gave no whole answer ({what}).")

    def _heed_limits(self, answer: Answer) -> None:
        if answer.status == 429 or answer.is_last_of_its_minute():
            self._limiter.block_until(answer.retry_at(self._now()) or self._now() + timedelta(seconds=1))

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def checked_base_url(vendor: str, base_url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        SettingsError: it is no http URL, or would carry a key in clear over a network.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise SettingsError(f"{vendor}'s URL must look like https://host, and has another shape.")
    if parts.scheme == "http" and not is_loopback(base_url):
        raise SettingsError(f"{vendor}'s URL {base_url} would send the key in clear; use https.")
    return base_url.rstrip("/")


def is_loopback(base_url: str) -> bool:
    """The URL stays on this machine."""
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
