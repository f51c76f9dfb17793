"""Calls that a running call makes: admitted like any other, written down below it, and made once.

A call that runs again after a crash makes its calls again, in the same order. Those that have their results in the
log are answered from there; one that was under way was dealt with by `recover` like any other call. What a tool calls
must therefore be the same when it runs again; where it is not, the log wins and the tool is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, final

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.doing.lasting import note_processes
from holdfast.engine.events import Nested, ToolFinished, ToolStarted
from holdfast.engine.hearing.answers import noted
from holdfast.engine.state import name_of
from holdfast.errors import UsageError, WorkspaceBusy
from holdfast.tools.binding import Suspended
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import Refused, canceled, not_free, refusal, rolled_back, unknown_outcome
from holdfast.types import CallId, Digest, Effect, ToolCall, ToolResult, Wait

if TYPE_CHECKING:
    from holdfast.tools.hooks.running import Advice

__all__ = ("Door", "Nesting", "write_notes")

_DEEP = 8
"""Calls below calls: more is a tool that calls itself."""
_MANY = 1_000
"""Calls that one call may make."""


@final
class Door(msgspec.Struct, eq=False):
    """What a running call makes others through; most calls make none, and cost nothing more than this."""

    _attempt: Attempt
    _gateway: Gateway
    _admitted: Admitted
    _over: bool = False
    nesting: Nesting | None = None
    """Set when it was used."""

    def __call__(self, name: str, arguments: str) -> Awaitable[ToolResult]:
        """Makes a call."""
        if self.nesting is None:
            if self._over:
                raise _late(self._admitted)
            self.nesting = Nesting(self._attempt, self._gateway, self._admitted)
        return self.nesting(name, arguments)

    def close(self) -> None:
        """Lets no call through any more."""
        self._over = True


@final
class Nesting:
    """Makes calls on behalf of one running call."""

    __slots__ = (
        "_above",
        "_attempt",
        "_depth",
        "_gateway",
        "_leaving",
        "_made",
        "_over",
        "_parent",
        "_parted",
        "_patient",
        "_quiet",
        "_running",
        "begun",
    )

    def __init__(
        self, attempt: Attempt, gateway: Gateway, parent: Admitted, depth: int = 1, above: Nesting | None = None
    ) -> None:
        self._attempt = attempt
        self._gateway = gateway
        self._parent = parent
        self._depth = depth
        self._above = above
        self._parted = above._parted if above is not None else _parting(attempt.state.calls)
        """What parts an id from the numbers of the calls below it."""
        self._patient = _repeats(parent.effect) and (above is None or above._patient)
        """Whether the calls above can be left and made again, so that one below may wait."""
        self._made = 0
        self._running: set[asyncio.Task[object]] | None = None
        """The tasks that are in a call; made when there is one."""
        self._quiet: asyncio.Event | None = None
        self._leaving: Wait | None = None
        """What the calling tool is about to be left for; nothing begins any more."""
        self._over = False
        self.begun: list[Wait] = above.begun if above is not None else []
        """Agents that calls below the model's call started, as they are waited for."""

    async def end(self) -> None:
        """Ends it with the call: what the tool left running in the background is stopped, and written down as that."""
        self._over = True
        mine = asyncio.current_task()
        left = [task for task in self._running or () if task is not mine]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def __call__(self, name: str, arguments: str) -> ToolResult:
        """Returns what the call came to, from the log if it was made before."""
        if self._over:
            raise _late(self._parent)
        parent = self._parent.call.id
        call = ToolCall(CallId(f"{parent}{self._parted}{self._made}"), name, arguments)
        self._made += 1
        nested = Nested(parent, name, arguments)
        if (known := self._attempt.state.nested.get(call.id)) is not None:
            if (known.call.name, known.call.arguments) != (name, arguments):
                return _diverged(known.call, call)
            if known.result is not None:
                return known.result if known.wait is None else self._ends(call, known.result, nested)
            if known.started is not None and not _repeats(known.started.effect):
                return self._ends(call, unknown_outcome(name), nested)  # it began once, and nobody knows how it ended
        if self._leaving is not None:
            raise Suspended(self._leaving)
        outcome = await self._run(call, nested, self._made)
        if isinstance(outcome, Wait):  # of this call or one below: all leave, and come back when it is answered
            await self._leave(outcome)
            raise Suspended(outcome)
        return outcome

    async def _run(self, call: ToolCall, nested: Nested, number: int) -> ToolResult | Wait:
        """Makes a call, or says what it has to wait for; from its first hook on it is under way."""
        task = asyncio.current_task()
        assert task is not None
        self._running = self._running or set()
        self._running.add(task)
        try:
            advice = None
            if self._gateway.hooks is not None:
                name = name_of(self._attempt.state, call.id, nested=True)
                advice = await self._gateway.consult(call, name, below=True)
                write_notes(self._attempt, self._gateway)
                if self._over:  # they took their time
                    raise _late(self._parent)
                if self._leaving is not None:
                    raise Suspended(self._leaving)
            verdict = self._admit(call, advice, number)
            if isinstance(verdict, Wait):
                return verdict
            if isinstance(verdict, Refused):
                return self._ends(call, verdict.result, nested)
            return await self._make(verdict, nested)
        finally:
            self._running.discard(task)
            if self._quiet is not None and not self._running:
                self._quiet.set()

    async def _leave(self, wait: Wait) -> None:
        """Lets what is under way beside come to its end before the calling tool is left: it was allowed to run."""
        self._leaving = self._leaving or wait
        if self._running:
            self._quiet = self._quiet or asyncio.Event()
            await self._quiet.wait()

    def _may_wait(self, admitted: Admitted, wait: Wait) -> Wait | None:
        """Returns what all calls above are left for; None where the call may not wait for that."""
        call = admitted.call
        if wait.kind == "approval" or wait.below.startswith(f"{call.id}{self._parted}"):
            return wait
        if wait.kind == "child":
            self.begun.append(Wait(wait.token, "child", subject=wait.subject))
        if wait.kind != "child" or not self._patient or not _repeats(admitted.effect):
            return None
        return msgspec.structs.replace(wait, below=call.id)

    def _ends(self, call: ToolCall, result: ToolResult, nested: Nested, *, undone: bool = False) -> ToolResult:
        result = rolled_back(result) if undone else result
        self._attempt.write(ToolFinished(call.id, result, nested=nested, rolled_back=undone))
        return result

    def _is_within(self, admitted: Admitted) -> bool:
        """Whether a call stands below another one of its tool, of which there may be only so many at a time."""
        spec, nesting = admitted.tool.spec, self if admitted.tool.spec.at_once is not None else None
        while nesting is not None:
            above = nesting._parent.tool.spec
            if (above.name, above.reference) == (spec.name, spec.reference):
                return True
            nesting = nesting._above
        return False

    def _admit(self, call: ToolCall, advice: Advice | None, number: int) -> Admitted | Refused | Wait:
        if number > _MANY or self._depth > _DEEP:
            text = f"A call may make {_MANY} calls, {_DEEP} deep: do the work in fewer."
            return refusal(text, "execution_failed", "tool_nested_too_many")
        state = self._attempt.state
        name = name_of(state, call.id, nested=True)
        verdict = self._gateway.admit(
            call, name, below=True, approved=state.approvals, always=state.always, advice=advice
        )
        if isinstance(verdict, Wait) and not self._patient:
            text = f"{call.name!r} needs a person's word, and the tool that calls it cannot wait: it is not repeatable."
            return refusal(text, "permission_denied", "tool_approval_required", denied=True)
        if isinstance(verdict, Admitted) and verdict.effect.workspace and self._parent.effect.workspace:
            text = "A call that changes files itself cannot call others that do: declare it without `workspace`."
            return refusal(text, "execution_failed", "tool_nested_writer")
        return verdict

    async def _make(self, admitted: Admitted, nested: Nested) -> ToolResult | Wait:
        attempt, gateway, call = self._attempt, self._gateway, admitted.call
        async with AsyncExitStack() as held:
            ready: Admitted | Refused = admitted
            if admitted.effect.workspace:
                await held.enter_async_context(attempt.files)
                try:
                    await held.enter_async_context(gateway.exclusive())
                except WorkspaceBusy as busy:
                    return self._ends(call, not_free(busy), nested)
                ready = await gateway.protect(admitted)
            if isinstance(ready, Refused):
                return self._ends(call, ready.result, nested)
            posture = gateway.posture.digest if admitted.effect.workspace else Digest("")
            attempt.write(
                ToolStarted(
                    call.id,
                    ready.effect,
                    ready.snapshot,
                    posture,
                    nested,
                    ready.unsaved,
                    absent=ready.absent,
                    arguments=ready.read,
                )
            )
            if not ready.effect.repeatable:
                await attempt.pen.sync()  # barrier, as for any call
            nest = Nesting(attempt, gateway, ready, self._depth + 1, self)
            try:
                outcome = await gateway.perform(ready, nest, has_place=self._is_within(ready))
            except asyncio.CancelledError:
                if ready.effect.workspace:
                    note_processes(attempt, gateway)  # what it had started goes on, and has to be found again
                undone = await gateway.roll_back(ready)
                if not _repeats(ready.effect):  # otherwise it can simply be made again when its caller comes back
                    why = "the call that made it was left"
                    why += "" if undone else "; what it did until then stays done"
                    self._ends(call, canceled(why), nested, undone=undone)
                raise
            finally:
                await nest.end()
            if isinstance(outcome, Wait):
                return self._may_wait(ready, outcome) or self._ends(call, _cannot_wait(call), nested)
            if ready.effect.workspace:
                note_processes(attempt, gateway)
            raw = await gateway.finish(ready, outcome)
            write_notes(attempt, gateway)
            undone = raw.error is not None and await gateway.roll_back(ready)
            result = self._ends(call, raw, nested, undone=undone)
            attempt.pen.flush()  # no barrier, but the sooner it is durable the less is done again
            return result


