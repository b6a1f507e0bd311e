"""Channels: who is told what, when. Their addresses are elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from trading_orchestration.store.alerts import Severity

_RANK = {severity: rank for rank, severity in enumerate(Severity)}
FOLD = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day to another, in a time zone; over midnight where the end comes first."""

    begins: time
    ends: time
    zone: ZoneInfo

    def covers(self, instant: datetime) -> bool:
        """Whether they are on at an instant; the end is outside."""
        local = instant.astimezone(self.zone).time()
        if self.begins <= self.ends:
            return self.begins <= local < self.ends
        return local >= self.begins or local < self.ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way to people. `kinds` None takes all; `fold` is how long repeats of a kind wait for more."""

    name: str
    severity: Severity = Severity.INFO
    kinds: Sequence[str] | None = None
    quiet: QuietHours | None = None
    fold: timedelta = FOLD

    def wants(self, severity: Severity, kind: str) -> bool:
        """Whether a notification goes here. Critical ones go wherever the severity lets them, of any kind."""
        if _RANK[severity] < _RANK[self.severity]:
            return False
        return severity is Severity.CRITICAL or self.kinds is None or kind in self.kinds

    def is_quiet(self, instant: datetime) -> bool:
        """Whether only critical messages go out at an instant."""
        return self.quiet is not None and self.quiet.covers(instant)
