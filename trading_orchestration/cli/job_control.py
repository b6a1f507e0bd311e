"""`trading jobs reset|trip|pause|resume|set|trail`: jobs in a person's hands, with who and why on record."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.output import Column, Json, print_json, second, show
from trading_orchestration.domain.job import JobType
from trading_orchestration.errors import InvalidInputError

if TYPE_CHECKING:
    from trading_orchestration.services.job_control import JobControl

Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]

_TRAIL = [
    Column("at", "when", second),
    Column("change"),
    Column("actor", "who"),
    Column("reason"),
]
_NONE = "none"


def reset(job: JobType, reason: Reason, as_json: Json = False) -> None:
    """Close a job's breaker by hand and forget its failures. A paused job stays paused."""
    _move("reset", job, reason, "its failures are forgotten", as_json=as_json)


def trip(job: JobType, reason: Reason, as_json: Json = False) -> None:
    """Open a job's breaker: it is skipped until it is reset, or a run by hand succeeds."""
    _move("trip", job, reason, "it is skipped until it is reset", as_json=as_json)


def pause(job: JobType, reason: Reason, as_json: Json = False) -> None:
    """Stop a job until it is resumed; not even a run by hand starts."""
    _move("pause", job, reason, "it is skipped until it is resumed", as_json=as_json)


def resume(job: JobType, reason: Reason, as_json: Json = False) -> None:
    """End a pause."""
    _move("resume", job, reason, "it runs at its next tick", as_json=as_json)


def change(
    job: JobType,
    settings: Annotated[
        list[str], typer.Argument(metavar="SETTING=VALUE...", help="Such as lease_s=300; stale_after_s=none.")
    ],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Change settings of a job, all or none: thresholds, waits, lease, when a tick is stale or missed."""
    from trading_orchestration.cli.installation import actor, open_installation

    wanted = dict(_setting(text) for text in settings)
    with open_installation() as opened:
        after = _control(opened).change_settings(job, wanted, actor=actor(), reason=reason)
    if as_json:
        print_json(after)
    else:
        print(f"{job}: {', '.join(f'{name}={_text(value)}' for name, value in after.items())}")


def trail(
    job: JobType,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """Who and what moved a job's breaker or changed its settings, and why; the newest first."""
    from trading_orchestration.cli.installation import open_installation

    with open_installation() as opened:
        rows = _control(opened).audit_trail(job, limit=limit)
    shown = rows if as_json else [row | {"change": _change(row)} for row in rows]
    show(shown, _TRAIL, as_json=as_json, empty=f"Nothing was changed about {job}.")


def _move(move: str, job: JobType, reason: str, meaning: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from trading_orchestration.cli.installation import actor, open_installation
    from trading_orchestration.services.job_overview import job_overviews
    from trading_orchestration.wiring import system_clock

    with open_installation() as opened:
        status = getattr(_control(opened), move)(job, actor=actor(), reason=reason)
        found = job_overviews(opened.begin, opened.calendar, now=system_clock()) if as_json else []
    if as_json:
        print_json(asdict(next(overview for overview in found if overview.job_type is job)))
    else:
        print(f"{job} is {status}; {meaning}.")


def _control(opened: Any) -> "JobControl":
    from trading_orchestration.services.job_control import JobControl
    from trading_orchestration.wiring import system_clock

    return JobControl(opened.engine, system_clock)


def _setting(text: str) -> tuple[str, int | None]:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise InvalidInputError(f"'{text}' is no setting; give it as name=value, such as lease_s=300.")
    if value == _NONE:
        return name, None
    if not value.removeprefix("-").isdecimal():
        raise InvalidInputError(f"{name} was '{value}'; it must be a whole number, or {_NONE}.")
    return name, int(value)


def _text(value: int | None) -> str:
    return _NONE if value is None else str(value)


def _change(row: dict[str, Any]) -> str:
    if "setting" in row:
        return f"{row['setting']} {_text(row['old_value'])} → {_text(row['new_value'])}"
    return f"breaker {row['old_status']} → {row['new_status']}"
