"""What an error says of a name that nobody knows: the one that was meant, or all there are."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ("closest", "hint")


def closest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Returns the known name that is most like this one; empty when none is alike to the degree `cutoff`, 0 to 1."""
    from difflib import get_close_matches  # noqa: PLC0415 - most programs know what things are called

    names = list(known)
    letters = sorted(name)
    # Letters that changed places are the commonest slip, and count as two that are missing otherwise.
    swapped = [each for each in names if len(each) == len(name) and sorted(each) == letters]
    return next(iter(swapped or get_close_matches(name, names, n=1, cutoff=cutoff)), "")


def hint(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns what to write instead of a name: `did you mean 'x'?`, or `otherwise`, or what there is."""
    names = list(known)
    if near := closest(name, names):
        return f"did you mean {near!r}?"
    return otherwise or f"there are {', '.join(names)}"
