"""A job record to test on: the service on a real database, a clock set by hand, and a look at the rows."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from trading_orchestration.domain.job import ExecutionTrigger, JobType
from trading_orchestration.domain.market_time import MarketCalendar, NotATick, verdict
from trading_orchestration.services.job_admission import session_of_run
from trading_orchestration.services.job_monitoring import Admitted, JobMonitoringService, Skipped
from trading_orchestration.store.database import transaction
from trading_orchestration.store.jobs import RunKey
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK, new_york

#: Tuesday, a full session.
TEN = new_york("2024-07-02 10:00")
MINUTE = timedelta(minutes=1)


@dataclass
class JobRecord:
    """`record.at` is the clock; everything else asks or changes the real database."""

    engine: sa.Engine
    at: datetime = TEN
    calendar: MarketCalendar = field(default=INDEPENDENCE_WEEK, repr=False)

    @property
    def service(self) -> JobMonitoringService:
        return JobMonitoringService(self.engine, self.calendar, lambda: self.at, jitter=lambda: 0.0)

    def key(
        self,
        job_type: JobType = JobType.PRICE_UPDATE,
        tick: datetime | None = None,
        *,
        trigger: ExecutionTrigger = ExecutionTrigger.SCHEDULE,
        **given: Any,
    ) -> RunKey:
        tick = tick or self.at
        if trigger is ExecutionTrigger.BACKFILL:
            found = verdict(job_type, tick, self.calendar)
            session = None if isinstance(found, NotATick) else found
        else:
            session = session_of_run(self.calendar, job_type, trigger, tick)
        known = {"run_id": uuid4().hex, "session": session.date if session else None}
        return RunKey(**{"job_type": job_type, "tick": tick, "trigger": trigger, **known, **given})

    def admit(self, job_type: JobType = JobType.PRICE_UPDATE, **given: Any) -> Admitted:
        """Start a run that must be admitted."""
        admission = self.service.log_job_start(self.key(job_type, **given))
        assert isinstance(admission, Admitted), admission
        return admission

    def refusal(self, job_type: JobType = JobType.PRICE_UPDATE, **given: Any) -> str:
        """Start a run that must not be; why it was not."""
        admission = self.service.log_job_start(self.key(job_type, **given))
        assert isinstance(admission, Skipped), admission
        return admission.reason

    def succeed(self, job_type: JobType = JobType.PRICE_UPDATE, **given: Any) -> Admitted:
        admitted = self.admit(job_type, **given)
        self.service.log_job_complete(admitted.key, {})
        return admitted

    def fail(
        self, job_type: JobType = JobType.PRICE_UPDATE, error: Exception | None = None, **given: Any
    ) -> Admitted:
        admitted = self.admit(job_type, **given)
        self.service.log_job_error(admitted.key, error or ConnectionError("no answer"))
        return admitted

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Executions as they stand, in the order in which they came."""
        condition = " AND ".join(f"{name} = :{name}" for name in wanted) or "true"
        statement = sa.text(f"SELECT * FROM job_executions WHERE {condition} ORDER BY id")
        with transaction(self.engine) as connection:
            return [dict(row) for row in connection.execute(statement, wanted).mappings()]

    def row(self, run_id: str) -> dict[str, Any]:
        (row,) = self.rows(run_id=run_id)
        return row

    def job(self, job_type: JobType = JobType.PRICE_UPDATE) -> dict[str, Any]:
        """The job's row in `scheduled_jobs`."""
        return self.ask(f"SELECT * FROM scheduled_jobs WHERE job_type = '{job_type}'")[0]

    def moves(self, job_type: JobType = JobType.PRICE_UPDATE) -> list[tuple[str, str]]:
        """The breaker's transitions, oldest first."""
        asked = self.ask(f"SELECT * FROM breaker_events WHERE job_type = '{job_type}' ORDER BY id")
        return [(row["old_status"], row["new_status"]) for row in asked]

    def ask(self, statement: str) -> list[dict[str, Any]]:
        with transaction(self.engine) as connection:
            return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]

    def change(self, statement: str) -> None:
        with transaction(self.engine) as connection:
            connection.execute(sa.text(statement))

    def expire(self, run_id: str) -> None:
        """Let a run's lease be over."""
        self.change(
            "UPDATE job_executions SET lease_until = clock_timestamp() - interval '1 second' "
            f"WHERE run_id = '{run_id}'"
        )
