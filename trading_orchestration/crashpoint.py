"""Named points at which tests kill the process; in production they do nothing.

The names stand in the code at every step between a decision and its books, so that a test can die at each.
"""

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def crashpoint(name: str) -> None:
    """Do nothing, unless a test has installed a hook."""
    if _hook is not None:
        _hook(name)


def install(hook: Callable[[str], None] | None) -> None:
    """Let tests act at every crash point; None ends it."""
    global _hook
    _hook = hook
