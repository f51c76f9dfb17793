"""What an answer becomes before it is written down: what a call waited for passes the end of the gateway, too.

The fold makes a result of it and asks nobody, so hooks are asked, secrets hidden and bounds kept here. An answer that
came before anything waited for it is without secrets from the first; hooks see it when the call is there that it is
for. Not here: that nobody answered in time, which is our own word.
"""

from __future__ import annotations

import msgspec

from holdfast.engine.events import ToolNoted, WaitResolved
from holdfast.engine.state import Call, State, name_of
from holdfast.engine.turns import answered
from holdfast.tools.gateway import Gateway
from holdfast.types import CallId, ToolCall, ToolResult, Wait

__all__ = ("heard", "noted", "passes", "unheard", "waiting_for")

_EMPTY = ToolResult("")


def passes(state: State, data: WaitResolved) -> bool:
    """Whether an answer is, or may become, what a call comes to: no word on an approval, a review or a phase."""
    run = state.run
    if run is None or data.content is None:
        return False
    if data.token in [each.token for each in (run.review, run.phase) if each is not None]:
        return False
    return (call := waiting_for(state, data.token)) is None or call.wait is None or call.wait.kind != "approval"


def waiting_for(state: State, token: str) -> Call | None:
    """Returns the call of the model that waits under a token."""
    for call_id in state.waits.get(token, ()):
        call = state.calls.get(call_id)
        if call is not None and call.result is None and call.wait is not None and call.wait.token == token:
            return call
    return None


async def heard(gateway: Gateway, state: State, data: WaitResolved, call: Call, wait: Wait) -> WaitResolved:
    """Returns an answer as the call has it that waits for it, or one below that does."""
    inner = state.nested.get(CallId(wait.below)) if wait.below else None
    if wait.below and (inner is None or inner.result is not None):
        return unheard(gateway, data)  # nothing comes of it
    asks = inner or call
    read = asks.started.arguments if asks.started is not None else ""
    made = asks.made if not read else ToolCall(asks.call.id, asks.call.name, read)
    raw = answered(data)
    return _told(data, raw, await gateway.receive(made, name_of(state, made.id, nested=inner is not None), raw))


def unheard(gateway: Gateway, data: WaitResolved) -> WaitResolved:
    """Returns an answer without secrets, of which no hook is asked."""
    raw = answered(data)
    return _told(data, raw, gateway.hide(raw))


def noted(gateway: Gateway) -> list[ToolNoted]:
    """Returns what hooks said since this was asked last, as it is written down."""
    return [ToolNoted(call, n.kind, n.topic, n.text, n.tags, n.scope) for call, n in gateway.noted()]


def _told(data: WaitResolved, raw: ToolResult, result: ToolResult) -> WaitResolved:
    if result == raw:
        return data
    beside = msgspec.structs.replace(result, content="", error=None)
    return msgspec.structs.replace(
        data,
        content=result.content,
        is_error=result.error is not None,
        error=result.error,
        result=None if beside == _EMPTY else beside,
    )
