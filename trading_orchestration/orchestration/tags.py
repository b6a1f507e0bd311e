"""The tags that tell what a run is for and what became of it; the Dagster UI shows and filters them."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Never

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.errors import InvalidInputError

JOB = "trading/job"
SESSION = "trading/session"
TICK = "trading/tick"
TRIGGER = "trading/trigger"
#: completed, failed or skipped; a run that was skipped is green in the UI, but for sessions a person chose.
OUTCOME = "trading/outcome"
#: What it counted: "portfolios 2, signals 4, trades 1".
COUNTS = "trading/counts"
#: Of a sensor: what it keeps right.
KEEPS = "trading/keeps"
#: Why it was skipped, or failed.
REASON = "trading/reason"
#: Whether the run decided over an open breaker.
PROBE = "trading/probe"
#: What the breaker was after a probe: closed, half open or open.
BREAKER = "trading/breaker"

_ZONED = re.compile(r"(Z|[+-]\d\d:\d\d)$")
_PARENT_RUN = "dagster/parent_run_id"
_SENSOR = "dagster/sensor_name"
#: Dagster's queue takes the highest first; runs without one have 0.
_PRIORITY = "dagster/priority"
_PARTITION = "dagster/partition"
_PARTITION_RANGE_START = "dagster/asset_partition_range_start"
_PARTITION_RANGE_END = "dagster/asset_partition_range_end"


def tick_tags(job_type: JobType, tick: datetime, session: str, trigger: ExecutionTrigger) -> dict[str, str]:
    """The tags of a run for one tick; a schedule's goes before a queue of sessions to fill in."""
    found = {
        JOB: job_type.value,
        SESSION: session,
        TICK: tick.astimezone(UTC).isoformat(),
        TRIGGER: trigger.value,
    }
    return found | {_PRIORITY: "1"} if trigger is ExecutionTrigger.SCHEDULE else found


def trigger_of(tags: Mapping[str, str]) -> ExecutionTrigger:
    """What launched a run. One that is executed again carries the old tags but is a person's doing.

    Raises InvalidInputError for a trigger that is none.
    """
    if TICK not in tags or _PARENT_RUN in tags:
        is_backfill = _PARTITION in tags or _PARTITION_RANGE_END in tags
        return ExecutionTrigger.BACKFILL if is_backfill else ExecutionTrigger.MANUAL
    text = tags.get(TRIGGER, ExecutionTrigger.SCHEDULE.value)
    try:
        return ExecutionTrigger(text)
    except ValueError:
        known = ", ".join(ExecutionTrigger)
        raise InvalidInputError(f"The tag {TRIGGER} was '{text}'; it must be one of {known}.") from None


def tick_of(tags: Mapping[str, str]) -> datetime:
    """The instant (UTC) a run with a tick is for; raises InvalidInputError for one that is none."""
    text = tags[TICK]
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if _ZONED.search(text) else _refuse(text)
    except ValueError:
        return _refuse(text)


def partition_range(first: str, last: str) -> dict[str, str]:
    """The tags by which Dagster runs all partitions from one to another at once."""
    return {_PARTITION_RANGE_START: first, _PARTITION_RANGE_END: last}


def is_of_sensor(tags: Mapping[str, str]) -> bool:
    """Whether a sensor asked for a run."""
    return _SENSOR in tags


def has_partition(tags: Mapping[str, str]) -> bool:
    """Whether a run is of a session, or of a range of them."""
    return _PARTITION in tags or _PARTITION_RANGE_START in tags


def partitions_of(tags: Mapping[str, str]) -> tuple[date, date]:
    """The first and the last session of a backfill; raises InvalidInputError for what is no date."""
    one = tags.get(_PARTITION)
    first, last = tags.get(_PARTITION_RANGE_START) or one, tags.get(_PARTITION_RANGE_END) or one
    return _date(first or last or ""), _date(last or "")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"The partition '{text}' is no date such as 2024-07-03.") from None


def _refuse(text: str) -> Never:
    raise InvalidInputError(
        f"The tag {TICK} was '{text}'; it must be an instant such as 2024-07-03T13:30:00+00:00."
    )
