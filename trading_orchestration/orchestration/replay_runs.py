"""Jobs of a replay as real Dagster runs, in this process, with their session and tick as tags."""

from datetime import datetime

import dagster as dg

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import Session
from trading_orchestration.errors import JobFailedError
from trading_orchestration.orchestration import tags
from trading_orchestration.services.job_monitoring import JobMonitoringService, failure

#: A replay tells of itself; Dagster's log stays in its database.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class DagsterReplay:
    """Runs jobs one after the other on a Dagster instance, and each tick once."""

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, monitoring: JobMonitoringService
    ) -> None:
        self._jobs = {job_type: definitions.resolve_job_def(job_type.value) for job_type in JobType}
        self._instance = instance
        self._monitoring = monitoring

    def run_job(self, job_type: JobType, tick: datetime, session: Session) -> None:
        """Run a job for a tick, unless it was run before.

        Raises JobFailedError naming the run when it failed, or was refused.
        """
        if self._monitoring.was_tick_run(job_type, tick):
            return
        day = session.date.isoformat()
        result = self._jobs[job_type].execute_in_process(
            instance=self._instance,
            run_config=_QUIET,
            tags=tags.tick_tags(job_type, tick, day, ExecutionTrigger.REPLAY),
            partition_key=day if job_type is JobType.PORTFOLIO_SNAPSHOT else None,
            raise_on_error=False,
        )
        subject = f"{job_type} of {tick:%Y-%m-%d %H:%M} UTC"
        if not result.success:
            raise JobFailedError(f"{subject} failed; see run {result.run_id}.")
        if not self._monitoring.was_tick_run(job_type, tick):
            raise JobFailedError(f"{subject} was skipped, and nothing may be; see run {result.run_id}.")

    def fail_interrupted(self) -> None:
        """Close the runs that a killed replay left behind; no other replay may be at work."""
        error = JobFailedError("The replay was interrupted.")
        for job_type, run_id in self._monitoring.started_runs():
            run = self._instance.get_run_by_id(run_id)
            if run is None or tags.trigger_of(run.tags) is not ExecutionTrigger.REPLAY:
                continue
            if not run.is_finished:
                self._instance.report_run_failed(run, str(error))
            self._monitoring.log_outcome(job_type, run_id, failure(error))
