"""From events to state: what each event means, and nothing else.

`fold` changes a state in place by one event; it is total (an unknown event changes only `seq`), it reads no
clock and asks nobody. `replay` folds a whole log, leaving out what was rewound. Both a live run and a resumed
one go through here, so that they cannot differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import cast

from holdfast.engine.events import (
    AbortRequested,
    BudgetExhausted,
    CallReopened,
    FilesRestored,
    Forked,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelFinished,
    ModelStarted,
    Rewound,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.state import Call, Run, State
from holdfast.types import Event, ToolCall, ToolError, ToolMessage, ToolResult, Wait

__all__ = ("ABSENT", "fold", "not_approved", "not_in_this_branch", "replay", "visible")

_MAYBE_SPENT = frozenset(("interrupted", "lost", "connection", "timeout", "malformed"))
"""How a call ends that the provider may bill; one it refused costs nothing."""
ABSENT = ToolError("canceled", "not_in_this_branch")
_DENIED = frozenset(("tool_approval_denied", "tool_approval_required", "tool_mode_read_only"))


def fold(state: State, event: Event) -> None:
    """Changes the state by one event."""
    state.seq = event.seq
    state.at = event.at
    match event.data:
        case ModelFinished() as data:
            state.turn = event.seq
            _model_finished(state, data)
        case ToolStarted() as data:
            _started(state, data, event.at)
        case ToolFinished() as data:
            _finished(state, data)
        case InputReceived() as data:
            state.queue[event.seq] = data
            state.keys[event.seq] = event.cause
        case RunStarted() as data:
            received, key = state.queue.pop(data.input), state.keys.pop(data.input)
            state.workspace = data.setup.workspace or state.workspace
            state.run = Run(event.seq, data, key, event.at, state.workspace, abort=state.unwanted.pop(key, None))
            state.messages.append(received.message)
        case InputApplied() as data:
            state.messages.append(state.queue.pop(data.input).message)
            del state.keys[data.input]
        case RunFinished() as data:
            _run_finished(state, data)
        case _:
            _fold_rare(state, event)


def _fold_rare(state: State, event: Event) -> None:
    match event.data:
        case ToolWaiting() as data:
            state.calls[data.call_id].wait = data.wait
            if data.wait.kind == "approval":
                state.calls[data.call_id].started = None  # it runs from its beginning when it may
        case WaitResolved() as data:
            _resolve(state, data)
        case CallReopened() as data:
            (state.nested if data.nested else state.calls)[data.call_id].started = None
        case AbortRequested() as data:
            _abort_requested(state, data)
        case Forked() | Rewound() as data:
            _branch(state, data)
        case FilesRestored():
            state.restoring = ()
        case _ if state.run is not None:
            _fold_run(state.run, event)
        case _:
            pass


def _fold_run(run: Run, event: Event) -> None:
    match event.data:
        case ModelStarted() as data:
            run.reserved_tokens, run.reserved_cost = data.tokens, data.cost or 0
        case ModelFailed() as data:
            _model_failed(run, data)
        case BudgetExhausted() as data:
            run.stop = data.limit
        case _:
            pass


def _abort_requested(state: State, data: AbortRequested) -> None:
    if state.run is not None and data.run in ("", state.run.key):
        state.run.abort = data.reason
    elif data.run in state.keys.values():
        state.unwanted[data.run] = data.reason


def _model_finished(state: State, data: ModelFinished) -> None:
    message = data.message
    state.messages.append(message)
    state.calls = {call.id: Call(call) for call in message.calls}
    state.unfinished = len(state.calls)
    run = cast("Run", state.run)
    run.steps += 1
    run.tool_calls += len(state.calls)
    run.usage = run.usage + message.usage
    run.cost = None if run.cost is None or data.cost is None else run.cost + data.cost
    run.reserved_tokens = run.reserved_cost = run.failures = run.retry_at = 0
    if data.exceeded:
        run.stop = "reservation_exceeded"


def _model_failed(run: Run, data: ModelFailed) -> None:
    if data.usage is not None:
        run.usage = run.usage + data.usage
        run.cost = None if run.cost is None or data.cost is None else run.cost + data.cost
        run.stop = "reservation_exceeded" if data.exceeded else run.stop
    elif data.code in _MAYBE_SPENT:  # nobody reported what it used: it stays charged at its reservation
        run.charged_tokens += run.reserved_tokens
        if run.cost is not None:
            run.cost += run.reserved_cost
    run.reserved_tokens = run.reserved_cost = 0
    if data.code in ("interrupted", "lost"):
        return
    run.failures += 1
    run.failure = f"{data.code}: {data.message}"
    run.hopeless = not data.again
    run.retry_at = data.retry_at or 0


def _started(state: State, data: ToolStarted, at: int) -> None:
    nested = data.nested
    if nested is None:
        call = state.calls[data.call_id]
    else:
        known = state.nested.get(data.call_id)
        call = known or Call(ToolCall(data.call_id, nested.name, nested.arguments))
        state.nested[data.call_id] = call
    call.started, call.started_at = data, at
    if state.run is not None and data.snapshot is not None and data.snapshot.whole:
        state.run.saved = True


def _finished(state: State, data: ToolFinished) -> None:
    error = data.result.error
    if error is not None and error.reason in _DENIED and state.run is not None:
        state.run.denied += 1
    if data.result.stored:
        state.stored.add(data.result.stored)
    if data.nested is None:
        _finish_call(state, state.calls[data.call_id], data.result)
    elif (inner := state.nested.get(data.call_id)) is not None:
        inner.result = data.result
    else:  # it was refused, and never began
        state.nested[data.call_id] = Call(
            ToolCall(data.call_id, data.nested.name, data.nested.arguments), result=data.result
        )


def _finish_call(state: State, call: Call, result: ToolResult) -> None:
    if call.result is None:
        state.unfinished -= 1
    call.result = result
    if not state.unfinished:
        _close_turn(state)


def _close_turn(state: State) -> None:
    """Moves the results of a turn into the conversation, in call order; there is one for each call by now."""
    run, all_failed, fingerprint = state.run, True, 0
    for call in state.calls.values():
        result = cast("ToolResult", call.result)
        failed = result.error is not None
        all_failed = all_failed and failed
        fingerprint = hash((fingerprint, call.call.name, call.call.arguments, result.content))
        state.messages.append(ToolMessage(call.call.id, call.call.name, result.content, failed))
    if run is not None:
        run.errors = run.errors + 1 if all_failed else 0
        run.repeats = run.repeats + 1 if fingerprint == run.fingerprint else 1
        run.fingerprint = fingerprint
    state.calls = {}
    if state.nested or state.approvals:
        state.nested, state.approvals = {}, set()


def _resolve(state: State, data: WaitResolved) -> None:
    for call in state.calls.values():
        wait = call.wait
        if wait is None or wait.token != data.token or call.result is not None:
            continue
        if wait.kind == "approval":
            _approve(state, call, wait, data)
        elif data.content is None:
            call.wait = None
            text = "Nobody answered in time."
            _finish_call(state, call, ToolResult(text, ToolError("approval_timeout", "tool_wait_expired")))
        else:
            call.wait = None
            error = ToolError("execution_failed", "tool_answered_with_error") if data.is_error else None
            _finish_call(state, call, ToolResult(data.content, error))
        return


def _approve(state: State, call: Call, wait: Wait, data: WaitResolved) -> None:
    """Lets a call go on to admission again, or ends it, as a person said; whatever is no clear yes is a no."""
    call.wait = None
    said = "deny" if data.is_error else data.content
    if said in ("once", "always"):
        state.approvals.add(wait.digest)
        if said == "always":
            state.always.add(wait.grant)
        return
    if state.run is not None:
        state.run.denied += 1
    _finish_call(state, call, not_approved(said))


def not_approved(said: str | None) -> ToolResult:
    """Returns the result of a call that a person did not allow; None when nobody said anything in time."""
    if said is None:
        return ToolResult(
            "Denied: nobody answered in time.", ToolError("approval_timeout", "tool_approval_timeout", "denied")
        )
    reason = said.removeprefix("deny").strip(": \n")
    text = (
        f"Denied by a person: {reason}"
        if reason
        else "Denied by a person. Do not try the same again; ask what to do instead."
    )
    return ToolResult(text, ToolError("approval_denied", "tool_approval_denied", "denied"))


def _run_finished(state: State, data: RunFinished) -> None:
    run = cast("Run", state.run)
    run.finished = data
    state.last, state.run = run, None


def not_in_this_branch() -> ToolResult:
    """Returns the result of a call that stayed with the session this one was forked from."""
    return ToolResult("Not in this branch: the call was open when this branch was made.", ABSENT)


def _branch(state: State, data: Forked | Rewound) -> None:
    state.restoring = data.files
    state.workspace = data.workspace or state.workspace
    state.restoring_in = state.workspace
    state.always.clear()  # what was allowed there was allowed there
    for call in state.calls.values():
        call.result = call.result or not_in_this_branch()
        call.wait = None
    state.unfinished = 0
    if state.calls:
        _close_turn(state)
    # What people sent was meant for the branch that was left; and so was its run.
    state.queue.clear()
    state.keys.clear()
    state.unwanted.clear()
    if state.run is not None:
        run = state.run
        run.finished = RunFinished("aborted", "left for another branch", run.steps, run.usage, run.cost)
        state.last, state.run = run, None


def visible(events: Iterable[Event]) -> list[Event]:
    """Returns the events that are part of the conversation: what a rewind took back is left out.

    A rewind goes on from the event it names, as the conversation was there: also from one that an earlier rewind left,
    which so is taken back itself.
    """
    told = list(events)
    if not any(isinstance(event.data, Rewound) for event in told):
        return told
    seqs = [event.seq for event in told]
    before: list[int] = []  # of each event, the place of the one that comes before it in the conversation
    last = -1
    for place, event in enumerate(told):
        if isinstance(event.data, Rewound):
            last = bisect_right(seqs, event.data.to) - 1
        before.append(last)
        last = place
    kept: list[Event] = []
    while last >= 0:
        kept.append(told[last])
        last = before[last]
    kept.reverse()
    return kept


def replay(events: Iterable[Event]) -> State:
    """Returns the state a whole log comes to."""
    state = State()
    for event in visible(events):
        fold(state, event)
    return state
