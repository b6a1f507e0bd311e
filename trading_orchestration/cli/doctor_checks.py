"""The examination of an installation: first what stands without a database, then what is in it."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from trading_orchestration.cli import doctor_books, doctor_channels, doctor_system
from trading_orchestration.cli.findings import Finding, error, ok, warning
from trading_orchestration.errors import SettingsError, TradingError
from trading_orchestration.settings import Settings, read_settings
from trading_orchestration.store import migrations, roles
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.store.health import ServerState, server_state
from trading_orchestration.store.installed import DatabaseUrls, open_databases, upgrade_database
from trading_orchestration.wiring import open_calendar, system_clock

PYTHON_MIN = (3, 11)
#: `UNIQUE NULLS NOT DISTINCT` came with it.
POSTGRES_MIN = 150_000
FREE_SPACE_MIN = 1_000_000_000
#: PostgreSQL stops writing when nothing is left; a session takes some tens of megabytes.
FREE_SPACE_NEEDED = 100_000_000
#: The shortest limit on a tick's age is 30 s.
CLOCK_WARNING_S, CLOCK_ERROR_S = 2.0, 15.0


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which things build on each other; never raises a TradingError."""
    yield _python()
    yield _byte_code()
    try:
        settings = read_settings()
    except SettingsError as problem:
        yield error("settings", str(problem), "correct the variable and ask again")
        return
    yield ok("settings", f"home {settings.home}, prices from {settings.trading_price_source}")
    yield from _home(settings.home)
    yield _calendar(settings)
    yield from doctor_system.examine_ports(settings)
    yield from _databases(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_MIN:
        return error("python", f"this is Python {version}", "install 3.11 or newer and set up again")
    return ok("python", version)


def _byte_code() -> Finding:
    """Without compiled files that stay, each run of a job takes seconds longer to start."""
    folders = [_folder(package) for package in ("trading_orchestration", "dagster")]
    wanting = [str(folder) for folder in folders if not _is_compiled(folder) and not _stays_compiled(folder)]
    if not wanting:
        return ok("byte code", "compiled, or kept once it is")
    why = "PYTHONDONTWRITEBYTECODE is set" if sys.dont_write_bytecode else "the folder cannot be written"
    return warning(
        "byte code",
        f"every run compiles {' and '.join(wanting)} anew: {why}",
        f"{sys.executable} -m compileall -q {' '.join(wanting)}",
    )


def _is_compiled(folder: Path) -> bool:
    sources = [str(file) for file in folder.glob("*.py")]
    return all(Path(importlib.util.cache_from_source(source)).exists() for source in sources)


def _stays_compiled(folder: Path) -> bool:
    return not sys.dont_write_bytecode and os.access(folder, os.W_OK)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path()


def _home(home: Path) -> Iterator[Finding]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as problem:
        mend = "set TRADING_HOME to a folder you may write to"
        yield error("home", f"{home} cannot be written to: {problem.strerror}", mend)
        return
    yield ok("home", f"{home} can be written to")
    free = shutil.disk_usage(home).free
    if free < FREE_SPACE_MIN:
        mend = "make room, or set TRADING_HOME to another disk"
        say = error if free < FREE_SPACE_NEEDED else warning
        yield say("disk", f"{free / 1e9:.1f} GB are free where {home} is", mend)


def _calendar(settings: Settings) -> Finding:
    try:
        calendar = open_calendar(settings)
    except TradingError as problem:
        return error("calendar", str(problem), _calendar_mend(str(problem)))
    last, needed = calendar.sessions[-1].date, system_clock().date() + timedelta(days=365)
    if last < needed - timedelta(days=7):
        return error("calendar", f"{calendar.name} ends on {last}", "install a newer exchange_calendars")
    following = calendar.next(calendar.local(system_clock()).date()).date
    today = system_clock().date()
    special = [str(day) for day in sorted(calendar.special_hours) if day >= today]
    hours = f"; special hours on {', '.join(special)}" if special else ""
    return ok("calendar", f"{calendar.name} to {last}, after today next on {following}{hours}")


def _calendar_mend(problem: str) -> str:
    if problem.startswith("TRADING_HOURS_FILE"):
        return "correct that line; until then no job runs"
    return "set TRADING_EXCHANGE to a code that exchange_calendars knows"


def _databases(settings: Settings) -> Iterator[Finding]:
    try:
        with open_databases(settings) as urls:
            yield from _server(settings, urls)
    except TradingError as problem:
        yield error("database", str(problem).splitlines()[0].removesuffix(":"), _database_mend(settings))


def _database_mend(settings: Settings) -> str:
    if settings.database_url is None:
        return "mend what it names; TRADING_DEBUG=1 shows more"
    return "start that server, or correct DATABASE_URL; without it an embedded one is used"


def _server(settings: Settings, urls: DatabaseUrls) -> Iterator[Finding]:
    engine = create_engine(urls.trading, application_name="trading doctor")
    try:
        with transaction(engine) as connection:
            state = server_state(connection)
        yield _version(settings, state)
        yield _clock(state)
        yield _dagster_database(urls)
        migrated = _migrations(settings, urls, engine)
        yield migrated
        if not migrated.mend:
            yield _roles(engine)
            yield from doctor_books.examine_books(settings, engine)
            yield from doctor_channels.examine_channels(settings, engine)
            yield from doctor_system.examine_system(settings, engine)
    finally:
        engine.dispose()


def _roles(engine: Engine) -> Finding:
    with transaction(engine) as connection:
        changeable = roles.may_change_ledger(connection)
    if not changeable:
        return ok("roles", f"{engine.url.username} may change nothing that is append-only")
    message = f"{engine.url.username} owns the tables and trades; DATABASE_OWNER_URL would keep the two apart"
    return ok("roles", message)


def _version(settings: Settings, state: ServerState) -> Finding:
    kind = "that of DATABASE_URL" if settings.database_url else "embedded"
    if state.version_number < POSTGRES_MIN:
        return error("database", f"PostgreSQL {state.version}, {kind}", "use PostgreSQL 15 or newer")
    return ok("database", f"PostgreSQL {state.version}, {kind}")


def _clock(state: ServerState) -> Finding:
    apart = abs((system_clock() - state.now).total_seconds())
    mend = "synchronise both clocks (NTP)"
    if apart >= CLOCK_ERROR_S:
        return error("clock", f"this machine and the database are {apart:.0f} s apart", mend)
    if apart >= CLOCK_WARNING_S:
        return warning("clock", f"this machine and the database are {apart:.1f} s apart", mend)
    return ok("clock", "agrees with the database's")


def _dagster_database(urls: DatabaseUrls) -> Finding:
    engine = create_engine(urls.dagster, application_name="trading doctor")
    try:
        with transaction(engine):
            return ok("dagster database", engine.url.database or "")
    except TradingError as problem:
        return error("dagster database", str(problem), "run `trading db upgrade`, which creates it")
    finally:
        engine.dispose()


def _migrations(settings: Settings, urls: DatabaseUrls, engine: Engine) -> Finding:
    try:
        if settings.database_url is None:
            upgrade_database(urls)
        migrations.check(engine)
    except TradingError as problem:
        return error("schema", str(problem), "see the message")
    return ok("schema", "up to date")
