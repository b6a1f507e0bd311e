"""What people do to jobs: close and open breakers, pause, resume, change settings; each with who and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trading_orchestration.domain import breaker
from trading_orchestration.domain.breaker import BreakerState, Transition
from trading_orchestration.domain.job import JobStatus, JobType
from trading_orchestration.domain.market_time import Clock
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import job_settings, jobs
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection, Engine, transaction
from trading_orchestration.store.jobs import ScheduledJob

Move = Callable[..., tuple[BreakerState, Transition | None]]
#: What has no limit may be switched off.
_OPTIONAL = frozenset({"stale_after_s"})
#: More is a slip of the hand: eleven days, in seconds.
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class JobControl:
    """The jobs in a person's hands. Every call raises InvalidInputError for an empty actor or reason."""

    engine: Engine
    clock: Clock

    def reset(self, job_type: JobType, *, actor: str, reason: str) -> JobStatus:
        """Close a breaker and forget its failures; answers the job's status. A paused job stays paused."""
        return self._move(job_type, breaker.reset, actor, reason)

    def trip(self, job_type: JobType, *, actor: str, reason: str) -> JobStatus:
        """Open a breaker until a person resets it; answers the job's status."""
        return self._move(job_type, breaker.trip, actor, reason)

    def pause(self, job_type: JobType, *, actor: str, reason: str) -> JobStatus:
        """Stop a job until it is resumed; not even a run by hand starts. Answers its status."""
        return self._move(job_type, breaker.pause, actor, reason)

    def resume(self, job_type: JobType, *, actor: str, reason: str) -> JobStatus:
        """End a pause, with a closed breaker; answers the job's status."""
        return self._move(job_type, breaker.resume, actor, reason)

    def change_settings(
        self, job_type: JobType, settings: Mapping[str, int | None], *, actor: str, reason: str
    ) -> dict[str, int | None]:
        """Change settings of a job, all or none; answers all of them as they are then.

        Raises InvalidInputError for a setting that is none, and a value that is out of its bounds.
        """
        _require(actor=actor, reason=reason)
        with transaction(self.engine) as connection:
            jobs.hold_job(connection, job_type)
            before = job_settings.read_settings(connection, job_type)
            after = _changed(before, settings)
            job_settings.save_settings(connection, job_type, after)
            for name in (name for name in after if after[name] != before[name]):
                job_settings.add_change(
                    connection,
                    job_type,
                    name,
                    old=before[name],
                    new=after[name],
                    actor=actor,
                    reason=reason,
                    at=self.clock(),
                )
        return after

    def settings(self, job_type: JobType) -> dict[str, int | None]:
        """The settings of a job; those that end in `_s` are seconds."""
        with transaction(self.engine) as connection:
            return job_settings.read_settings(connection, job_type)

    def audit_trail(self, job_type: JobType, *, limit: int = 50) -> list[dict[str, Any]]:
        """Breaker moves and changed settings, newest first: what, who, why, when."""
        with transaction(self.engine) as connection:
            moves = [dict(row) for row in jobs.breaker_events(connection, job_type, limit=limit)]
            changed = [dict(row) for row in job_settings.changes(connection, job_type, limit=limit)]
        return sorted((*moves, *changed), key=lambda row: row["at"], reverse=True)[:limit]

    def _move(self, job_type: JobType, move: Move, actor: str, reason: str) -> JobStatus:
        with transaction(self.engine) as connection:
            job, at = jobs.hold_job(connection, job_type), self.clock()
            state, transition = move(job.breaker, at=at, actor=actor, reason=reason)
            save_move(connection, job, state, transition, run_id=None, at=at)
            return state.job_status


def save_move(
    connection: Connection,
    job: ScheduledJob,
    state: BreakerState,
    transition: Transition | None,
    *,
    run_id: str | None,
    at: datetime,
) -> None:
    """Write a breaker's new state, with an event and a notification where its status changed."""
    if state != job.breaker:
        jobs.save_breaker(connection, job.job_type, state)
    if transition is None:
        return
    event_id = jobs.add_breaker_event(connection, job.job_type, transition, run_id=run_id, at=at)
    severity = Severity.CRITICAL if transition.new is JobStatus.ERROR else Severity.INFO
    message = Notification(
        severity=severity,
        kind="breaker",
        title=f"{job.job_type} {_became(transition)}",
        body=transition.reason.rstrip(".") + _retry(job.job_type, state, transition),
        dedupe_key=f"breaker:{event_id}",
    )
    add_notifications(connection, [message], at=at)


def _retry(job_type: JobType, state: BreakerState, transition: Transition) -> str:
    if transition.new is not JobStatus.ERROR:
        return "."
    if state.retry_at is None:
        return f". It waits for `trading jobs reset {job_type}`."
    return f". It is tried again at {state.retry_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."


def _became(transition: Transition) -> str:
    """What a breaker's move means to a person, after the name of the job."""
    match transition.old, transition.new:
        case JobStatus.PROBING, JobStatus.ERROR:
            return "stays stopped: its probe failed"
        case _, JobStatus.ERROR:
            return "is stopped: its breaker is open"
        case _, JobStatus.PROBING:
            return "is tried again: one probe decides"
        case _, JobStatus.DISABLED:
            return f"was paused by {transition.actor}"
        case JobStatus.DISABLED, _:
            return f"was resumed by {transition.actor}"
        case JobStatus.PROBING, _:
            return "runs again: its breaker is closed"
        case _:
            return f"runs again: {transition.actor} reset its breaker"


def _changed(before: Mapping[str, int | None], settings: Mapping[str, int | None]) -> dict[str, int | None]:
    for name, value in settings.items():
        if name not in before:
            raise InvalidInputError(f"There is no setting '{name}'; there are: {', '.join(before)}.")
        if value is None and name not in _OPTIONAL:
            raise InvalidInputError(f"{name} was empty; it needs a number above 0.")
        if value is not None and not 0 < value <= _MOST:
            bound = "above 0" if value <= 0 else f"at most {_MOST:,}"
            raise InvalidInputError(f"{name} was {value}; it must be {bound}.")
    after = {**before, **settings}
    base, cap = after["wait_base_s"] or 0, after["wait_cap_s"] or 0
    if base > cap:
        raise InvalidInputError(f"wait_base_s was {base}; it must not be above wait_cap_s, which is {cap}.")
    return after


def _require(*, actor: str, reason: str) -> None:
    for name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidInputError(f"The {name} is empty; say who changes the job and why.")
