"""What every job is told: which instant it runs for, and under which run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trading_orchestration.domain.market_time import Session
from trading_orchestration.errors import JobFailedError


@dataclass(frozen=True, slots=True)
class Tick:
    """The scheduled instant (UTC) a job runs for, the session it lies in, and the run's id."""

    at: datetime
    session: Session
    run_id: str


@dataclass(slots=True)
class Report:
    """What a job counted, and what went wrong without stopping the rest."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counts."""
        self.counts.update(counts)

    def include(self, other: "Report") -> None:
        """Add another report's counts and problems."""
        self.counts.update(other.counts)
        self.problems += other.problems

    def fail(self, subject: str, error: Exception) -> None:
        """Note that one part failed; the others go on."""
        self.counts["errors"] += 1
        self.problems.append(f"{subject}: {type(error).__name__}: {error}")

    def raise_if_failed(self) -> None:
        """End the job as failed when a part of it did; raises JobFailedError that lists them."""
        if self.problems:
            raise JobFailedError("; ".join(self.problems))
