from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from trading_orchestration.domain.breaker import (
    Admission,
    BreakerSettings,
    BreakerState,
    FailureKind,
    Transition,
    admit,
    pause,
    record_failure,
    record_success,
    reset,
    resume,
    trip,
)
from trading_orchestration.domain.job import JobStatus
from trading_orchestration.errors import InvalidInputError
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK, new_york

NOON = datetime(2024, 7, 3, 16, 0, tzinfo=UTC)
SETTINGS = BreakerSettings(failure_threshold=3, probe_successes=2, wait_base_s=300, wait_cap_s=900)
MINUTE = timedelta(minutes=1)
Change = Callable[..., tuple[BreakerState, Transition | None]]


def wall_clock(instant: datetime, seconds: float) -> datetime:
    return instant + timedelta(seconds=seconds)


def fail(
    state: BreakerState,
    *,
    at: datetime = NOON,
    run_id: str = "run",
    kind: FailureKind = FailureKind.INFRASTRUCTURE,
    settings: BreakerSettings = SETTINGS,
    jitter: float = 0.0,
    times: int = 1,
) -> BreakerState:
    for _ in range(times):
        state, _ = record_failure(
            state,
            settings,
            at=at,
            run_id=run_id,
            kind=kind,
            error="no route to host",
            jitter=jitter,
            after_session_time=wall_clock,
        )
    return state


def succeed(state: BreakerState, *, at: datetime = NOON, run_id: str = "run", times: int = 1) -> BreakerState:
    for _ in range(times):
        state, _ = record_success(state, SETTINGS, at=at, run_id=run_id)
    return state


def probe(state: BreakerState, *, run_id: str = "probe") -> BreakerState:
    """Let a run in as the probe, once the wait is over."""
    at = state.retry_at or NOON
    admission = admit(state, at=at, run_id=run_id)
    assert admission.allowed
    assert admission.is_probe
    return admission.state


OPEN = fail(BreakerState(), times=3)
PROBING = probe(OPEN)


def test_a_new_breaker_is_closed_and_lets_everything_in() -> None:
    admission = admit(BreakerState(), at=NOON, run_id="run")
    assert admission == Admission(True, False, "The breaker is closed.", BreakerState())


def test_it_opens_after_the_threshold_of_failures_in_a_row() -> None:
    assert fail(BreakerState(), times=2).job_status is JobStatus.ENABLED
    state, transition = record_failure(
        fail(BreakerState(), times=2),
        SETTINGS,
        at=NOON,
        run_id="run",
        kind=FailureKind.INFRASTRUCTURE,
        error="no route to host",
        jitter=0,
        after_session_time=wall_clock,
    )
    assert transition == Transition(
        JobStatus.ENABLED, JobStatus.ERROR, "3 failures in a row, the last: no route to host"
    )
    assert (state.job_status, state.opened_at, state.open_count) == (JobStatus.ERROR, NOON, 1)
    assert (state.last_failure_at, state.last_error) == (NOON, "no route to host")


def test_a_success_sets_the_count_to_zero() -> None:
    state = succeed(fail(BreakerState(), times=2))
    assert state.consecutive_failures == 0
    assert fail(state, times=2).job_status is JobStatus.ENABLED


def alternating(runs: int) -> BreakerState:
    """Success, failure, success, …: half of the runs fail and never two in a row."""
    state = BreakerState()
    for number in range(runs):
        state = fail(state) if number % 2 else succeed(state)
    return state


def test_it_opens_when_half_of_at_least_ten_runs_failed() -> None:
    assert alternating(9).job_status is JobStatus.ENABLED
    assert alternating(10).job_status is JobStatus.ERROR


def test_it_stays_closed_when_less_than_half_of_the_runs_failed() -> None:
    state = BreakerState()
    for number in range(60):
        state = fail(state) if number % 5 in (1, 3) else succeed(state)
    assert state.job_status is JobStatus.ENABLED
    assert len(state.recent_outcomes) == 20


def test_the_failure_rate_looks_back_on_twenty_runs_only() -> None:
    ten_of_twenty = fail(BreakerState(recent_outcomes=(False,) * 9 + (True,) * 10))
    nine_of_twenty = fail(BreakerState(recent_outcomes=(False,) * 9 + (True,) * 11))
    assert ten_of_twenty.job_status is JobStatus.ERROR
    assert nine_of_twenty.job_status is JobStatus.ENABLED


@pytest.mark.parametrize(("minutes", "allowed"), [(0, False), (4, False), (5, True), (60, True)])
def test_an_open_breaker_refuses_until_retry_at(minutes: int, allowed: bool) -> None:
    admission = admit(OPEN, at=NOON + minutes * MINUTE, run_id="run")
    assert (admission.allowed, admission.is_probe) == (allowed, allowed)


