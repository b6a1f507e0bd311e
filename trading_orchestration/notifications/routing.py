"""Which channels there are and what each is told: `TRADING_NOTIFY_URLS`, and `TRADING_NOTIFY_FILE` beside it.

The URLs hold tokens and come from the environment or a secrets file; the YAML file holds none:

    time_zone: Europe/Berlin          # of quiet hours and of times in messages; else the exchange's
    channels:
      phone:
        severity: critical            # and above: info (all), warning, critical
      mail:
        kinds: [fill, halt]           # else all; critical messages come whatever their kind
        quiet_hours: 22:00-07:00      # critical messages come all the same
        fold_s: 300                   # repeats of a kind within it are one message; 60 otherwise
"""

import re
from dataclasses import dataclass, replace
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from trading_orchestration.errors import SettingsError
from trading_orchestration.notifications.apprise import AppriseNotifier
from trading_orchestration.notifications.channel import FOLD, Channel, QuietHours
from trading_orchestration.settings import Settings
from trading_orchestration.store.alerts import KINDS, Severity

_NAMED = re.compile(r"(?P<name>[a-z][a-z0-9_-]{0,30})=(?P<url>[A-Za-z0-9]+://\S+)")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_FORBID = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Routing:
    """Every channel with what sends to it, and the zone in which people read times."""

    channels: tuple[tuple[Channel, AppriseNotifier], ...]
    zone: ZoneInfo


class _Rules(BaseModel):
    model_config = _FORBID
    severity: Severity = Severity.INFO
    kinds: Annotated[list[str] | None, Field(min_length=1)] = None
    quiet_hours: str | None = None
    fold_s: Annotated[int, Field(ge=0, le=86_400)] = int(FOLD.total_seconds())

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, kinds: list[str] | None) -> list[str] | None:
        unknown = sorted(set(kinds or ()) - set(KINDS))
        if unknown:
            raise ValueError(f"there is no kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
        return kinds

    @field_validator("quiet_hours")
    @classmethod
    def _are_a_span(cls, text: str | None) -> str | None:
        if text is not None and not _SPAN.fullmatch(text):
            raise ValueError("it must be a span of the day such as 22:00-07:00")
        return text


class _File(BaseModel):
    model_config = _FORBID
    time_zone: str | None = None
    channels: dict[str, _Rules | None] = Field(default_factory=dict)

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        try:
            ZoneInfo(name or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("it must be a time zone such as Europe/Berlin") from None
        return name


def read_routing(settings: Settings, *, zone: ZoneInfo) -> Routing:
    """The channels of an installation, in the order of their URLs; `zone` is the exchange's.

    Raises SettingsError naming the variable, the channel or the key of the file that cannot be used. Whether
    Apprise can read a URL shows when it is used.
    """
    urls = _urls(settings.trading_notify_urls)
    file = _File() if settings.trading_notify_file is None else _read(settings.trading_notify_file)
    stranger = sorted(file.channels.keys() - urls.keys())
    if stranger:
        raise SettingsError(
            f"TRADING_NOTIFY_FILE has a channel {stranger[0]}, which has no URL in TRADING_NOTIFY_URLS."
        )
    chosen = ZoneInfo(file.time_zone) if file.time_zone else zone
    return Routing(
        tuple(
            (_channel(name, file.channels.get(name) or _Rules(), chosen), AppriseNotifier(name, url))
            for name, url in urls.items()
        ),
        chosen,
    )


def _urls(given: SecretStr | None) -> dict[str, SecretStr]:
    found: dict[str, SecretStr] = {}
    for number, part in enumerate((given.get_secret_value() if given else "").split(), start=1):
        named = _NAMED.fullmatch(part)
        if named is None:
            raise SettingsError(
                f"TRADING_NOTIFY_URLS: entry {number} is not NAME=URL, such as phone=ntfy://my-topic; names "
                "are of a-z, 0-9, _ and -, and entries stand apart by spaces."
            )
        if named["name"] in found:
            raise SettingsError(f"TRADING_NOTIFY_URLS has two channels called {named['name']}.")
        found[named["name"]] = SecretStr(named["url"])
    return found


def _read(path: Path) -> _File:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"TRADING_NOTIFY_FILE: {path} cannot be read: {error.strerror}.") from None
    except (YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise SettingsError(f"TRADING_NOTIFY_FILE: {path.name} is not YAML: {problem}.") from None
    try:
        return _File.model_validate(data or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"TRADING_NOTIFY_FILE: {path.name}: {where}: {problem}.") from None


def _channel(name: str, rules: _Rules, zone: ZoneInfo) -> Channel:
    channel = Channel(
        name=name,
        severity=rules.severity,
        kinds=None if rules.kinds is None else tuple(rules.kinds),
        fold=timedelta(seconds=rules.fold_s),
    )
    span = _SPAN.fullmatch(rules.quiet_hours or "")
    if span is None:
        return channel
    begins, ends = time(int(span[1]), int(span[2])), time(int(span[3]), int(span[4]))
    return replace(channel, quiet=QuietHours(begins, ends, zone))
