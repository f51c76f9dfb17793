"""What is handed to a thread of the database, and how its answer comes back to whoever waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ("Job", "answer", "settle")


class Job(msgspec.Struct, eq=False):
    """A function and its caller."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    quick: bool = False
    result: Any = None
    error: BaseException | None = None


def answer(jobs: list[Job], then: Callable[[asyncio.AbstractEventLoop], None] | None = None) -> None:
    """Resolves futures with one call into each event loop, and does there what comes next."""
    loop = jobs[0].loop
    mine = jobs if len(jobs) == 1 else [job for job in jobs if job.loop is loop]
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle, mine, then)
    if len(mine) < len(jobs):
        answer([job for job in jobs if job.loop is not loop], then)


def settle(jobs: list[Job], then: Callable[[asyncio.AbstractEventLoop], None] | None = None) -> None:
    """Resolves futures of the running event loop, and does what comes next."""
    for job in jobs:
        future = job.future
        if future.done():
            continue
        if job.error is None:
            future.set_result(job.result)
        else:
            future.set_exception(job.error)
    if then is not None:
        then(jobs[0].loop)
