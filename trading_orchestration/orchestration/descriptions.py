"""What the Dagster UI says beside jobs, schedules and assets, and how they lead to each other."""

from datetime import timedelta
from typing import Any

import dagster as dg

from trading_orchestration.domain.job import JOB_DEFAULTS, JobType
from trading_orchestration.orchestration.run_keys import ASSET_OF_JOB

OWNERS = ["team:trading"]
LOCATION = "trading_orchestration"

Metadata = dict[str, dg.MetadataValue[Any]]


def cadence_of(job_type: JobType) -> str:
    """When a job runs, as a sentence."""
    cadence = JOB_DEFAULTS[job_type].cadence
    after = cadence.after_close // timedelta(minutes=1)
    if cadence.every is None:
        return f"Once a session, {after} minutes after its close."
    minutes = cadence.every // timedelta(minutes=1)
    every = "Every minute" if minutes == 1 else f"Every {minutes} minutes"
    return f"{every} of a session" + (f", to {after} minutes past its close." if after else ".")


def job_metadata(job_type: JobType) -> Metadata:
    """When a job runs, what it counts, how patient it is; these are the settings it starts with."""
    job, text = JOB_DEFAULTS[job_type], dg.MetadataValue.text
    late = "are run however late" if job.stale_after_s is None else f"are skipped after {job.stale_after_s} s"
    failures = job.failure_threshold
    many = "its first failure" if failures == 1 else f"{failures} failures in a row"
    found: Metadata = {
        "runs": text(cadence_of(job_type)),
        "counts": text(", ".join(job.counts)),
        "late ticks": text(late),
        "given up after": text(f"{job.lease_s} s"),
        "breaker": text(f"opens after {many}"),
    }
    if job_type in ASSET_OF_JOB:
        found["asset"] = dg.MetadataValue.asset(dg.AssetKey(ASSET_OF_JOB[job_type]))
    return found


def link_to_job(job_type: JobType) -> Metadata:
    """The way from an asset or a schedule to its job."""
    return {"job": dg.MetadataValue.job(job_type.value, location_name=LOCATION)}
