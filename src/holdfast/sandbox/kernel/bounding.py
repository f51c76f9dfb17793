"""Starts a program that the kernel lets open only some paths, with no process in between.

Landlock's rules belong to a thread, and what a thread starts inherits them. So a thread of its own takes the rules,
starts the program and ends, and everything else of this process stays as it was. A launcher of its own would have to
be started for each program, and to fork as this process, with all its threads, is no safe thing.

Not here: what the rules say (`landlock.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from holdfast.sandbox.kernel import landlock, syscalls

__all__ = ("start_within",)

T = TypeVar("T")


def start_within(ruleset: int, start: Callable[[], T]) -> T:
    """Calls a function that starts a program, in a thread that is under the rules, and returns what it returns.

    Raises:
        OSError: the rules cannot be taken, because there are too many already. Then nothing was started.
    """

    def act() -> T:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(ruleset)
        return start()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="holdfast-within") as one:
        return one.submit(act).result()
