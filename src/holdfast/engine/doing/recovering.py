"""What becomes of what was under way when the previous owner of a session stopped.

The order matters. First nothing of the previous owner may act any more: its commands are killed. Then each call that
began and has no result is dealt with, the inner ones of calls that call others first, so that the outer one finds
their results when it runs again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.doing.lasting import lost, put_away
from holdfast.engine.doing.nesting import write_notes
from holdfast.engine.events import CallReopened, FilesKept, ModelFailed, ToolFinished
from holdfast.engine.state import Call, name_of
from holdfast.errors import SandboxError, UsageError
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import rolled_back, unknown_outcome
from holdfast.types import Effect, SnapshotRef, ToolResult

__all__ = ("files_left", "recover")


async def recover(attempt: Attempt) -> None:
    """Brings a session whose run is open to where the loop can go on.

    Raises:
        UsageError: this process has not got what the run acts through; unless somebody wants its end, which needs none
            of it, and gives calls that were under way their results.
        SandboxError, OSError: the same, of the run's folder; or something in it that has to go cannot be removed.
    """
    state, run = attempt.state, attempt.run
    attempt.settle_left()
    if run.reserved_tokens or run.reserved_cost:
        partial = run.partial  # what the call that was lost was to go on with is still there
        mode = "" if partial is None else "continue"
        why = "the process died during the call"
        attempt.write(ModelFailed("lost", why, model=run.asking, partial=partial, mode=mode))
    calls = [state.calls[call_id] for call_id in state.ready]  # thousands of others may wait, and one has been answered
    begun = [call for call in (*reversed(state.nested.values()), *calls) if _under_way(call)]
    if not begun and not state.processes:
        return
    try:
        gateway = (await attempt.bindings()).tools
    except (UsageError, SandboxError, OSError):  # a tool that is not here, a folder that is gone
        if any(mail.kind in ("abort", "exit") for mail in attempt.pen.first_mail):
            return
        raise
    gone = lost(attempt, gateway)
    if begun or gone:
        await gateway.fence()
    for call in begun:
        await _settle(attempt, gateway, call)
    await put_away(attempt, gateway, gone)  # last: what was put back may hold it, too


def _under_way(call: Call) -> bool:
    return call.started is not None and call.result is None and call.wait is None


async def _settle(attempt: Attempt, gateway: Gateway, call: Call) -> None:
    """Gives a call that was under way its result, or lets it run again."""
    assert call.started is not None
    effect, snapshot, nested = call.started.effect, call.started.snapshot, call.started.nested
    repeatable = effect.outside in ("none", "keyed")
    if effect.outside == "checkable":
        try:
            result = await _asked(attempt, gateway, call)
        except LookupError:
            pass
        else:
            if gateway.hooks is not None:
                write_notes(attempt, gateway)
            if result is not None:
                if undone := result.error is not None and await _roll_back(attempt, gateway, snapshot):
                    result = rolled_back(result)
                else:
                    await _put_away(attempt, gateway, call)
                    result = await _with_files(gateway, result, effect, snapshot)
                attempt.write(ToolFinished(call.call.id, result, nested=nested, rolled_back=undone))
                return
            repeatable = True
    if repeatable and (snapshot is not None or not effect.workspace):
        done, before = await _put_back(attempt, gateway, snapshot)
        if done:
            attempt.write(CallReopened(call.call.id, nested is not None, before))
            return
    await _leave_unknown(attempt, gateway, call)


async def _leave_unknown(attempt: Attempt, gateway: Gateway, call: Call) -> None:
    """Gives a call the result that nobody knows what it came to."""
    assert call.started is not None
    snapshot, nested = call.started.snapshot, call.started.nested
    files = await gateway.changed(snapshot) if snapshot is not None else ""
    if await _roll_back(attempt, gateway, snapshot):
        result = rolled_back(unknown_outcome(call.call.name, files))
        attempt.write(ToolFinished(call.call.id, result, nested=nested, rolled_back=True))
        return
    if taken := await _put_away(attempt, gateway, call):  # the diff showed it, too
        files = f"{files}\nRemoved, because programs outside the sandbox obey it: {', '.join(taken)}.".lstrip()
    attempt.write(ToolFinished(call.call.id, unknown_outcome(call.call.name, files), nested=nested))


async def _roll_back(attempt: Attempt, gateway: Gateway, snapshot: SnapshotRef | None) -> bool:
    """Puts files back after a call that failed or was killed, where that is wanted; somebody may have worked there
    since, so they are kept before, as far as they can be.
    """
    if snapshot is None or not gateway.rolls_back:
        return False
    return (await _put_back(attempt, gateway, snapshot, named=True))[0]


async def _put_away(attempt: Attempt, gateway: Gateway, call: Call) -> tuple[str, ...]:
    """Removes what a call left at protected paths, whose process died before it could; its files are kept before, as
    far as they can be: somebody may have put it there since.
    """
    assert call.started is not None
    absent = call.started.absent
    if not await gateway.appeared(absent):
        return ()
    async with _alone(attempt, gateway):
        await _keep(attempt, await gateway.capture())
        return await gateway.put_away(absent)


async def _keep(attempt: Attempt, files: SnapshotRef | None) -> None:
    if files is not None:
        attempt.write(FilesKept(files))
        await attempt.pen.sync()  # barrier: from here on they are there no more


async def _asked(attempt: Attempt, gateway: Gateway, call: Call) -> ToolResult | None:
    """Returns what a checkable call came to; None when it did not happen; raises LookupError when nobody can tell."""
    nested = call.started is not None and call.started.nested is not None
    prepared = gateway.prepare(call.made, name_of(attempt.state, call.call.id, nested=nested))
    if not isinstance(prepared, Admitted):
        raise LookupError("the tool is not what it was")
    with attempt.interruptible() as scope:
        found = await gateway.ask(prepared, call.started_at)
        return None if found is None else await gateway.finish(prepared, found)
    assert scope.interrupted
    raise LookupError("the run was stopped first")


async def _with_files(gateway: Gateway, result: ToolResult, effect: Effect, snapshot: SnapshotRef | None) -> ToolResult:
    """Returns the result of a call that happened outside, with a word on files it may have left half-written."""
    if not effect.workspace:
        return result
    files = await gateway.changed(snapshot) if snapshot is not None else ""
    note = "The process died before this call returned: its files may not be what they would have been."
    return msgspec.structs.replace(result, content=f"{result.content}\n\n{note} {files}".rstrip())


async def _put_back(
    attempt: Attempt, gateway: Gateway, snapshot: SnapshotRef | None, *, named: bool = False
) -> tuple[bool, SnapshotRef | None]:
    """Puts files back, and returns whether they are back and how all of them were just before it, as far as that can be
    kept; `named` has an event of its own say so first.
    """
    before = None
    if snapshot is None:
        return True, None
    try:
        async with _alone(attempt, gateway):
            if snapshot.whole:
                before = await gateway.capture()
            if named:
                await _keep(attempt, before)
            await gateway.restore(snapshot)
    except (SandboxError, OSError):
        return False, before
    return True, before


@asynccontextmanager
async def _alone(attempt: Attempt, gateway: Gateway) -> AsyncGenerator[None]:
    """Has the folder alone; a run that is to end does not wait for whoever else has it.

    Raises:
        WorkspaceBusy: somebody else has it.
    """
    async with AsyncExitStack() as held:
        with attempt.interruptible() as scope:
            await held.enter_async_context(gateway.exclusive(wait=not attempt.stopping))
        if scope.interrupted:
            await held.enter_async_context(gateway.exclusive(wait=False))
        yield


async def files_left(attempt: Attempt) -> SnapshotRef | None:
    """Returns how the run leaves the workspace, where its files were kept before."""
    try:
        return await (await attempt.bindings()).tools.capture()
    except (UsageError, SandboxError, OSError):
        return None  # a run that was not ours to go on with is ended all the same
