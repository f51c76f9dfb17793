"""The tool calls of one turn, as the loop makes them: admit all, then let them act."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.doing.children import forsake_begun
from holdfast.engine.doing.lasting import note_processes
from holdfast.engine.doing.nesting import Door, write_notes
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting
from holdfast.engine.execution.judging import repeat
from holdfast.engine.hearing.answers import heard
from holdfast.engine.state import name_of
from holdfast.engine.tracking import key_of
from holdfast.engine.turns import ASKED, used_up
from holdfast.errors import Fenced, WorkspaceBusy
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import Refused, canceled, not_free, rolled_back, token_too_long, token_used
from holdfast.types import TOKEN_LIMIT, CallId, ToolCall, ToolResult, Wait

if TYPE_CHECKING:
    from holdfast.tools.hooks.running import Advice

__all__ = ("close_calls", "perform_calls")

_NO_ADVICE: Mapping[CallId, Advice | None] = {}
_STOPPED = "the run was stopped"


async def perform_calls(attempt: Attempt, calls: Sequence[ToolCall]) -> None:
    """Runs the calls of a turn and writes down what each came to.

    Calls that may change the workspace run one after another, in the model's order, each behind a barrier and a
    snapshot of its own; the others overlap with them and with each other, as many as the limits let, and begin in the
    model's order. One that a person has to allow waits without holding the others up.
    """
    gateway, state = (attempt.bound or await attempt.bindings()).tools, attempt.state
    if len(calls) > 1 and (terminal := gateway.terminal):
        calls = _up_to_the_end(calls, terminal)
    advice = _NO_ADVICE if gateway.hooks is None else await _consult(attempt, gateway, calls, state.cut)
    if advice is None:
        return  # whoever ends the run closes the calls
    writers, others = _admit(attempt, gateway, calls, advice)
    if (track := attempt.run.track) is not None and track.broken:
        return  # the run is to fail before any more of it is made
    unrepeatable = False
    for admitted in others[: attempt.run.setup.setup.limits.calls_at_once]:
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
        if gateway.hooks is not None:
            write_notes(attempt, gateway)  # those of a call that was stopped while its result was looked at
        await forsake_begun(attempt, "the call that started it was stopped")
        close_calls(attempt, "the run was stopped; what it did until then stays done", waiting=False)


def _admit(
    attempt: Attempt, gateway: Gateway, calls: Sequence[ToolCall], advice: Mapping[CallId, Advice | None]
) -> tuple[list[Admitted], list[Admitted]]:
    """Returns the calls that may change files and the others, ready to run; what the rest comes to is written down."""
    writers: list[Admitted] = []
    others: list[Admitted] = []
    state, cut, seen = attempt.state, attempt.state.cut, set[str]()
    for call in calls:
        asked = state.calls[call.id].call
        verdict = gateway.admit(
            asked,
            name_of(state, call.id),
            cut=cut,
            approved=state.approvals,
            always=state.always,
            edited=None if call is asked else call,
            advice=advice.get(call.id),
        )
        if isinstance(verdict, Admitted):
            if attempt.run.track is not None and _made_before(attempt, verdict, seen, [*writers, *others]):
                continue
            (writers if verdict.effect.workspace else others).append(verdict)
        elif isinstance(verdict, Wait):
            _wait(attempt, call, verdict)
        else:
            attempt.write(ToolFinished(call.id, verdict.result))
    return writers, others


def _made_before(attempt: Attempt, admitted: Admitted, seen: set[str], before: Sequence[Admitted]) -> bool:
    """Whether a call, as its tool reads it, is not made now: it was made before, or the same is about to be, and what
    that comes to decides.

    Most repeats are seen by `execution/judging.py`; this one was written otherwise and reads the same, or comes after
    calls of its turn of which only their effects say that they change nothing.
    """
    track, call = attempt.run.track, admitted.call
    if track is None or track.rules.repeats == "run":
        return False
    changing = any(not each.effect.repeatable for each in before)
    known = repeat(attempt.state, track, call, unsettled=changing)
    for payload in known:
        attempt.write(payload)
    key = key_of(call.name, call.arguments)
    if known or key in seen:
        return True
    seen.add(key)
    return False


async def _consult(
    attempt: Attempt, gateway: Gateway, calls: Sequence[ToolCall], cut: bool
) -> Mapping[CallId, Advice | None] | None:
    """Returns what the hooks say of each call, as it would be made; None where the run is stopped meanwhile.

    A person's word is bound to what hooks said of the call as it was. What they changed it to is theirs: a hook may
    refuse it, and asks nobody about it again.
    """
    found: dict[CallId, Advice | None] = {}
    with attempt.interruptible() as scope:
        for call in calls:
            asked, name = attempt.state.calls[call.id].call, name_of(attempt.state, call.id)
            first = None if call is asked else await gateway.consult(asked, name, cut=cut)
            advice = await gateway.consult(call, name, cut=cut)
            found[call.id] = (
                advice if first is None or advice is None else msgspec.structs.replace(advice, ask=first.ask)
            )
    write_notes(attempt, gateway)
    return None if scope.interrupted or attempt.stopping else found


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
            for _ in range(min(attempt.run.setup.setup.limits.calls_at_once, len(others))):
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
        await _hear(attempt, gateway, admitted.call, outcome)
        _wait(attempt, admitted.call, outcome, () if door.nesting is None else door.nesting.begun)
        return
    duration = int((attempt.clock.monotonic() - began) * 1e6)
    if admitted.effect.workspace:
        note_processes(attempt, gateway)
    result = await gateway.finish(admitted, outcome)
    if gateway.hooks is not None:
        write_notes(attempt, gateway)
    undone = result.error is not None and admitted.snapshot is not None and await gateway.roll_back(admitted)
    result = rolled_back(result) if undone else result
    attempt.write(ToolFinished(admitted.call.id, result, duration, rolled_back=undone))
    attempt.pen.flush()  # no barrier, but the sooner this is durable the less a crash leaves unknown


async def _hear(attempt: Attempt, gateway: Gateway, call: ToolCall, wait: Wait) -> None:
    """Has an answer pass the gateway that came before its call waited for it."""
    state = attempt.state
    early = state.early.get(wait.token)
    if early is None or early.anew or wait.kind in ASKED:
        return
    told = await heard(gateway, state, early, state.calls[call.id], wait)
    write_notes(attempt, gateway)
    if told is not early:
        attempt.write(msgspec.structs.replace(told, anew=True))


def _wait(attempt: Attempt, call: ToolCall, wait: Wait, begun: Sequence[Wait] = ()) -> None:
    """Lets a call wait, unless it would do so for ever; `begun` is what calls below it started by now."""
    if len(wait.token) > TOKEN_LIMIT:
        attempt.write(ToolFinished(call.id, token_too_long(call.name)))
    elif used_up(attempt.state, wait):
        attempt.write(ToolFinished(call.id, token_used(call.name, wait.token)))
    else:
        known = attempt.run.children | {wait.token}
        beside = tuple([each for each in begun if each.token not in known])
        attempt.write(ToolWaiting(call.id, wait, beside))
        attempt.pen.flush()  # no barrier: others of the turn may take their time, and somebody is to answer meanwhile


def close_calls(attempt: Attempt, why: str, *, waiting: bool = True) -> None:
    """Gives every call that has no result one that says it was canceled; those that wait are left where they are not
    to be closed, too.
    """
    result: ToolResult = canceled(why)
    state = attempt.state
    for call in [state.nested[each] for below in state.unsettled.values() for each in below]:
        attempt.write(ToolFinished(call.call.id, call.result or result, nested=call.nested))
    for call in list(attempt.state.calls.values()):
        if call.result is None and (waiting or call.wait is None):
            attempt.write(ToolFinished(call.call.id, result))
