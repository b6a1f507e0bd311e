"""The tags that tell what a run is for; set by schedules and replays, shown in the Dagster UI."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Never

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.errors import InvalidInputError

JOB = "trading/job"
SESSION = "trading/session"
TICK = "trading/tick"
TRIGGER = "trading/trigger"
OUTCOME = "trading/outcome"

_ZONED = re.compile(r"(Z|[+-]\d\d:\d\d)$")
_PARENT_RUN = "dagster/parent_run_id"
_PARTITION = "dagster/partition"
_PARTITION_RANGE_END = "dagster/asset_partition_range_end"


def tick_tags(job_type: JobType, tick: datetime, session: str, trigger: ExecutionTrigger) -> dict[str, str]:
    """The tags of a run for one tick."""
    return {
        JOB: job_type.value,
        SESSION: session,
        TICK: tick.astimezone(UTC).isoformat(),
        TRIGGER: trigger.value,
    }


def trigger_of(tags: Mapping[str, str]) -> ExecutionTrigger:
    """What launched a run. One that is executed again carries the old tags but is a person's doing."""
    if TICK in tags and _PARENT_RUN not in tags:
        return ExecutionTrigger(tags.get(TRIGGER, ExecutionTrigger.SCHEDULE.value))
    is_backfill = _PARTITION in tags or _PARTITION_RANGE_END in tags
    return ExecutionTrigger.BACKFILL if is_backfill else ExecutionTrigger.MANUAL


def tick_of(tags: Mapping[str, str]) -> datetime:
    """The instant (UTC) a run with a tick is for; raises InvalidInputError for one that is none."""
    text = tags[TICK]
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if _ZONED.search(text) else _refuse(text)
    except ValueError:
        return _refuse(text)


def _refuse(text: str) -> Never:
    raise InvalidInputError(
        f"The tag {TICK} was '{text}'; it must be an instant such as 2024-07-03T13:30:00+00:00."
    )


def last_partition(tags: Mapping[str, str]) -> str | None:
    """The (last) session of a backfill."""
    return tags.get(_PARTITION_RANGE_END) or tags.get(_PARTITION)
