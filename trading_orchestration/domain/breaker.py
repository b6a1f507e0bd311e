"""The circuit breaker of a job, as a pure state machine.

closed (`enabled`)     → open after too many failures
open (`error`)         → half open when `retry_at` has come: one probe run decides
half open (`probing`)  → closed after enough probes succeeded, → open when one fails
paused (`disabled`)    by a person, until a person resumes it

The state mirrors the breaker's columns of `scheduled_jobs`. Every function returns a new state and the
transition it made, or None. The caller holds the job's row, so that of many processes one gets the probe.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from trading_orchestration.domain.job import JobStatus
from trading_orchestration.errors import InvalidInputError

#: How many outcomes the failure rate looks back on, and how many it needs before it says anything.
WINDOW = 20
WINDOW_MIN = 10
FAILURE_RATE_MAX = 0.5
#: A breaker that stayed closed without a failure for so long waits from the base again.
HEALTHY_AFTER = timedelta(hours=1)
#: Jitter takes up to this share off a wait: never onto it, or the tick that lies one wait ahead is missed.
JITTER_SHARE = 0.25

AfterSessionTime = Callable[[datetime, float], datetime]


class FailureKind(StrEnum):
    """Why a run failed, as far as the breaker cares."""

    INFRASTRUCTURE = "infrastructure"  # may work later
    MISCONFIGURATION = "misconfiguration"  # a person must mend it


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """What a person may change about a breaker. Waits are seconds of session time."""

    failure_threshold: int
    probe_successes: int
    wait_base_s: int
    wait_cap_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The breaker's columns of `scheduled_jobs`. Instants are UTC.

    `recent_outcomes` is newest last, True for a success. `open_count` is how often it opened lately,
    `opened_at` when it opened or was paused last.
    `needs_person`: it opened for a reason that time does not mend; only a person gets it going again.
    """

    job_status: JobStatus = JobStatus.ENABLED
    consecutive_failures: int = 0
    half_open_successes: int = 0
    open_count: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    closed_at: datetime | None = None
    recent_outcomes: tuple[bool, ...] = ()
    needs_person: bool = False
    probe_run_id: str | None = None
    last_failure_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of the breaker's status, as `breaker_events` records it."""

    old: JobStatus
    new: JobStatus
    reason: str
    actor: str = "breaker"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a run may start, and the state afterwards. `reason` says why not, or why as a probe."""

    allowed: bool
    is_probe: bool
    reason: str
    state: BreakerState
    transition: Transition | None = None


def admit(
    state: BreakerState,
    *,
    at: datetime,
    run_id: str,
    is_manual: bool = False,
    probe_expired: bool = False,
) -> Admission:
    """Ask whether a run may start at the instant.

    A run launched by hand passes an open breaker as its probe, whatever `retry_at` says. `probe_expired`:
    the run that holds the probe lost its lease, so that another may have it.
    """
    match state.job_status:
        case JobStatus.ENABLED:
            return Admission(allowed=True, is_probe=False, reason="The breaker is closed.", state=state)
        case JobStatus.DISABLED:
            why = f" {state.last_error}" if state.last_error else ""
            return _refuse(state, f"The job is paused; a person resumes it.{why}")
        case JobStatus.PROBING:
            return _admit_while_probing(state, run_id=run_id, probe_expired=probe_expired)
        case JobStatus.ERROR:
            return _admit_while_open(state, at=at, run_id=run_id, is_manual=is_manual)


def record_success(
    state: BreakerState, settings: BreakerSettings, *, at: datetime, run_id: str
) -> tuple[BreakerState, Transition | None]:
    """Take note that a run succeeded. Only the probe's success moves a breaker that is not closed."""
    noted = replace(state, consecutive_failures=0, recent_outcomes=(*state.recent_outcomes, True)[-WINDOW:])
    if state.job_status is JobStatus.ENABLED and _is_healthy(state, at):
        return replace(noted, open_count=0), None
    if state.job_status is not JobStatus.PROBING or state.probe_run_id != run_id:
        return noted, None
    successes = state.half_open_successes + 1
    if successes < settings.probe_successes:
        return replace(noted, half_open_successes=successes, probe_run_id=None, needs_person=False), None
    reason = "The probe succeeded." if successes == 1 else f"{successes} probes in a row succeeded."
    return _closed(noted, at), Transition(state.job_status, JobStatus.ENABLED, reason)


