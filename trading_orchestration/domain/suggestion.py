"""What a person probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def known_and_nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: "known: a, b; did you mean 'a'?"."""
    names = sorted(known)
    near = get_close_matches(word.lower(), {name.lower(): name for name in names}, n=1)
    meant = next((name for name in names if near and name.lower() == near[0]), None)
    listed = f"known: {', '.join(names)}"
    return f"{listed}." if meant is None else f"{listed}; did you mean {meant!r}?"
