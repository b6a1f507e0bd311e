"""The ping to an outside dead-man's switch, such as healthchecks.io: a GET, while all is well.

A machine that is down cannot report itself; the switch does when the pings stay away.
"""

from pydantic import SecretStr

from trading_orchestration.errors import NotificationRefusedError, NotificationUnknownError

TIMEOUT_S = 10.0
_OK = range(200, 300)


def ping(url: SecretStr, *, timeout_s: float = TIMEOUT_S) -> None:
    """Ask the URL once. Its path is a secret, and in no error's text.

    Raises NotificationRefusedError where it answers anything but 2xx or cannot be asked, and
    NotificationUnknownError where it does not answer in time.
    """
    import httpx

    try:
        answer = httpx.get(url.get_secret_value(), timeout=timeout_s, headers={"User-Agent": "trading"})
    except httpx.TimeoutException:
        raise NotificationUnknownError(
            f"TRADING_HEARTBEAT_URL did not answer within {timeout_s:g} s."
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise NotificationRefusedError(
            f"TRADING_HEARTBEAT_URL cannot be asked: {type(error).__name__}."
        ) from None
    if answer.status_code not in _OK:
        raise NotificationRefusedError(f"TRADING_HEARTBEAT_URL answered {answer.status_code}.")
