"""How a call ends before its answer came: no task, connection, process or memory stays behind."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.testing.conformance.checking import expect
from holdfast.testing.conformance.transports.calling import called, context, elsewhere, fails_with
from holdfast.testing.conformance.transports.peer import Peer
from holdfast.tools.elsewhere.attempting import Attempts
from holdfast.tools.elsewhere.calling import Elsewhere

__all__ = ("a_cancelled_call_is_over_at_once", "a_call_that_takes_too_long_is_left", "too_much_is_not_read")

_SOON = 10.0
"""Seconds within which what was let go of is gone."""
_AT_ONCE = 2.0
_BOUND = 64 * 1024
"""Bytes of an answer that the checks let be read."""
_FEW = 8
"""Calls that are cancelled at once."""
_ROUNDS = 3
"""So often: what each call leaves is then more than what may be kept."""


async def too_much_is_not_read(peer: Peer) -> None:
    """An answer that is too large is an error that trying again does not mend, and takes no memory to speak of."""
    before, peak = peer.reached, _Peak()
    tool = elsewhere(peer.transport("floods"), Attempts(timeout=60.0, most=3), most=_BOUND)
    result = await called(peer, tool)
    took = peak.stop()
    fails_with(result, "execution_failed", False)
    expect(before is None or peer.reached == before + 1, "it was not asked again", before, peer.reached)
    expect(took < peer.traits.memory, f"it took less than {peer.traits.memory:,} bytes", took)
    await _until(lambda: not peer.left(), lambda: f"the other side stops; left: {peer.left()}")


async def a_call_that_takes_too_long_is_left(peer: Peer) -> None:
    """An attempt ends with its time, and leaves nothing behind; the next one begins anew."""
    timeout = 0.3 + peer.traits.begins
    tool = elsewhere(peer.transport("sleeps"), Attempts(timeout=timeout))
    fails_with(await called(peer, tool), "timeout")
    await _until(lambda: not peer.left(), lambda: f"the other side stops; left: {peer.left()}")
    before, below, began = peer.reached, _descendants(), time.monotonic()
    twice = elsewhere(peer.transport("sleeps"), Attempts(timeout=timeout, most=2))
    fails_with(await called(peer, twice), "timeout")
    took = time.monotonic() - began
    expect(2 * timeout - 0.05 <= took < 2 * timeout + _SOON, "two attempts took twice the time", took)
    expect(before is None or peer.reached == before + 2, "each reached it", before, peer.reached)
    await _until(lambda: not peer.left(), lambda: f"the other side stops; left: {peer.left()}")
    await _until(lambda: not _descendants() - below, lambda: f"no process; {_descendants()}")
    await _still_works(peer)


async def a_cancelled_call_is_over_at_once(peer: Peer) -> None:
    """A call that is cancelled is over at once, and leaves no task, connection or process behind."""
    tool, count, below = elsewhere(peer.transport("sleeps")), min(_FEW, peer.traits.many), _descendants()
    await _cancelled(peer, tool, count)
    await _until(lambda: not peer.left(), lambda: f"the other side stops; left: {peer.left()}")
    kept = _Kept(count)
    for _ in range(_ROUNDS):
        await _cancelled(peer, tool, count)
    await _until(lambda: not peer.left(), lambda: f"the other side stops; left: {peer.left()}")
    await _until(lambda: not _descendants() - below, lambda: f"no process is left; {_descendants() - below}")
    await kept.until_gone()
    await _still_works(peer)


async def _cancelled(peer: Peer, tool: Elsewhere, count: int) -> None:
    before = peer.reached
    tasks = [asyncio.ensure_future(called(peer, tool, context(key=f"local/s/run/{n}"))) for n in range(count)]
    if before is None:
        await asyncio.sleep(0.2 + peer.traits.begins)  # nobody can tell when it has begun
    else:
        await _until(lambda: (peer.reached or 0) >= before + count, lambda: f"{count} calls reached it: {peer.reached}")
    expect(not any(task.done() for task in tasks), "a call that is not answered waits", tasks)
    began = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_SOON)
    took = time.monotonic() - began
    expect(all(task.cancelled() for task in tasks), "each is over, as cancelled", tasks)
    expect(took < _AT_ONCE, "at once", took)


async def _still_works(peer: Peer) -> None:
    result = await called(peer, elsewhere(peer.transport("works")))
    expect(result.error is None, "another call goes well afterwards", result)


class _Kept:
    """What this process has open, to be compared with later: what every call leaves is more than what is kept for the
    next ones, which is a connection for each of them at most, with both its ends here.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._tasks = asyncio.all_tasks()
        self._open = _descriptors()

    async def until_gone(self) -> None:
        """Returns when nothing is there that was left behind."""
        await _until(
            lambda: len(self._more_tasks()) <= self._calls,
            lambda: f"no task is left; seen: {self._more_tasks()}",
        )
        await _until(
            lambda: _descriptors() <= self._open + 2 * self._calls,
            lambda: f"no connection, pipe or file is left; {self._open} were open, now {_descriptors()}",
        )

    def _more_tasks(self) -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() if not task.done()} - self._tasks


class _Peak:
    """The memory that is taken at most from now on, beyond what is taken now: of Python, and of the process as far as
    the system tells.
    """

    def __init__(self) -> None:
        self._resident = _status("VmRSS") if _forgotten_peak() else 0
        self._traced = tracemalloc.is_tracing()
        if not self._traced:
            tracemalloc.start()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]

    def stop(self) -> int:
        """Returns the bytes."""
        python = tracemalloc.get_traced_memory()[1] - self._before
        if not self._traced:
            tracemalloc.stop()
        return max(python, _status("VmHWM") - self._resident if self._resident else 0)


def _forgotten_peak() -> bool:
    """Makes the system forget the most that this process ever took; returns whether it could."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    """Returns a size of this process, in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many as possible, as quickly
    except OSError:
        return 0


def _descendants() -> set[int]:
    """Returns the processes below this one."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if Path("/proc").is_dir() else ():  # noqa: PTH208 - processes come and go
        try:
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split() if name.isdigit() else []
        except OSError:
            continue
        if fields and fields[0] != b"Z":
            parents[int(name)] = int(fields[1])
    found: set[int] = {os.getpid()}
    while more := {each for each, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


async def _until(condition: Callable[[], bool], promise: Callable[[], str]) -> None:
    """Waits until a condition holds, some seconds at most."""
    end = time.monotonic() + _SOON
    while not condition():
        if time.monotonic() >= end:
            raise AssertionError(promise())
        await asyncio.sleep(0.01)