def write_notes(attempt: Attempt, gateway: Gateway) -> None:
    """Writes down what hooks said."""
    for note in noted(gateway):
        attempt.write(note)


def _parting(ids: Iterable[CallId]) -> str:
    """Returns what no id of the turn holds, so that whatever ids a model makes up no call has that of another: `/`, or
    more of them.
    """
    parted = "/"
    while any(parted in each for each in ids):
        parted *= 2
    return parted


def _late(parent: Admitted) -> UsageError:
    return UsageError(f"{parent.call.name!r} is over: a tool has to await the calls it makes")


def _repeats(effect: Effect) -> bool:
    """Whether a call with this effect may be left in the middle and made again as it is."""
    return effect.outside in ("none", "keyed") and not effect.workspace


def _cannot_wait(call: ToolCall) -> ToolResult:
    text = (
        f"{call.name!r} wants to wait for what a call that another call makes cannot wait for: let the model call it."
    )
    return refusal(text, "execution_failed", "tool_nested_wait").result


def _diverged(known: ToolCall, call: ToolCall) -> ToolResult:
    text = (
        f"When this call ran before, {known.name!r} stood where it wants {call.name!r} now, or had other arguments. "
        "What was done then is not done again: a tool that calls others has to call the same ones when it runs again."
    )
    return refusal(text, "execution_failed", "tool_nested_diverged").result