def test_the_refusal_tells_until_when_and_why() -> None:
    admission = admit(OPEN, at=NOON, run_id="run")
    assert admission.reason == (
        "The breaker is open until 2024-07-03 16:05:00 UTC. The last error: no route to host"
    )
    assert admission.state == OPEN
    assert admission.transition is None


def test_a_probe_half_opens_the_breaker_and_keeps_others_out() -> None:
    admission = admit(OPEN, at=NOON + 5 * MINUTE, run_id="probe")
    assert admission.transition == Transition(
        JobStatus.ERROR, JobStatus.PROBING, "The wait is over; one run probes."
    )
    other = admit(admission.state, at=NOON + 6 * MINUTE, run_id="other")
    assert not other.allowed
    assert "run probe is its probe" in other.reason
    assert other.state == admission.state


def test_the_probe_may_ask_again() -> None:
    again = admit(PROBING, at=NOON, run_id="probe")
    assert (again.allowed, again.is_probe, again.state) == (True, True, PROBING)


def test_a_run_by_hand_is_the_probe_of_an_open_breaker() -> None:
    admission = admit(OPEN, at=NOON, run_id="by-hand", is_manual=True)
    assert (admission.allowed, admission.is_probe) == (True, True)
    assert admission.state.probe_run_id == "by-hand"


def test_a_run_by_hand_waits_for_the_probe_in_flight() -> None:
    assert not admit(PROBING, at=NOON, run_id="by-hand", is_manual=True).allowed


def test_a_probe_that_lost_its_lease_gives_way_to_another() -> None:
    admission = admit(PROBING, at=NOON, run_id="second", probe_expired=True)
    assert (admission.allowed, admission.state.probe_run_id) == (True, "second")
    late = succeed(admission.state, run_id="probe", times=5)
    assert (late.job_status, late.half_open_successes) == (JobStatus.PROBING, 0)


def test_it_closes_after_enough_probes_succeeded() -> None:
    once = succeed(PROBING, run_id="probe")
    assert (once.job_status, once.half_open_successes, once.probe_run_id) == (JobStatus.PROBING, 1, None)
    later = NOON + 10 * MINUTE
    state, transition = record_success(probe(once), SETTINGS, at=later, run_id="probe")
    assert transition == Transition(JobStatus.PROBING, JobStatus.ENABLED, "2 probes in a row succeeded.")
    assert (state.job_status, state.closed_at) == (JobStatus.ENABLED, later)
    assert (state.consecutive_failures, state.half_open_successes, state.recent_outcomes) == (0, 0, ())
    assert (state.retry_at, state.probe_run_id) == (None, None)


def test_one_probe_is_enough_where_the_setting_says_so() -> None:
    settings = replace(SETTINGS, probe_successes=1)
    _, transition = record_success(PROBING, settings, at=NOON, run_id="probe")
    assert transition == Transition(JobStatus.PROBING, JobStatus.ENABLED, "The probe succeeded.")


def test_the_failures_that_opened_it_do_not_open_it_again() -> None:
    closed = succeed(probe(succeed(PROBING, run_id="probe")), run_id="probe")
    assert fail(closed, times=2).job_status is JobStatus.ENABLED


def test_a_failed_probe_opens_it_again_for_longer() -> None:
    state = fail(PROBING, run_id="probe")
    assert (state.job_status, state.open_count, state.half_open_successes) == (JobStatus.ERROR, 2, 0)
    assert state.retry_at == NOON + 10 * MINUTE


def test_waits_double_up_to_the_cap() -> None:
    state, waits = OPEN, []
    for _ in range(40):
        assert state.retry_at is not None
        waits.append((state.retry_at - NOON) / MINUTE)
        state = fail(probe(state), run_id="probe")
    assert waits[:4] == [5, 10, 15, 15]
    assert set(waits[2:]) == {15}


@pytest.mark.parametrize(("jitter", "wait_s"), [(0.0, 300), (0.5, 262.5), (1.0, 225)])
def test_jitter_shortens_a_wait_by_up_to_a_quarter(jitter: float, wait_s: float) -> None:
    """Never longer: the tick that lies one wait ahead must not be missed."""
    state = fail(BreakerState(), times=3, jitter=jitter)
    assert state.retry_at == NOON + timedelta(seconds=wait_s)


def test_waits_run_in_session_time() -> None:
    """Three minutes before the early close of 2024-07-03; the next session is on the 5th."""
    state, _ = record_failure(
        fail(BreakerState(), times=2),
        SETTINGS,
        at=new_york("2024-07-03 12:57"),
        run_id="run",
        kind=FailureKind.INFRASTRUCTURE,
        error="down",
        jitter=0,
        after_session_time=INDEPENDENCE_WEEK.add_session_time,
    )
    assert state.retry_at == new_york("2024-07-05 09:32")


@pytest.mark.parametrize(("minutes", "open_count"), [(59, 1), (60, 0)])
def test_earlier_openings_are_forgotten_after_a_healthy_hour(minutes: int, open_count: int) -> None:
    closed = succeed(probe(succeed(PROBING, run_id="probe")), run_id="probe")
    assert succeed(closed, at=NOON + minutes * MINUTE).open_count == open_count