def record_failure(
    state: BreakerState,
    settings: BreakerSettings,
    *,
    at: datetime,
    run_id: str,
    kind: FailureKind,
    error: str,
    jitter: float,
    after_session_time: AfterSessionTime,
) -> tuple[BreakerState, Transition | None]:
    """Take note that a run failed, and open the breaker where the rules say so.

    `jitter` in [0, 1) shortens the wait by up to a quarter. `after_session_time(instant, seconds)` tells when
    the market has been open for so many seconds more.
    """
    noted = replace(
        state,
        consecutive_failures=state.consecutive_failures + 1,
        recent_outcomes=(*state.recent_outcomes, False)[-WINDOW:],
        needs_person=state.needs_person or kind is FailureKind.MISCONFIGURATION,
        last_failure_at=at,
        last_error=error,
    )
    reason = _why_open(noted, settings, run_id=run_id, kind=kind, error=error)
    if reason is None:
        return noted, None
    wait_s = _wait_s(settings, open_count=state.open_count, jitter=jitter)
    opened = replace(
        noted,
        job_status=JobStatus.ERROR,
        half_open_successes=0,
        open_count=state.open_count + 1,
        opened_at=at,
        retry_at=None if noted.needs_person else after_session_time(at, wait_s),
        probe_run_id=None,
    )
    return opened, _transition(state.job_status, JobStatus.ERROR, reason)


def release_probe(state: BreakerState, *, run_id: str) -> BreakerState:
    """Take note that a run ended in a way that says nothing about the job; as a probe it makes room."""
    return replace(state, probe_run_id=None) if state.probe_run_id == run_id else state


def reset(
    state: BreakerState, *, at: datetime, actor: str, reason: str
) -> tuple[BreakerState, Transition | None]:
    """Close the breaker and forget its failures. A paused job stays paused."""
    _require(actor=actor, reason=reason)
    if state.job_status is JobStatus.DISABLED:
        return replace(_closed(state, at), job_status=JobStatus.DISABLED, open_count=0), None
    return replace(_closed(state, at), open_count=0), _transition(
        state.job_status, JobStatus.ENABLED, reason, actor
    )


def trip(
    state: BreakerState, *, at: datetime, actor: str, reason: str
) -> tuple[BreakerState, Transition | None]:
    """Open the breaker by hand; it stays open until a person resets it. A paused job stays paused.

    Who and why is told with every skip, in the place of the last error.
    """
    _require(actor=actor, reason=reason)
    if state.job_status is JobStatus.DISABLED:
        return state, None
    tripped = replace(
        state,
        job_status=JobStatus.ERROR,
        half_open_successes=0,
        opened_at=at,
        retry_at=None,
        needs_person=True,
        probe_run_id=None,
        last_error=f"{actor} opened it by hand: {reason}",
    )
    return tripped, _transition(state.job_status, JobStatus.ERROR, reason, actor)


def pause(
    state: BreakerState, *, at: datetime, actor: str, reason: str
) -> tuple[BreakerState, Transition | None]:
    """Stop the job until `resume`; not even a run by hand starts. Who and why is told with every skip."""
    _require(actor=actor, reason=reason)
    paused = replace(
        state,
        job_status=JobStatus.DISABLED,
        half_open_successes=0,
        opened_at=at,
        retry_at=None,
        probe_run_id=None,
        last_error=f"{actor} paused it: {reason}",
    )
    return paused, _transition(state.job_status, JobStatus.DISABLED, reason, actor)


