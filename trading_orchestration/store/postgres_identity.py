"""As whom PostgreSQL runs: it refuses root, so root drops to another user through `setpriv`.

Nothing but the data folder changes hands. Where that user may not walk down to the data or to the binaries
(a home or a `.venv` under /root), the server keeps one capability that lets it, and no permission of any
folder is touched. Imports the standard library only.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

# The least that lets a process pass a folder it may not read comes first; containers often lack it.
_CAPABILITIES = ("dac_read_search", "dac_override")


class CannotStartError(Exception):
    """Why the embedded server cannot run here, in one sentence with the mend."""


def server_command(binaries: Path, data: Path) -> list[str]:
    """What to put before a program of `binaries` so that it may run and use `data`; empty unless root.

    As root the folder `data` is given to the server's user first.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise CannotStartError(
            "PostgreSQL refuses root, and `setpriv` is missing; install util-linux or be another user."
        )
    user, group = _server_user(data)
    try:
        os.chown(data, user, group)
    except PermissionError:
        raise CannotStartError(
            f"PostgreSQL refuses root, and this root may not give {data} to user {user}; be another user."
        ) from None
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    complaint = ""
    for extra in [[], *map(_keep, _CAPABILITIES)]:
        complaint = _complaint([*drop, *extra], binaries, data)
        if not complaint:
            return [*drop, *extra]
    raise CannotStartError(
        f"PostgreSQL refuses root, and user {user} cannot use {data} with {binaries} ({complaint}); "
        "be another user, or set TRADING_HOME to a folder that every user may enter."
    )


def _server_user(data: Path) -> tuple[int, int]:
    owner = data.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise CannotStartError(
        "PostgreSQL refuses to run as root and there is no user `postgres` or `nobody`; add one."
    )


def _keep(capability: str) -> list[str]:
    # access(2) looks at the capabilities of a user who is not root only with no_setuid_fixup.
    return [
        f"--inh-caps=-all,+{capability}",
        f"--ambient-caps=-all,+{capability}",
        "--securebits=+no_setuid_fixup",
    ]


def _complaint(command: list[str], binaries: Path, data: Path) -> str:
    """Empty when the user can run the server's program and enter its data."""
    probe = 'cd "$1" && "$0" --version && test -r "$0" && test -x "$0"'
    done = subprocess.run(
        [*command, "sh", "-c", probe, str(binaries / "postgres"), str(data)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["no permission"])[-1]