def test_an_hour_with_a_failure_is_not_healthy() -> None:
    closed = succeed(probe(succeed(PROBING, run_id="probe")), run_id="probe")
    failed = fail(closed, at=NOON + 30 * MINUTE)
    assert succeed(failed, at=NOON + 61 * MINUTE).open_count == 1
    assert succeed(failed, at=NOON + 90 * MINUTE).open_count == 0


def test_a_misconfiguration_opens_it_at_once_until_a_person_acts() -> None:
    state = fail(BreakerState(), kind=FailureKind.MISCONFIGURATION)
    assert (state.job_status, state.needs_person, state.retry_at) == (JobStatus.ERROR, True, None)
    admission = admit(state, at=NOON + timedelta(days=365), run_id="run")
    assert not admission.allowed
    assert admission.reason.startswith("The breaker is open until a person resets it.")


def test_a_run_by_hand_tries_out_a_mended_configuration() -> None:
    state = fail(BreakerState(), kind=FailureKind.MISCONFIGURATION)
    probing = admit(state, at=NOON, run_id="by-hand", is_manual=True).state
    still_wrong = fail(probing, run_id="by-hand")
    assert (still_wrong.needs_person, still_wrong.retry_at) == (True, None)
    mended = succeed(probing, run_id="by-hand")
    assert (mended.job_status, mended.needs_person) == (JobStatus.PROBING, False)


def test_a_run_that_started_before_it_opened_moves_nothing() -> None:
    assert succeed(OPEN, run_id="straggler").job_status is JobStatus.ERROR
    late = fail(OPEN, at=NOON + 2 * MINUTE, run_id="straggler")
    assert (late.retry_at, late.open_count) == (OPEN.retry_at, OPEN.open_count)
    assert fail(PROBING, run_id="straggler").job_status is JobStatus.PROBING


@pytest.mark.parametrize("state", [BreakerState(), OPEN, PROBING, fail(BreakerState(), times=2)])
def test_a_reset_closes_and_forgets(state: BreakerState) -> None:
    after, transition = reset(state, at=NOON, actor="ada", reason="the line is mended")
    assert after.job_status is JobStatus.ENABLED
    assert (after.consecutive_failures, after.open_count, after.recent_outcomes) == (0, 0, ())
    assert (after.retry_at, after.needs_person, after.probe_run_id) == (None, False, None)
    expected = Transition(state.job_status, JobStatus.ENABLED, "the line is mended", "ada")
    assert transition == (None if state.job_status is JobStatus.ENABLED else expected)


@pytest.mark.parametrize("state", [BreakerState(), PROBING])
def test_a_trip_opens_it_until_a_person_resets_it(state: BreakerState) -> None:
    tripped, transition = trip(state, at=NOON, actor="ada", reason="odd prices")
    assert transition == Transition(state.job_status, JobStatus.ERROR, "odd prices", "ada")
    assert (tripped.needs_person, tripped.probe_run_id) == (True, None)
    assert not admit(tripped, at=NOON + timedelta(days=9), run_id="run").allowed


def test_a_paused_job_runs_for_nobody_until_it_is_resumed() -> None:
    paused, transition = pause(OPEN, at=NOON, actor="ada", reason="maintenance")
    assert transition == Transition(JobStatus.ERROR, JobStatus.DISABLED, "maintenance", "ada")
    assert not admit(paused, at=NOON + timedelta(days=9), run_id="run", is_manual=True).allowed
    resumed, transition = resume(paused, at=NOON, actor="ada", reason="done")
    assert transition == Transition(JobStatus.DISABLED, JobStatus.ENABLED, "done", "ada")
    assert admit(resumed, at=NOON, run_id="run").allowed


def test_a_paused_job_stays_paused_whatever_its_last_run_reports() -> None:
    paused, _ = pause(PROBING, at=NOON, actor="ada", reason="maintenance")
    for after in (
        succeed(paused, run_id="probe", times=3),
        fail(paused, run_id="probe", times=20),
        fail(paused, run_id="probe", kind=FailureKind.MISCONFIGURATION),
        reset(paused, at=NOON, actor="ada", reason="x")[0],
        trip(paused, at=NOON, actor="ada", reason="x")[0],
        pause(paused, at=NOON, actor="ada", reason="x")[0],
    ):
        assert after.job_status is JobStatus.DISABLED


def test_resuming_what_is_not_paused_changes_nothing() -> None:
    assert resume(OPEN, at=NOON, actor="ada", reason="x") == (OPEN, None)


@pytest.mark.parametrize("change", [reset, trip, pause, resume])
@pytest.mark.parametrize(("actor", "reason"), [("", "x"), ("ada", " ")])
def test_a_person_says_who_and_why(change: Change, actor: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match="is empty"):
        change(OPEN, at=NOON, actor=actor, reason=reason)