def resume(
    state: BreakerState, *, at: datetime, actor: str, reason: str
) -> tuple[BreakerState, Transition | None]:
    """End a pause with a closed breaker. A job that is not paused stays as it is."""
    _require(actor=actor, reason=reason)
    if state.job_status is not JobStatus.DISABLED:
        return state, None
    return _closed(state, at), Transition(state.job_status, JobStatus.ENABLED, reason, actor)


def _admit_while_probing(state: BreakerState, *, run_id: str, probe_expired: bool) -> Admission:
    if state.probe_run_id not in (None, run_id) and not probe_expired:
        return _refuse(state, f"The breaker is half open and run {state.probe_run_id} is its probe.")
    return Admission(
        allowed=True,
        is_probe=True,
        reason="The breaker is half open; this run is its probe.",
        state=replace(state, probe_run_id=run_id),
    )


def _admit_while_open(state: BreakerState, *, at: datetime, run_id: str, is_manual: bool) -> Admission:
    error = f" The last error: {state.last_error}" if state.last_error else ""
    if not is_manual and state.needs_person:
        return _refuse(state, f"The breaker is open until a person resets it.{error}")
    if not is_manual and (state.retry_at is None or at < state.retry_at):
        return _refuse(state, f"The breaker is open until {state.retry_at:%Y-%m-%d %H:%M:%S} UTC.{error}")
    reason = "A person launched a probe." if is_manual else "The wait is over; one run probes."
    probing = replace(
        state, job_status=JobStatus.PROBING, half_open_successes=0, retry_at=None, probe_run_id=run_id
    )
    return Admission(
        allowed=True,
        is_probe=True,
        reason=reason,
        state=probing,
        transition=Transition(state.job_status, JobStatus.PROBING, reason),
    )


def _refuse(state: BreakerState, reason: str) -> Admission:
    return Admission(allowed=False, is_probe=False, reason=reason, state=state)


def _why_open(
    noted: BreakerState, settings: BreakerSettings, *, run_id: str, kind: FailureKind, error: str
) -> str | None:
    """The reason to open (again), given a state in which the failure is noted already."""
    if noted.job_status is JobStatus.DISABLED:
        return None
    if kind is FailureKind.MISCONFIGURATION:
        return f"A person must mend this: {error}"
    if noted.job_status is JobStatus.PROBING:
        return f"The probe failed: {error}" if noted.probe_run_id == run_id else None
    if noted.job_status is JobStatus.ERROR:
        return None
    if noted.consecutive_failures >= settings.failure_threshold:
        return f"{noted.consecutive_failures} failures in a row, the last: {error}"
    failures, runs = noted.recent_outcomes.count(False), len(noted.recent_outcomes)
    if runs >= WINDOW_MIN and failures >= FAILURE_RATE_MAX * runs:
        return f"{failures} of the last {runs} runs failed, the last: {error}"
    return None


def _wait_s(settings: BreakerSettings, *, open_count: int, jitter: float) -> float:
    """base × 2^opens, capped, less a jitter that keeps many installations from probing at one instant."""
    wait = min(settings.wait_cap_s, settings.wait_base_s << min(open_count, 30))
    return wait * (1 - JITTER_SHARE * jitter)


def _is_healthy(state: BreakerState, at: datetime) -> bool:
    since = max(filter(None, (state.closed_at, state.last_failure_at)), default=None)
    return since is not None and at - since >= HEALTHY_AFTER


def _closed(state: BreakerState, at: datetime) -> BreakerState:
    """Closed, with an empty window: the failures that opened it do not open it again."""
    return replace(
        state,
        job_status=JobStatus.ENABLED,
        consecutive_failures=0,
        half_open_successes=0,
        retry_at=None,
        closed_at=at,
        recent_outcomes=(),
        needs_person=False,
        probe_run_id=None,
    )


def _transition(old: JobStatus, new: JobStatus, reason: str, actor: str = "breaker") -> Transition | None:
    return None if old is new else Transition(old, new, reason, actor)


def _require(*, actor: str, reason: str) -> None:
    for name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            raise InvalidInputError(f"The {name} is empty; say who changes the breaker and why.")
