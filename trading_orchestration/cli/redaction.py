"""Keeps secrets out of what a command says."""

import re
from collections.abc import Sequence

from trading_orchestration.errors import SettingsError

#: A shorter value would be found in the midst of ordinary words.
SHORTEST_SECRET = 8


def without_secrets(text: str, hidden: Sequence[str] | None = None) -> str:
    """The text with `***` for every secret: those `hidden`, or those of the settings."""
    for secret in secrets() if hidden is None else hidden:
        text = text.replace(secret, "***")
    return text


def secrets() -> list[str]:
    """Values that never belong in a message, longest first; a URL counts by its password too."""
    from urllib.parse import unquote, urlsplit

    from pydantic import SecretStr

    from trading_orchestration.settings import read_settings

    try:
        settings = read_settings()
    except SettingsError:
        return []
    found = {value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)}
    passwords = {urlsplit(value).password or "" for value in found if "://" in value}
    found |= passwords | {unquote(password) for password in passwords}
    # Any part of these may be a token.
    for url in (settings.trading_notify_urls, settings.trading_heartbeat_url):
        found |= set(re.split(r"[\s/?&=@:#,]+", url.get_secret_value())) if url else set()
    return sorted((value for value in found if len(value) >= SHORTEST_SECRET), key=len, reverse=True)
