"""Dagster's run queue, in which a run from an asset's page waits for the runs of its job, too.

The queue goes by the tag of a job's runs. Those that a person launches on the page of an asset have none by
themselves: of sessions that do not lie together, a run each, most would meet another at work and be refused.
"""

from dagster import DagsterRun
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.run_keys import job_types_of


class JobQueue(QueuedRunCoordinator):
    """Two runs of one job never work at once, wherever they were launched; the later one waits."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Enqueue a run; one of several jobs at once has no tag, and admission alone sees to it."""
        run = context.dagster_run
        of_run = job_types_of(run)
        if len(of_run) == 1:
            self._instance.add_run_tags(run.run_id, {tags.JOB: of_run[0].value})
        return super().submit_run(context)
