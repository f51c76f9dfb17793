"""The tool calls of one turn, as the loop makes them: admit all, then let them act."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Container, Iterator, Sequence

from holdfast.engine.attempt import Attempt
from holdfast.engine.doing.children import forsake_begun
from holdfast.engine.doing.lasting import note_processes
from holdfast.engine.doing.nesting import Door
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting
from holdfast.engine.state import name_of
from holdfast.engine.turns import used_up
from holdfast.errors import Fenced, WorkspaceBusy
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import Refused, canceled, not_free, rolled_back, token_too_long, token_used
from holdfast.types import TOKEN_LIMIT, ToolCall, ToolResult, Wait

__all__ = ("AT_ONCE", "close_calls", "perform_calls")

_STOPPED = "the run was stopped"
AT_ONCE = 32
"""Calls of a turn that overlap: enough to wait for many slow answers together, and few enough that a turn of thousands
does not open thousands of connections, files and threads. The others wait their turn."""


async def perform_calls(attempt: Attempt, calls: Sequence[ToolCall]) -> None:
    """Runs the calls of a turn and writes down what each came to.

    Calls that may change the workspace run one after another, in the model's order, each behind a barrier and a
    snapshot of its own; the others overlap with them and with each other, up to `AT_ONCE` of them, and begin in the
    model's order. One that a person has to allow waits without holding the others up.
    """
    gateway, state = (attempt.bound or await attempt.bindings()).tools, attempt.state
    if len(calls) > 1 and (terminal := gateway.terminal):
        calls = _up_to_the_end(calls, terminal)
    writers: list[Admitted] = []
    others: list[Admitted] = []
    cut = state.cut
    for call in calls:
        asked = state.calls[call.id].call
        verdict = gateway.admit(
            asked,
            name_of(state, call.id),
            cut=cut,
            approved=state.approvals,
            always=state.always,
            edited=None if call is asked else call,
        )
        if isinstance(verdict, Admitted):
            (writers if verdict.effect.workspace else others).append(verdict)
        elif isinstance(verdict, Wait):
            _wait(attempt, call, verdict)
        else:
            attempt.write(ToolFinished(call.id, verdict.result))
    unrepeatable = False
    for admitted in others[:AT_ONCE]:
        attempt.write(_started(admitted))
        unrepeatable = unrepeatable or not admitted.effect.repeatable
    if unrepeatable:
        await attempt.pen.sync()  # barrier: what must not silently happen twice
    if attempt.stopping:
        return  # it came while the barrier was waited for
    attempt.pen.flush()  # no barrier: readers see what is under way while it takes its time
    with attempt.interruptible() as scope:
        await _all(attempt, gateway, others, writers)
    if scope.interrupted:  # what waits beside is for whoever ends the run: a child has to be told
        await forsake_begun(attempt, "the call that started it was stopped")
        close_calls(attempt, "the run was stopped; what it did until then stays done", waiting=False)


def _up_to_the_end(calls: Sequence[ToolCall], terminal: Container[str]) -> Sequence[ToolCall]:
    """Returns the calls before the first one that may end the run; or that one alone, when it comes first.

    What comes after it, in the model's order, is made only if it fails.
    """
    for place, call in enumerate(calls):
        if call.name in terminal:
            return calls[: place or 1]
    return calls


def _started(admitted: Admitted) -> ToolStarted:
    terminal = admitted.tool.spec.terminal
    if terminal or admitted.read:
        return ToolStarted(admitted.call.id, admitted.effect, terminal=terminal, arguments=admitted.read)
    return ToolStarted(admitted.call.id, admitted.effect)


def _all(
    attempt: Attempt, gateway: Gateway, others: Sequence[Admitted], writers: Sequence[Admitted]
) -> Awaitable[None]:
    """Runs calls, in tasks of their own only where some overlap."""
    if not others:
        return _in_turn(attempt, gateway, writers)
    if writers or len(others) > 1:
        return _overlapping(attempt, gateway, others, writers)
    return _one(attempt, gateway, others[0])


async def _overlapping(
    attempt: Attempt, gateway: Gateway, others: Sequence[Admitted], writers: Sequence[Admitted]
) -> None:
    try:
        waiting = iter(others)  # all take from this one: no task waits for its call
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(others))):
                group.create_task(_as_they_come(attempt, gateway, waiting))
            if writers:
                group.create_task(_in_turn(attempt, gateway, writers))
    except BaseExceptionGroup as errors:
        fenced = [error for error in errors.exceptions if isinstance(error, Fenced)]
        # Tools do not raise: the store refused, and once is enough.
        raise (fenced or errors.exceptions)[0] from errors


async def _as_they_come(attempt: Attempt, gateway: Gateway, waiting: Iterator[Admitted]) -> None:
    task = asyncio.current_task()
    for admitted in waiting:
        if attempt.state.calls[admitted.call.id].started is None:
            if attempt.hurried:
                return  # somebody spoke: what has not begun does not begin
            attempt.write(_started(admitted))
            if not admitted.effect.repeatable:
                await attempt.pen.sync()  # barrier, as for those before it
        await _one(attempt, gateway, admitted)
        if task is not None and task.cancelling():
            return  # a tool that kept its cancellation to itself ends alone, and no other begins


async def _in_turn(attempt: Attempt, gateway: Gateway, writers: Sequence[Admitted]) -> None:
    for admitted in writers:
        if attempt.hurried:
            return
        try:
            # Calls that other calls make may change files, too; and so may other sessions.
            async with attempt.files, gateway.exclusive():
                if attempt.hurried:
                    return
                await _change_files(attempt, gateway, admitted)
        except WorkspaceBusy as busy:
            attempt.write(ToolFinished(admitted.call.id, not_free(busy)))


async def _change_files(attempt: Attempt, gateway: Gateway, admitted: Admitted) -> None:
    protected = await gateway.protect(admitted)
    if isinstance(protected, Refused):
        attempt.write(ToolFinished(admitted.call.id, protected.result))
        return
    attempt.write(
        ToolStarted(
            admitted.call.id,
            protected.effect,
            protected.snapshot,
            gateway.posture.digest,
            unsaved=protected.unsaved,
            terminal=protected.tool.spec.terminal,
            absent=protected.absent,
            arguments=protected.read,
        )
    )
    await attempt.pen.sync()  # barrier: from here on files may differ from their snapshot
    try:
        await _one(attempt, gateway, protected)
    except asyncio.CancelledError:
        # While nobody else may change files; whoever closes the calls of the turn comes later.
        if await gateway.roll_back(protected) and attempt.interrupted:
            attempt.write(ToolFinished(admitted.call.id, rolled_back(canceled(_STOPPED)), rolled_back=True))
        raise


async def _one(attempt: Attempt, gateway: Gateway, admitted: Admitted) -> None:
    began = attempt.clock.monotonic()
    door = Door(attempt, gateway, admitted)
    try:
        outcome = await gateway.perform(admitted, door)
    except asyncio.CancelledError:
        if attempt.interrupted and admitted.effect.workspace:
            note_processes(attempt, gateway)  # what it had started goes on, and has to be found again
        raise
    finally:
        door.close()
        if door.nesting is not None:
            await door.nesting.end()
    if isinstance(outcome, Wait):
        _wait(attempt, admitted.call, outcome)
        return
    duration = int((attempt.clock.monotonic() - began) * 1e6)
    if admitted.effect.workspace:
        note_processes(attempt, gateway)
    result = await gateway.finish(admitted, outcome)
    undone = result.error is not None and admitted.snapshot is not None and await gateway.roll_back(admitted)
    result = rolled_back(result) if undone else result
    attempt.write(ToolFinished(admitted.call.id, result, duration, rolled_back=undone))
    attempt.pen.flush()  # no barrier, but the sooner this is durable the less a crash leaves unknown


def _wait(attempt: Attempt, call: ToolCall, wait: Wait) -> None:
    """Lets a call wait, unless it would do so for ever."""
    if len(wait.token) > TOKEN_LIMIT:
        attempt.write(ToolFinished(call.id, token_too_long(call.name)))
    elif used_up(attempt.state, wait):
        attempt.write(ToolFinished(call.id, token_used(call.name, wait.token)))
    else:
        attempt.write(ToolWaiting(call.id, wait))
        attempt.pen.flush()  # no barrier: others of the turn may take their time, and somebody is to answer meanwhile


def close_calls(attempt: Attempt, why: str, *, waiting: bool = True) -> None:
    """Gives every call that has no result one that says it was canceled; those that wait are left where they are not
    to be closed, too.
    """
    result: ToolResult = canceled(why)
    for call in list(attempt.state.nested.values()):
        if call.result is None and call.started is not None:
            attempt.write(ToolFinished(call.call.id, result, nested=call.started.nested))
    for call in list(attempt.state.calls.values()):
        if call.result is None and (waiting or call.wait is None):
            attempt.write(ToolFinished(call.call.id, result))
