"""Files that a command writes: whole, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trading_orchestration.errors import InvalidInputError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end; nothing is left after an error.

    Raises InvalidInputError where it cannot be written.
    """
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder; name a file in it.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from None
    os.close(handle)
    written = Path(name)
    try:
        yield written
        written.chmod(0o666 & ~_umask())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
