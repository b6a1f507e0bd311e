"""The six jobs: their names, when they run, what they count, and how patient their breakers are.

Every run loads this module, so it imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType


class JobType(StrEnum):
    """A job's one name: in the database, the command, tags and logs."""

    STRATEGY_EXECUTION = "strategy_execution"
    ORDER_STATUS_CHECK = "order_status_check"
    POSITION_SYNC = "position_sync"
    PRICE_UPDATE = "price_update"
    PORTFOLIO_SNAPSHOT = "portfolio_snapshot"
    ALERT_PRICE_CHECK = "alert_price_check"


class JobStatus(StrEnum):
    """A job's breaker, as a person reads it."""

    ENABLED = "enabled"  # closed: runs
    ERROR = "error"  # open: skips until retry_at
    PROBING = "probing"  # half open: one probe run decides
    DISABLED = "disabled"  # paused by a person


class ExecutionStatus(StrEnum):
    """Where one execution of a job stands."""

    STARTED = "started"  # holds the job's lease
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"  # refused at admission, with a reason


class ExecutionTrigger(StrEnum):
    """What launched an execution."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    BACKFILL = "backfill"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a job runs in a session: every so often from the open, or once after the close.

    `every` is None for a job that runs once, `after_close` after the close. Otherwise ticks lie `every`
    apart from the open to `after_close` past the close; `is_end_included` tells whether the very end is one.
    """

    every: timedelta | None
    after_close: timedelta = timedelta(0)
    is_end_included: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefaults:
    """What a job is, and the settings its row in `scheduled_jobs` starts with. Seconds end in `_s`.

    `stale_after_s` is None where a late tick is still worth running.
    """

    description: str
    cadence: Cadence
    counts: tuple[str, ...]
    failure_threshold: int
    probe_successes: int
    wait_base_s: int
    wait_cap_s: int
    stale_after_s: int | None
    lease_s: int
    missed_after_s: int


JOB_DEFAULTS: Mapping[JobType, JobDefaults] = MappingProxyType(
    {
        JobType.STRATEGY_EXECUTION: JobDefaults(
            description="Evaluates every enabled strategy, sizes its signals and sends trades to the broker.",
            cadence=Cadence(every=timedelta(minutes=15), is_end_included=False),
            counts=("portfolios", "signals", "trades", "rejected", "errors"),
            failure_threshold=2,
            probe_successes=2,
            wait_base_s=900,
            wait_cap_s=3600,
            stale_after_s=60,
            lease_s=300,
            missed_after_s=180,
        ),
        JobType.ORDER_STATUS_CHECK: JobDefaults(
            description="Asks the broker about every trade that is not final and books what it answers.",
            cadence=Cadence(every=timedelta(minutes=1), after_close=timedelta(minutes=5)),
            counts=("checked", "filled", "partially_filled", "cancelled", "rejected"),
            failure_threshold=5,
            probe_successes=2,
            wait_base_s=60,
            wait_cap_s=300,
            stale_after_s=30,
            lease_s=50,
            missed_after_s=180,
        ),
        JobType.POSITION_SYNC: JobDefaults(
            description="Compares the ledger with the broker's positions and cash; repairs each discrepancy.",
            cadence=Cadence(every=timedelta(minutes=5), after_close=timedelta(minutes=10)),
            counts=("portfolios", "compared", "discrepancies", "repaired"),
            failure_threshold=3,
            probe_successes=2,
            wait_base_s=300,
            wait_cap_s=900,
            stale_after_s=120,
            lease_s=240,
            missed_after_s=360,
        ),
        JobType.PRICE_UPDATE: JobDefaults(
            description="Fetches quotes of all held, traded and alerted symbols and marks the positions.",
            cadence=Cadence(every=timedelta(minutes=5)),
            counts=("symbols", "updated", "failed"),
            failure_threshold=3,
            probe_successes=2,
            wait_base_s=300,
            wait_cap_s=900,
            stale_after_s=120,
            lease_s=240,
            missed_after_s=360,
        ),
        JobType.PORTFOLIO_SNAPSHOT: JobDefaults(
            description="Values every portfolio at the session's close, one row per portfolio and session.",
            cadence=Cadence(every=None, after_close=timedelta(minutes=5)),
            counts=("portfolios", "snapshots"),
            failure_threshold=1,
            probe_successes=1,
            wait_base_s=300,
            wait_cap_s=1800,
            stale_after_s=None,
            lease_s=900,
            missed_after_s=900,
        ),
        JobType.ALERT_PRICE_CHECK: JobDefaults(
            description="Fires the price alerts whose condition the newest prices meet; each fires once.",
            cadence=Cadence(every=timedelta(minutes=5)),
            counts=("checked", "triggered"),
            failure_threshold=3,
            probe_successes=2,
            wait_base_s=300,
            wait_cap_s=900,
            stale_after_s=120,
            lease_s=240,
            missed_after_s=360,
        ),
    }
)
