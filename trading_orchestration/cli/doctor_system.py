"""What `trading doctor` finds about the running system: who listens, what ticks, what is switched on."""

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from trading_orchestration.cli.findings import Finding, error, ok, warning
from trading_orchestration.cli.output import second
from trading_orchestration.cli.probes import open_instance, stream_fault, web_server_fault
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.services.standing_checks import check_quotes
from trading_orchestration.settings import Settings
from trading_orchestration.store import jobs
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.store.jobs import ScheduledJob
from trading_orchestration.wiring import open_calendar, system_clock

#: How long after its last tick a daemon counts as gone; sensors tick every few seconds.
_SILENT = timedelta(seconds=90)
_QUOTES_NAMED = 3


def examine_ports(settings: Settings) -> Iterator[Finding]:
    """Who listens where the UI and the price stream should be: they, nobody, or somebody else."""
    yield _port("UI port", settings.trading_ui_port, "TRADING_UI_PORT", web_server_fault)
    yield _port("stream port", settings.trading_stream_port, "TRADING_STREAM_PORT", stream_fault)


def examine_system(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Whether what a person switched on does its work; asks Dagster's storage where it has been up before."""
    calendar, now = open_calendar(settings), system_clock()
    with transaction(engine) as connection:
        scheduled = jobs.read_jobs(connection)
    is_up = web_server_fault(settings.trading_ui_port) is None
    if (settings.home / "dagster" / "dagster.yaml").exists() and (
        is_up or any(job.is_scheduled for job in scheduled)
    ):
        yield from examine_daemon(settings, calendar, now, is_up=is_up)
    yield from _schedules(scheduled, calendar, now)
    yield from _quotes(engine, calendar, now)


def _port(check: str, port: int, variable: str, fault: Callable[[int], str | None]) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if fault(port) is None:
                return ok(check, f"{port}, and it answers")
            mend = f"end what holds it, or set {variable} to another port"
            return warning(check, f"{port} cannot be taken: {problem.strerror}", mend)
    return ok(check, f"{port} is free")


def examine_daemon(
    settings: Settings, calendar: MarketCalendar, now: datetime, *, is_up: bool
) -> Iterator[Finding]:
    """Whether sensors tick, and what else the daemon should have done; `is_up` is whether the UI answers."""
    from trading_orchestration.orchestration.tick_watch import last_sensor_tick, late_work

    with open_instance(settings) as instance:
        ticked = last_sensor_tick(instance)
        late = late_work(instance, calendar, now=now, since=ticked - _SILENT) if ticked else []
    if ticked is None or now - ticked > _SILENT:
        since = f"since {second(ticked)}" if ticked else "yet"
        if is_up:
            mend = "`trading up` starts it again by itself; see daemon.log if it does not"
            yield error("daemon", f"the UI answers, but no sensor has ticked {since}", mend)
        else:
            message = f"schedules are switched on, but nothing has ticked {since}"
            yield warning("daemon", message, "start `trading up`")
        return
    for sentence in late:
        yield error("daemon", sentence, "`trading up` starts it again by itself; see daemon.log")
    if not late:
        yield ok("daemon", f"last ticked at {second(ticked)}")


def _schedules(scheduled: list[ScheduledJob], calendar: MarketCalendar, now: datetime) -> Iterator[Finding]:
    off = [job.job_type.value for job in scheduled if not job.is_scheduled]
    if not off:
        yield ok("schedules", "all switched on")
    elif len(off) == len(scheduled):
        yield ok("schedules", "all switched off; the UI's page Automation switches them on")
    else:
        open_now = f", and {calendar.name} is open" if calendar.is_open(now) else ""
        message = f"switched off{open_now}: {', '.join(sorted(off))}"
        mend = "switch them on in the UI (Automation), or pause them: `trading jobs pause JOB --reason …`"
        yield warning("schedules", message, mend)


def _quotes(engine: Engine, calendar: MarketCalendar, now: datetime) -> Iterator[Finding]:
    found = check_quotes(partial(transaction, engine), calendar, now.astimezone(UTC))
    if found.has_passed:
        yield ok("quotes", found.summary.removesuffix("."))
        return
    told, more = found.problems[:_QUOTES_NAMED], len(found.problems) - _QUOTES_NAMED
    rest = f" And {more} more." if more > 0 else ""
    mend = "see why with `trading jobs history price_update`"
    yield warning("quotes", " ".join(told) + rest, mend)
