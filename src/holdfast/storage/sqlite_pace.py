"""How quick the disk is, and so who waits for it: the event loop or the writer's thread.

The way into a thread and back is two wake-ups of another processor and two fights over the interpreter's lock: about a
tenth of a millisecond of work for each commit, and more of waiting. A disk that can do it in half a millisecond is
waited for in the event loop. A slower one never is: nothing is committed there before the disk has shown what it can,
and a few long commits there, as when others keep it busy, are enough to give them back to the thread.
"""

from __future__ import annotations

from typing import final

__all__ = ("Pace",)

_SHORT = 0.0005
"""Seconds the quickest of a few commits takes at most for the event loop to try it."""
_LONG = 0.003
"""Seconds a commit in the event loop takes at most, on average; less than a thread waits for a busy interpreter."""
_MOST = 0.008
"""Seconds one commit counts at most: one that was held up says little of the next."""
_WEIGHT = 1 / 8
_TRIALS = 8
"""Commits of the thread that are looked at together: each may have waited for the interpreter, too."""
_ROWS = 1000
"""Rows changed in the event loop, after which the thread commits: it copies the log into the file when that is due."""


@final
class Pace:
    """What the last commits took; used by whoever has the turn."""

    __slots__ = ("_average", "_least", "_rows", "_trials")

    def __init__(self) -> None:
        self._average = _MOST
        self._least = _MOST
        self._trials = 0
        self._rows = 0
        """All rows ever changed when the thread committed last."""

    def quick(self, rows: int) -> bool:
        """Whether the event loop should commit; `rows` is how many were ever changed."""
        return self._average < _LONG and rows - self._rows < _ROWS

    def committed_here(self, seconds: float) -> None:
        """Notes how long the event loop waited for a commit."""
        self._average += (min(seconds, _MOST) - self._average) * _WEIGHT

    def committed_in_thread(self, seconds: float, rows: int) -> None:
        """Notes how long the thread took for a commit."""
        self._rows = rows
        self._least = min(self._least, seconds)
        self._trials += 1
        if self._trials == _TRIALS:
            if self._average >= _LONG and self._least < _SHORT:
                self._average = self._least
            self._trials, self._least = 0, _MOST
