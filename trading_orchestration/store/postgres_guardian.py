"""The one process that keeps an embedded PostgreSQL running while anyone uses it.

    python -m trading_orchestration.store.postgres_guardian HOME/postgres BINARIES

It returns 0 once the server accepts connections (or when another guardian is at work), and goes on in the
background. It prints a reason and returns 1 when the server cannot be started.

Crash-only: whatever is killed when, the next guardian finds its way from what lies on the disk. Locks are
`flock`s, which the kernel drops with their process. Imports the standard library only.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from trading_orchestration.store.postgres_folder import (
    HOST,
    ServerFolder,
    open_lock,
    sync_folder,
    try_lock,
    wait_until,
    write_atomically,
)
from trading_orchestration.store.postgres_identity import CannotStartError, server_command

ROLE = "trading"
DATABASES = ("trading", "dagster")

IDLE_S = 2.0
POLL_S = 0.2
STOP_S = 20.0
START_ATTEMPTS = 20
LOG_BYTES_MAX = 8 * 1024 * 1024

# Written into postgresql.conf once; a person may change them there.
_FIRST_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
    "jit": "off",
    # /dev/shm has 64 MB in a container, and logind empties it when its user logs out.
    "dynamic_shared_memory_type": "mmap",
}
# Given at every start: what these modules rely on.
_FIXED_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "logging_collector": "off",
    "log_destination": "stderr",
}


class Guardian:
    """Starts the server, restarts it when it dies, stops it when nobody uses it."""

    def __init__(self, folder: ServerFolder, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._users = open_lock(folder.users_lock)
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the server accepts connections: the one that runs already, or a new one."""
        if not self._folder.data.exists():
            self._initialise()
        for _ in range(START_ATTEMPTS):
            offset = self._folder.log_size()
            if not self._is_running():
                self._launch()
            if self._becomes_ready():
                return
            self._mend(self._folder.log_since(offset))
        raise CannotStartError(f"PostgreSQL ended {START_ATTEMPTS} times while it was starting.")

    def watch(self) -> None:
        """Return when the server was stopped because its last user, or its folder, is gone."""
        idle_since = time.monotonic()
        while self._folder_exists():
            if not self._is_unused():
                idle_since = time.monotonic()
                self._revive()
            elif time.monotonic() - idle_since >= IDLE_S and try_lock(self._users, fcntl.LOCK_EX):
                self._stop(signal.SIGINT)
                return
            self._limit_log()
            time.sleep(POLL_S)
        self._stop(signal.SIGINT if self._folder.data.exists() else signal.SIGQUIT)

    def _initialise(self) -> None:
        """Make `data` whole or not at all: in a folder that is renamed at the end."""
        for left_over in self._folder.path.glob("data.new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        # A name of its own: the initdb of a killed guardian may still be at work in another.
        draft = Path(tempfile.mkdtemp(prefix="data.new-", dir=self._folder.path))
        command = server_command(self._binaries, draft)
        initdb, postgres = str(self._binaries / "initdb"), str(self._binaries / "postgres")
        for of_another_cluster in (self._folder.engine_password, self._folder.reader_password):
            of_another_cluster.unlink(missing_ok=True)
        write_atomically(self._folder.password, secrets.token_hex(24))
        self._run_initdb([*command, initdb, f"--pgdata={draft}"], draft)
        statements = "".join(f"CREATE DATABASE {name} STRATEGY file_copy;\n" for name in DATABASES)
        self._run([*command, postgres, "--single", "-F", "-D", str(draft), "postgres"], statements)
        self._run([*command, initdb, f"--pgdata={draft}", "--sync-only"])
        draft.rename(self._folder.data)
        sync_folder(self._folder.path)

    def _run_initdb(self, command: list[str], draft: Path) -> None:
        # The server's user may not read our copy.
        password = self._folder.path / "password.initdb"
        write_atomically(password, self._folder.password.read_text(encoding="ascii"))
        os.chown(password, draft.stat().st_uid, draft.stat().st_gid)
        options = {
            "username": ROLE,
            "auth": "scram-sha-256",
            "pwfile": password,
            "encoding": "UTF8",
            "locale": "C",
            "locale-provider": "builtin",
            "builtin-locale": "C.UTF-8",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        settings = [f"--set={name}={value}" for name, value in _FIRST_SETTINGS.items()]
        try:
            self._run([*command, "--no-sync", "--data-checksums", *arguments, *settings])
        finally:
            password.unlink()

    def _run(self, command: list[str], stdin: str = "") -> None:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            cwd="/",
            env=_environment(),
        )
        if done.returncode != 0:
            self._say(done.stdout + done.stderr)
            raise CannotStartError(_reason(done.stderr) or f"It ended with status {done.returncode}.")

    def _launch(self) -> None:
        data = self._folder.data
        command = server_command(self._binaries, data)
        self._clear_pid_file()
        settings = {"port": str(self._folder.choose_port()), **_FIXED_SETTINGS}
        arguments = [argument for item in settings.items() for argument in ("-c", "=".join(item))]
        with self._open_log() as log:
            self._child = subprocess.Popen(
                [*command, str(self._binaries / "postgres"), "-D", str(data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
            )

    def _clear_pid_file(self) -> None:
        """Remove what a killed server left: its pid is dead, a zombie's, or another program's by now."""
        file = self._folder.data / "postmaster.pid"
        if file.exists() and not file.read_bytes():
            time.sleep(1)  # a server of a killed guardian may be about to write it
        if self._folder.postmaster() is None:
            file.unlink(missing_ok=True)

    def _becomes_ready(self) -> bool:
        """Wait, however long the recovery takes, until the server is ready (True) or has ended (False)."""
        while self._is_running():
            postmaster = self._folder.postmaster()
            if postmaster is not None and postmaster.is_ready:
                return True
            time.sleep(0.01)
        return False

    def _mend(self, log: str) -> None:
        """Do what makes the next attempt better, or raise CannotStartError when nothing would."""
        if "Address already in use" in log:
            self._folder.port.unlink(missing_ok=True)
        elif "shared memory block" in log or "postmaster.pid" in log:
            time.sleep(0.5)  # processes of a killed server are still on their way out
        else:
            raise CannotStartError(_reason(log) or "PostgreSQL ended without a word.")

    def _is_running(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return self._child is not None or self._folder.postmaster() is not None

    def _revive(self) -> None:
        if self._is_running():
            return
        self._say("the server is gone while it is in use; starting it again")
        try:
            self.start()
        except (CannotStartError, OSError) as error:
            self._say(f"cannot start it: {error}")
            time.sleep(1)

    def _stop(self, how: signal.Signals) -> None:
        """SIGINT shuts down in order; SIGQUIT, also sent when that takes too long, leaves a recovery."""
        while self._is_running():
            self._signal(how)
            wait_until(lambda: not self._is_running(), STOP_S)
            how = signal.SIGQUIT

    def _signal(self, how: signal.Signals) -> None:
        postmaster = self._folder.postmaster()
        if self._child is not None:
            self._child.send_signal(how)
        elif postmaster is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(postmaster.pid, how)

    def _folder_exists(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._users), self._folder.users_lock.stat())
        except FileNotFoundError:
            return False

    def _is_unused(self) -> bool:
        if not try_lock(self._users, fcntl.LOCK_EX):
            return False
        fcntl.flock(self._users, fcntl.LOCK_UN)
        return True

    def _limit_log(self) -> None:
        # The server appends, so that it goes on at the start of the emptied file.
        if self._folder.log_size() > LOG_BYTES_MAX:
            shutil.copyfile(self._folder.log, self._folder.log.with_name("log.1"))
            os.truncate(self._folder.log, 0)

    def _say(self, text: str) -> None:
        with self._open_log() as log:
            log.write(f"guardian [{os.getpid()}] {text.rstrip()}\n".encode())

    def _open_log(self) -> BinaryIO:
        return os.fdopen(os.open(self._folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")


def main(arguments: list[str]) -> int:
    """Fork the guardian and wait until it has a server or a reason why not."""
    folder, binaries = ServerFolder(Path(arguments[0])), Path(arguments[1])
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _run_in_background(folder, binaries, writer)
        return 0
    os.close(writer)
    with os.fdopen(reader) as pipe:
        reason = pipe.read()
    sys.stdout.write(reason)
    return 1 if reason else 0


def _run_in_background(folder: ServerFolder, binaries: Path, outcome: int) -> None:
    """`outcome` gets the reason when there is no server, and is closed when there is one."""
    try:
        lock = open_lock(folder.start_lock)
        # Whoever only looks whether a guardian lives holds the lock for a moment.
        if not wait_until(lambda: try_lock(lock, fcntl.LOCK_EX), 1.0):
            return
        _detach(folder.log)
        guardian = Guardian(folder, binaries)
        guardian.start()
    except (CannotStartError, OSError) as error:
        os.write(outcome, str(error).encode())
        return
    os.close(outcome)
    guardian.watch()


def _detach(log: Path) -> None:
    os.setsid()
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, unlike SIG_IGN, is not inherited by the server.
        signal.signal(ignored, lambda *_: None)
    nothing = os.open(os.devnull, os.O_RDWR)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, nothing), (1, errors), (2, errors)):
        os.dup2(source, target)


def _environment() -> dict[str, str]:
    # Nothing of the user's: neither secrets nor PG* variables, and messages in English.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _reason(log: str) -> str:
    """The line of a log that says why the server or initdb gave up."""
    lines = [line for line in log.splitlines() if re.search(r"\b(FATAL|PANIC|error):", line)]
    if not lines:
        return log.strip().rpartition("\n")[2]
    return re.split(r"\b(?:FATAL|PANIC|error):\s*", lines[0])[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
