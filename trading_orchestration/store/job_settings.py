"""What a person may change about a job, and who changed it."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from trading_orchestration.domain.job import JobType
from trading_orchestration.store.database import run


def read_settings(connection: Connection, job_type: JobType) -> dict[str, int | None]:
    """The settings of a job; those that end in `_s` are seconds."""
    return dict(run(connection, "job_settings", job_type=job_type.value).mappings().one())


def save_settings(connection: Connection, job_type: JobType, settings: Mapping[str, int | None]) -> None:
    """Write all settings of a job, which must be held."""
    run(connection, "save_job_settings", job_type=job_type.value, **settings)


def add_change(
    connection: Connection,
    job_type: JobType,
    setting: str,
    *,
    old: int | None,
    new: int | None,
    actor: str,
    reason: str,
    at: datetime,
) -> None:
    """Append to the trail of who changed what."""
    run(
        connection,
        "insert_setting_change",
        job_type=job_type.value,
        setting=setting,
        old_value=old,
        new_value=new,
        actor=actor,
        reason=reason,
        at=at,
    )


def changes(connection: Connection, job_type: JobType, *, limit: int) -> list[RowMapping]:
    """Who changed what, newest first."""
    return list(run(connection, "setting_changes", job_type=job_type.value, limit=limit).mappings())
