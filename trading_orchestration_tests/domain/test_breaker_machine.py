"""A breaker under every order of runs, crashes, people and hours, against rules that must always hold."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trading_orchestration.domain.breaker import (
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

ALLOWED_MOVES = {
    (JobStatus.ENABLED, JobStatus.ERROR),
    (JobStatus.ERROR, JobStatus.PROBING),
    (JobStatus.PROBING, JobStatus.ENABLED),
    (JobStatus.PROBING, JobStatus.ERROR),
}
MOVES_OF_PEOPLE = {
    (old, new) for old in JobStatus for new in (JobStatus.ENABLED, JobStatus.ERROR, JobStatus.DISABLED)
}


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = BreakerState()
        self.settings = BreakerSettings(
            failure_threshold=3, probe_successes=2, wait_base_s=60, wait_cap_s=300
        )
        self.now = datetime(2024, 7, 3, 14, 0, tzinfo=UTC)
        self.running: list[str] = []
        self.probes: set[str] = set()  # admitted as a probe, not reported, lease not lost
        self.runs = 0

    def note(self, state: BreakerState, transition: Transition | None, *, by_person: bool = False) -> None:
        old, new = self.state.job_status, state.job_status
        assert (transition is None) == (old is new)
        if transition is not None:
            assert (transition.old, transition.new) == (old, new)
            assert transition.reason
            assert (old, new) in (MOVES_OF_PEOPLE if by_person else ALLOWED_MOVES)
        if new is not JobStatus.PROBING:
            self.probes.clear()
        self.state = state

    @rule(seconds=st.sampled_from([1, 30, 61, 301, 3601]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(is_manual=st.booleans(), probe_expired=st.booleans())
    def a_run_asks(self, is_manual: bool, probe_expired: bool) -> None:
        self.runs += 1
        run_id = f"run-{self.runs}"
        before = self.state
        admission = admit(
            before, at=self.now, run_id=run_id, is_manual=is_manual, probe_expired=probe_expired
        )
        assert admission.reason
        if probe_expired:
            self.probes.discard(before.probe_run_id or "")
        if not admission.allowed:
            assert admission.state == before
            assert admission.transition is None
            assert before.job_status is not JobStatus.ENABLED
            return
        assert before.job_status is not JobStatus.DISABLED
        assert admission.is_probe == (before.job_status is not JobStatus.ENABLED)
        if before.job_status is JobStatus.ERROR and not is_manual:
            assert not before.needs_person
            assert before.retry_at is not None
            assert self.now >= before.retry_at
        self.note(admission.state, admission.transition)
        self.running.append(run_id)
        if admission.is_probe:
            self.probes.add(run_id)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_run_succeeds(self, data: st.DataObject) -> None:
        run_id = self.finish(data)
        state, transition = record_success(self.state, self.settings, at=self.now, run_id=run_id)
        assert state.consecutive_failures == 0
        if transition is not None:
            assert run_id == self.state.probe_run_id
        self.note(state, transition)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), kind=st.sampled_from(FailureKind), jitter=st.floats(0, 1, exclude_max=True))
    def a_run_fails(self, data: st.DataObject, kind: FailureKind, jitter: float) -> None:
        run_id = self.finish(data)
        before = self.state
        state, transition = record_failure(
            before,
            self.settings,
            at=self.now,
            run_id=run_id,
            kind=kind,
            error="down",
            jitter=jitter,
            after_session_time=lambda at, seconds: at + timedelta(seconds=seconds),
        )
        assert state.consecutive_failures == before.consecutive_failures + 1
        if kind is FailureKind.MISCONFIGURATION and before.job_status is not JobStatus.DISABLED:
            assert (state.job_status, state.needs_person) == (JobStatus.ERROR, True)
        if transition is not None and state.retry_at is not None:
            assert timedelta(seconds=45) <= state.retry_at - self.now <= timedelta(seconds=300)
        self.note(state, transition)

    @rule(change=st.sampled_from([reset, trip, pause, resume]))
    def a_person_acts(self, change: type(reset)) -> None:  # type: ignore[valid-type]
        state, transition = change(self.state, at=self.now, actor="ada", reason="because")
        self.note(state, transition, by_person=True)

    def finish(self, data: st.DataObject) -> str:
        run_id = data.draw(st.sampled_from(self.running))
        self.running.remove(run_id)
        self.probes.discard(run_id)
        return run_id

    @invariant()
    def there_is_at_most_one_probe(self) -> None:
        assert len(self.probes) <= 1
        if self.probes:
            assert self.probes == {self.state.probe_run_id}

    @invariant()
    def the_row_satisfies_the_constraints_of_its_table(self) -> None:
        state = self.state
        assert state.job_status is not JobStatus.ERROR or state.retry_at is not None or state.needs_person
        assert len(state.recent_outcomes) <= 20
        assert min(state.consecutive_failures, state.half_open_successes, state.open_count) >= 0

    @invariant()
    def only_a_half_open_breaker_has_a_probe_or_probe_successes(self) -> None:
        if self.state.job_status is not JobStatus.PROBING:
            assert self.state.probe_run_id is None
            assert self.state.half_open_successes == 0

    @invariant()
    def a_closed_breaker_waits_for_nothing(self) -> None:
        if self.state.job_status is JobStatus.ENABLED:
            assert self.state.retry_at is None
            assert not self.state.needs_person
            assert self.state.consecutive_failures < self.settings.failure_threshold


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_the_rules_hold_in_every_order = BreakerMachine.TestCase


def test_the_state_has_the_breakers_columns() -> None:
    """The names that the migration gives them, so that a row becomes a state without a table of names."""
    from importlib import resources
    from pathlib import Path

    migration = Path(str(resources.files("trading_orchestration.sql"))) / "migrations/0001_initial.sql"
    table = migration.read_text().split("CREATE TABLE scheduled_jobs (")[1].split("CREATE TABLE")[0]
    for name in (*(field.name for field in fields(BreakerState)), *(f.name for f in fields(BreakerSettings))):
        assert f"    {name} " in table
