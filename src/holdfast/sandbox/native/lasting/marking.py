"""Remembers which processes ended with somebody there who took away what they had left at protected paths.

Whoever finds in a log that a process is gone, knows by that whether anything is left to be taken away: otherwise what
a person put there since would go. It is forgotten when the machine starts again, and then what is there goes.
"""

from __future__ import annotations

import os
from contextlib import suppress

from holdfast.sandbox.native.slots import folder

__all__ = ("looked_after", "mark")

_MOST = 1024
"""Processes that are remembered; the oldest are forgotten."""


def mark(process: str) -> None:
    """Remembers that a process has ended and was looked after; where that cannot be written it is not remembered."""
    with suppress(OSError):
        where = _where()
        os.makedirs(where, mode=0o700, exist_ok=True)
        with os.scandir(where) as found:
            known = list(found)
        if len(known) >= _MOST:
            known.sort(key=lambda each: each.stat(follow_symlinks=False).st_mtime_ns)
            for each in known[: len(known) // 2]:
                os.unlink(each.path)
        os.close(os.open(f"{where}/{process}", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def looked_after(process: str) -> bool:
    """Returns whether a process of that id ended so on this machine, as far as it is remembered."""
    try:
        return process.isalnum() and os.lstat(f"{_where()}/{process}").st_uid == os.geteuid()
    except OSError:
        return False


def _where() -> str:
    return f"{os.path.dirname(folder())}/looked-after"
