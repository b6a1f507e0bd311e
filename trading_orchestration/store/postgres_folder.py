"""`HOME/postgres`: what an embedded server keeps on the disk, and what can be read from it.

    data/          the cluster
    password       of the role `trading`, the owner; each password is readable by its owner only
    password.engine, password.reader    of the roles `trading_engine` and `trading_reader`
    port           chosen at the first start and remembered
    log, log.1     of server and guardian, at most 8 MiB each
    users.lock     shared `flock` of every user of the server; removing the file stops the server
    start.lock     exclusive `flock` of the guardian

Imports the standard library only: the guardian lives long and stays small.
"""

import fcntl
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
# Below the range that systems hand out to outgoing connections, which could hold the port at a restart.
PORTS = range(20_000, 30_000)


@dataclass(frozen=True)
class Postmaster:
    """A running server: its process, its port, and whether it accepts connections."""

    pid: int
    port: int
    is_ready: bool


@dataclass(frozen=True)
class ServerFolder:
    """The paths of one server; nothing needs to exist yet."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def password(self) -> Path:
        return self.path / "password"

    @property
    def engine_password(self) -> Path:
        return self.path / "password.engine"

    @property
    def reader_password(self) -> Path:
        return self.path / "password.reader"

    @property
    def port(self) -> Path:
        return self.path / "port"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def users_lock(self) -> Path:
        return self.path / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.path / "start.lock"

    def postmaster(self) -> Postmaster | None:
        """The server that runs on this folder now; a dead one, a zombie or a reused pid counts as none."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 4 or not _is_postgres_on(int(lines[0]), self.data):
            return None
        is_ready = len(lines) >= 8 and lines[7].strip() == "ready"
        return Postmaster(int(lines[0]), int(lines[3]), is_ready)

    def choose_port(self) -> int:
        """The remembered port, or a free one, which is remembered from now on."""
        try:
            return int(self.port.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            port = _free_port()
        write_atomically(self.port, str(port))
        return port

    def log_size(self) -> int:
        """Bytes; 0 when there is no log yet."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_since(self, offset: int) -> str:
        """What was logged after byte `offset`."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode("utf-8", "replace")


def open_lock(path: Path) -> int:
    """A file descriptor to `flock`, closed in every program that this process starts."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, operation: int) -> bool:
    """Take or change a `flock` without waiting; False when another process holds it."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(is_true: Callable[[], bool], timeout_s: float) -> bool:
    """Ask every 10 ms; False when `timeout_s` seconds passed without a yes."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replace `path`, readable by its owner only; a crash leaves the old file or the new one."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_postgres_on(pid: int, data: Path) -> bool:
    return f"/postgres -D {data} " in f"{_command_line(pid)} "


def _command_line(pid: int) -> str:
    """Empty for a process that is gone or a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    found = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for _ in range(100):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
