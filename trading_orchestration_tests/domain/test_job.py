import re
import subprocess
import sys
from datetime import timedelta
from importlib import resources
from pathlib import Path

import pytest

from trading_orchestration.domain.job import (
    JOB_DEFAULTS,
    ExecutionStatus,
    ExecutionTrigger,
    JobStatus,
    JobType,
)


def initial_migration() -> str:
    return (
        Path(str(resources.files("trading_orchestration.sql"))) / "migrations/0001_initial.sql"
    ).read_text()


@pytest.mark.parametrize(
    ("enum", "sql_name"),
    [
        (JobType, "job_type"),
        (JobStatus, "job_status"),
        (ExecutionStatus, "execution_status"),
        (ExecutionTrigger, "execution_trigger"),
    ],
)
def test_an_enum_has_the_words_of_the_database(enum: type[JobType], sql_name: str) -> None:
    declared = re.search(rf"CREATE TYPE {sql_name} AS ENUM \((.*?)\);", initial_migration(), re.DOTALL)
    assert declared is not None
    without_comments = re.sub(r"--.*", "", declared[1])
    assert [member.value for member in enum] == re.findall(r"'(\w+)'", without_comments)


def test_every_job_has_defaults() -> None:
    assert set(JOB_DEFAULTS) == set(JobType)


def test_a_description_is_one_sentence() -> None:
    for defaults in JOB_DEFAULTS.values():
        assert defaults.description[0].isupper()
        assert defaults.description.count(".") == 1
        assert defaults.description.endswith(".")


def test_counts_are_named_once() -> None:
    for defaults in JOB_DEFAULTS.values():
        assert defaults.counts
        assert len(set(defaults.counts)) == len(defaults.counts)


def test_settings_keep_the_rules_of_the_database() -> None:
    for defaults in JOB_DEFAULTS.values():
        assert defaults.failure_threshold > 0
        assert defaults.probe_successes > 0
        assert 0 < defaults.wait_base_s <= defaults.wait_cap_s
        assert defaults.stale_after_s is None or defaults.stale_after_s > 0


def test_a_lease_ends_before_the_next_tick() -> None:
    """A run that died must not keep more than one tick from running."""
    for defaults in JOB_DEFAULTS.values():
        every = defaults.cadence.every
        assert every is None or timedelta(seconds=defaults.lease_s) < every


def test_only_the_snapshot_is_never_stale() -> None:
    never_stale = [job for job, defaults in JOB_DEFAULTS.items() if defaults.stale_after_s is None]
    assert never_stale == [JobType.PORTFOLIO_SNAPSHOT]


def test_what_every_run_loads_imports_nothing_heavy() -> None:
    modules = ("job", "market_time", "breaker", "sizing", "strategy", "factors")
    code = f"""
import sys
for module in {modules!r}:
    __import__("trading_orchestration.domain." + module)
heavy = {{"pandas", "numpy", "talib", "exchange_calendars", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
