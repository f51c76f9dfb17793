"""Keeps the log's book of processes that outlive the calls that started them.

The backend knows what runs in this process, the log what was running when it was last written. Before the model is
asked the two are compared: what the log calls running and nobody here has is gone, and the model is told so. That is
the case after a kill of the runtime, after another runtime has had the session, and in a fork.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.engine.attempt import Attempt
from holdfast.engine.events import FilesKept, ProcessEnded, ProcessLost, ProcessStarted
from holdfast.sandbox.native.lasting.marking import looked_after
from holdfast.tools.gateway import Gateway
from holdfast.types import CallId

__all__ = ("account_for", "lost", "note_processes", "put_away")

_LOST = "it was left behind when another process took this session over, or went with the process that ran it"


def note_processes(attempt: Attempt, gateway: Gateway) -> None:
    """Writes down which processes were started and which ended since somebody looked."""
    known = attempt.state.processes
    for each in gateway.processes:
        asked = each.asked
        if each.id not in known and (each.code is None or not each.noted):
            call = CallId(asked.call)
            absent = tuple(sorted(each.absent))
            attempt.write(ProcessStarted(each.id, asked.name, asked.command, call, asked.epoch, absent))
            each.noted = True
        if each.id in known and each.code is not None:
            attempt.write(ProcessEnded(each.id, asked.name, each.code))
        each.settled = each.code is not None


def lost(attempt: Attempt, gateway: Gateway) -> list[ProcessStarted]:
    """Returns the processes that the log calls running and nobody here has."""
    here = {each.id for each in gateway.processes}
    return [each for each in attempt.state.processes.values() if each.process not in here]


async def put_away(attempt: Attempt, gateway: Gateway, gone: Sequence[ProcessStarted]) -> tuple[str, ...]:
    """Removes what is at protected paths where nothing was before processes that are lost, and returns what that was:
    whoever looked after them died with them, as far as anybody knows. All files are kept before, as far as they can
    be: somebody may have put it there since.

    Raises:
        OSError: it cannot be removed.
        WorkspaceBusy: somebody else has the folder, and the run is to end.
    """
    absent = sorted({path for each in gone if not looked_after(each.process) for path in each.absent})
    if not await gateway.appeared(absent):
        return ()
    async with gateway.exclusive(wait=not attempt.stopping):
        if (kept := await gateway.capture()) is not None:
            attempt.write(FilesKept(kept))
            await attempt.pen.sync()  # barrier: from here on they are there no more
        return await gateway.put_away(absent)


async def account_for(attempt: Attempt) -> None:
    """Brings the book up to date; to be called where the model is asked next.

    Nothing that is lost runs any more when this says so.
    """
    gateway = (await attempt.bindings()).tools
    note_processes(attempt, gateway)
    if gone := lost(attempt, gateway):
        await gateway.fence()
        taken = await put_away(attempt, gateway, gone)
        why = f"{_LOST}; removed, because programs outside obey it: {', '.join(taken)}" if taken else _LOST
        for each in gone:
            attempt.write(ProcessLost(each.process, each.name, why))
