"""What every job is told: which instant it runs for, and under which run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from trading_orchestration.domain.market_time import Session
from trading_orchestration.errors import (
    BrokerNotAuthorizedError,
    DatabaseUnavailableError,
    JobFailedError,
    LeaseLostError,
    SettingsError,
    TradingError,
)


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
    needs_person: BrokerNotAuthorizedError | SettingsError | None = None

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counts."""
        self.counts.update(counts)

    def include(self, other: "Report") -> None:
        """Add another report's counts and problems."""
        self.counts.update(other.counts)
        self.problems += other.problems

    @contextmanager
    def part(self, subject: str) -> Iterator[None]:
        """One part of a job: what goes wrong in it is noted, and the job goes on with the others.

        A lost lease and a lost database end the job; what a person must mend does once all parts were tried.
        """
        try:
            yield
        except (LeaseLostError, DatabaseUnavailableError):
            raise
        except (BrokerNotAuthorizedError, SettingsError) as error:
            self.needs_person = error
        except Exception as error:  # noqa: BLE001 (nothing is lost: the job fails with it at its end)
            self.fail(subject, error)

    def raise_if_a_person_is_needed(self) -> None:
        """End the job with what a person must mend; raises BrokerNotAuthorizedError or SettingsError."""
        if self.needs_person is not None:
            raise self.needs_person

    def fail(self, subject: str, error: Exception) -> None:
        """Note that one part failed; the others go on."""
        self.counts["errors"] += 1
        # An error of ours is a sentence already; of any other its class says more than its text.
        text = str(error) if isinstance(error, TradingError) else f"{type(error).__name__}: {error}"
        self.problems.append(f"{subject}: {text}")

    def raise_if_failed(self) -> None:
        """End the job as failed when a part of it did; raises JobFailedError that lists them."""
        if self.problems:
            raise JobFailedError(listed(self.problems))


def listed(problems: Sequence[str]) -> str:
    """Problems as one sentence; what several parts have in common stands once."""
    return "; ".join(problem.rstrip(".") for problem in dict.fromkeys(problems)) + "."
