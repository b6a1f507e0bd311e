"""The process a run works in, under a name by which others can see that it is gone.

A process that does not exist does nothing any more: that is all that is told here. One on another machine, in
another container, or from before the machine's last start is never called gone.
"""

import os
import platform
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PIDS = Path("/proc/self/ns/pid")


def this_worker() -> str | None:
    """The name of this process; None where the system does not tell enough (anything but Linux)."""
    where = _where()
    return None if where is None else f"{where} {os.getpid()}"


def is_gone(worker: str | None) -> bool:
    """Whether a process lived where we do, and does not exist any more. A doubt is a no."""
    where, _, pid = (worker or "").rpartition(" ")
    return where == _where() and not _exists(int(pid))


def _where() -> str | None:
    """The machine's name, its start, and the space its process ids are from."""
    try:
        return f"{platform.node()} {_BOOT.read_text().strip()} {_PIDS.readlink()}"
    except OSError:
        return None


def _exists(pid: int) -> bool:
    """An id that another process has by now exists; one that was killed and not waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    threads = int(fields[16])
    return state != "Z" or threads > 1
