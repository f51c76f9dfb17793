"""Calls that a running call makes: admitted like any other, written down below it, and made once.

A call that runs again after a crash makes its calls again, in the same order. Those that have their results in the
log are answered from there; one that was under way was dealt with by `recover` like any other call. What a tool calls
must therefore be the same when it runs again; where it is not, the log wins and the tool is told.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import final

from holdfast.engine.attempt import Attempt
from holdfast.engine.events import Nested, ToolFinished, ToolStarted
from holdfast.errors import UsageError
from holdfast.tools.binding import Suspended
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.tools.results import Refused, canceled, refusal
from holdfast.types import CallId, Digest, ToolCall, ToolResult, Wait

__all__ = ("Nesting",)

_DEEP = 8
"""Calls below calls: more is a tool that calls itself."""
_MANY = 1_000
"""Calls that one call may make."""


@final
class Nesting:
    """Makes calls on behalf of one running call."""

    __slots__ = ("_attempt", "_gateway", "_made", "_over", "_parent")

    def __init__(self, attempt: Attempt, gateway: Gateway, parent: Admitted) -> None:
        self._attempt = attempt
        self._gateway = gateway
        self._parent = parent
        self._made = 0
        self._over = False

    def __enter__(self) -> Nesting:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it with the call: whatever the tool left running in the background writes nothing more."""
        self._over = True

    async def __call__(self, name: str, arguments: str) -> ToolResult:
        """Returns what the call came to, from the log if it was made before."""
        attempt, parent = self._attempt, self._parent.call.id
        if self._over:
            raise UsageError(f"{self._parent.call.name!r} is over: a tool has to await the calls it makes")
        call = ToolCall(CallId(f"{parent}/{self._made}"), name, arguments)
        self._made += 1
        nested = Nested(parent, name, arguments)
        known = attempt.state.nested.get(call.id)
        if known is not None and (known.call.name, known.call.arguments) != (name, arguments):
            return _diverged(known.call, call)
        if known is not None and known.result is not None:
            return known.result
        verdict = self._admit(call)
        if isinstance(verdict, Wait):
            raise Suspended(verdict)
        if isinstance(verdict, Refused):
            attempt.write(ToolFinished(call.id, verdict.result, nested=nested))
            return verdict.result
        return await self._make(verdict, nested)

    def _admit(self, call: ToolCall) -> Admitted | Refused | Wait:
        if self._made > _MANY or call.id.count("/") > _DEEP:
            text = f"A call may make {_MANY} calls, {_DEEP} deep: do the work in fewer."
            return refusal(text, "execution_failed", "tool_nested_too_many")
        state = self._attempt.state
        name = f"{state.turn}/{call.id}"
        verdict = self._gateway.admit(call, name, approved=state.approvals, always=state.always)
        if isinstance(verdict, Wait) and not self._repeats:
            text = f"{call.name!r} needs a person's word, and the tool that calls it cannot wait: it is not repeatable."
            return refusal(text, "permission_denied", "tool_approval_required", denied=True)
        if isinstance(verdict, Admitted) and verdict.effect.workspace and self._parent.effect.workspace:
            text = "A call that changes files itself cannot call others that do: declare it without `workspace`."
            return refusal(text, "execution_failed", "tool_nested_writer")
        return verdict

    @property
    def _repeats(self) -> bool:
        """Whether the calling tool may be left in the middle and run again."""
        effect = self._parent.effect
        return effect.outside in ("none", "keyed") and not effect.workspace

    async def _make(self, admitted: Admitted, nested: Nested) -> ToolResult:
        attempt, gateway = self._attempt, self._gateway
        async with AsyncExitStack() as held:
            ready: Admitted | Refused = admitted
            if admitted.effect.workspace:
                await held.enter_async_context(attempt.files)
                ready = await gateway.protect(admitted)
            if isinstance(ready, Refused):
                attempt.write(ToolFinished(admitted.call.id, ready.result, nested=nested))
                return ready.result
            call_id = admitted.call.id
            posture = gateway.posture.digest if admitted.effect.workspace else Digest("")
            attempt.write(ToolStarted(call_id, ready.effect, ready.snapshot, posture, nested, ready.unsaved))
            if not ready.effect.repeatable:
                await attempt.pen.sync()  # barrier, as for any call
            try:
                with Nesting(attempt, gateway, ready) as nest:
                    outcome = await gateway.perform(ready, nest)
            except asyncio.CancelledError:
                self._broke_off(ready)
                raise
            if self._over:
                raise UsageError(f"{self._parent.call.name!r} was over before {call_id!r}: await the calls it makes")
            if isinstance(outcome, Wait):
                return self._waits(admitted, outcome)
            result = await gateway.finish(ready, outcome)
            attempt.write(ToolFinished(call_id, result))
            attempt.pen.flush()  # no barrier, but the sooner it is durable the less is done again
            return result

    def _broke_off(self, admitted: Admitted) -> None:
        """Ends a call whose caller was left in the middle, unless it can simply be made again when that comes back."""
        repeats = admitted.effect.outside in ("none", "keyed") and not admitted.effect.workspace
        if not repeats and not self._over:
            result = canceled("the call that made it was left; what it did until then stays done")
            self._attempt.write(ToolFinished(admitted.call.id, result))

    def _waits(self, admitted: Admitted, wait: Wait) -> ToolResult:
        if wait.kind == "approval":
            raise Suspended(wait)  # of a call below this one: all of them leave, and come back when it is answered
        text = (
            f"{admitted.call.name!r} wants to wait, and a call that another call makes cannot: let the model call it."
        )
        result = refusal(text, "execution_failed", "tool_nested_wait").result
        self._attempt.write(ToolFinished(admitted.call.id, result))
        return result


def _diverged(known: ToolCall, call: ToolCall) -> ToolResult:
    text = (
        f"When this call ran before, {known.name!r} stood where it wants {call.name!r} now, or had other arguments. "
        "What was done then is not done again: a tool that calls others has to call the same ones when it runs again."
    )
    return refusal(text, "execution_failed", "tool_nested_diverged").result
