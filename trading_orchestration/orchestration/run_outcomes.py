"""How a Dagster run ended, in the words of the job record: from its status and its events."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import ExecutionStatus, JobType
from trading_orchestration.orchestration.run_keys import ASSET_OF_JOB

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

    from trading_orchestration.store.jobs import Outcome

_DIED = "The process of the run ended before the run did: it was killed, or its machine went down."
#: What Dagster says when somebody else had to tell that a run failed.
_FROM_OUTSIDE = ("terminated unexpectedly", "from outside the execution context", "exited unexpectedly")


def outcome_of(instance: dg.DagsterInstance, record: dg.RunRecord) -> "Outcome":
    """The outcome of a run that has ended."""
    from trading_orchestration.services.job_monitoring import CANCELLED
    from trading_orchestration.store.jobs import Outcome

    run = record.dagster_run
    finished_at = None if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)
    match run.status:
        case dg.DagsterRunStatus.SUCCESS:
            return Outcome(status=ExecutionStatus.COMPLETED, finished_at=finished_at)
        case dg.DagsterRunStatus.CANCELED:
            error_class, message = CANCELLED, "The run was cancelled."
        case _:
            error_class, message = _why_failed(instance, run)
    return Outcome(
        status=ExecutionStatus.FAILED,
        error_class=error_class,
        error_message=message,
        finished_at=finished_at,
    )


def failed_jobs(instance: dg.DagsterInstance, run: dg.DagsterRun, jobs: Sequence[JobType]) -> list[JobType]:
    """Those of a failed run's jobs whose own step did not succeed."""
    succeeded = {
        entry.step_key for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    }
    return [job_type for job_type in jobs if ASSET_OF_JOB.get(job_type) not in succeeded]


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, str]:
    """The class and the sentence of a failed run's error, from its event log."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=wanted)]
    for event in events:
        if event is not None and event.is_step_failure:
            return _why_step_failed(event)
    for event in events:
        if event is not None and event.message:
            has_died = any(words in event.message for words in _FROM_OUTSIDE)
            return "RunFailure", _DIED if has_died else event.message
    return "RunFailure", "Dagster calls the run failed and gives no reason."


def _why_step_failed(event: dg.DagsterEvent) -> tuple[str, str]:
    data = event.step_failure_data
    if data.user_failure_data is not None:
        name = data.user_failure_data.metadata.get("error")
        text = data.user_failure_data.description or "The step failed."
        label = name.value if isinstance(name, dg.TextMetadataValue) else None
        return label or "Failure", text
    return _class_and_text(data.error) if data.error is not None else ("Error", event.message or "It failed.")


def _class_and_text(error: "SerializableErrorInfo") -> tuple[str, str]:
    """The innermost cause: what wraps it tells only where it happened."""
    while error.cause is not None:
        error = error.cause
    name = error.cls_name or "Error"
    _, _, text = error.message.strip().partition(f"{name}: ")
    return name, text or error.message.strip()
