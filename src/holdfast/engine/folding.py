"""From events to state: what each event means, and nothing else.

`fold` changes a state in place by one event; it is total (an unknown event changes only `seq`), it reads no
clock and asks nobody. `replay` folds a whole log, leaving out what was rewound. Both a live run and a resumed
one go through here, so that they cannot differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, cast

from holdfast.engine.events import (
    AbortRequested,
    AccountOpened,
    AnswerJudged,
    AnswerUnfinished,
    BudgetExhausted,
    CallReopened,
    FilesRestored,
    Forked,
    InputApplied,
    InputDropped,
    InputReceived,
    LastAnswerAsked,
    LimitsRaised,
    ModelFailed,
    ModelFinished,
    ModelStarted,
    Paused,
    PhaseFailed,
    PhaseStarted,
    ProcessEnded,
    ProcessLost,
    ProcessStarted,
    Resumed,
    ReviewRequested,
    Rewound,
    RunClosed,
    RunFinished,
    RunStarted,
    SessionEnded,
    ToolFinished,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.execution.judging import watch
from holdfast.engine.letters import Setup
from holdfast.engine.state import Call, Done, Run, State
from holdfast.engine.tracking import Track
from holdfast.engine.turns import (
    anew,
    begin_below,
    close_turn,
    finish_below,
    finish_call,
    forget_early,
    judged,
    not_in_this_branch,
    resolve,
    take_early,
    waits,
)
from holdfast.errors import Corrupt
from holdfast.models.routing.chain import note, reasons
from holdfast.types import Digest, Event, Payload, Text, ToolError, ToolResult, UserMessage

__all__ = ("BROKEN", "fold", "fold_log", "last_words", "replay", "visible")

BROKEN = (LookupError, TypeError, ValueError, AttributeError, AssertionError, RecursionError, OverflowError)
"""What a fold ends with when events do not belong to each other."""
_MAYBE_SPENT = frozenset(("interrupted", "lost", "connection", "timeout", "malformed"))
"""How a call ends that the provider may bill; one it refused costs nothing."""
_UNFINISHED = (
    "Your last message only says what you are about to do, and ends there. Do it now, or give the answer itself; if "
    "nothing is left to do, say what was done and what came of it."
)
"""What the model is told when its answer is only an announcement."""
_DENIED = frozenset(("tool_approval_denied", "tool_approval_required", "tool_mode_read_only", "tool_hook_failed"))
_FORBIDDEN = "tool_permission_denied"
"""What a policy or a hook denied, and what a tool itself was denied somewhere; only the first was never begun."""


def fold(state: State, event: Event) -> None:
    """Changes the state by one event."""
    state.seq = event.seq
    state.at = event.at
    data = event.data
    if (run := state.run) is not None and run.track is not None:
        watch(state, run, run.track, event)
    _FREQUENT.get(type(data), _fold_rare)(state, data, event)


def _fold_rare(state: State, rare: Payload, event: Event) -> None:
    match rare:
        case ToolWaiting() as data:
            waits(state, data)
        case WaitResolved() as data:
            _resolved(state, data)
        case CallReopened() as data:
            (state.nested if data.nested else state.calls)[data.call_id].started = None
        case LastAnswerAsked() as data if state.run is not None:
            state.run.closing = data.limit
            state.messages.append(UserMessage((Text(last_words(data.limit)),)))
        case AnswerUnfinished() if state.run is not None:
            state.run.pressed = True
            state.messages.append(UserMessage((Text(_UNFINISHED),)))
        case AnswerJudged() as data if state.run is not None:
            judged(state, state.run, data)
        case PhaseStarted() as data if state.run is not None:
            _fold_run(state.run, event)
            if (early := take_early(state, data.wait.token)) is not None:
                resolve(state, early)
        case (
            AccountOpened()
            | ModelStarted()
            | ModelFailed()
            | BudgetExhausted()
            | ReviewRequested()
            | PhaseFailed()
            | LimitsRaised()
        ) if state.run is not None:
            _fold_run(state.run, event)
        case _:
            _fold_session(state, event)


def _fold_session(state: State, event: Event) -> None:
    match event.data:
        case AbortRequested() as data:
            _abort_requested(state, data)
        case InputDropped() as data:
            gone = state.queue.pop(data.input, None)
            state.dropped = state.dropped or bool(gone and gone.setup and gone.setup.deliver)
            state.unwanted.pop(state.keys.pop(data.input, ""), None)
        case Paused():
            state.paused = not state.ended
        case Resumed():
            state.paused = False
        case SessionEnded() as data:
            _ended(state, data)
        case Forked() | Rewound() as data:
            _branch(state, data)
            _leave_to_file(state, data, event.seq)
        case FilesRestored():
            state.restoring = ()
        case RunClosed():
            state.owed = None
        case ProcessStarted() | ProcessEnded() | ProcessLost() as data:
            _fold_process(state, data)
        case _:
            pass


def _fold_process(state: State, data: ProcessStarted | ProcessEnded | ProcessLost) -> None:
    if isinstance(data, ProcessStarted):
        state.processes[data.process] = data
        return
    state.processes.pop(data.process, None)
    if isinstance(data, ProcessLost):
        told = f"The process {data.name!r} does not run any more: {data.why}. Start it again if it is still needed."
        state.messages.append(UserMessage((Text(told),)))


def _fold_run(run: Run, event: Event) -> None:
    match event.data:
        case ModelStarted() as data:
            run.reserved_tokens, run.reserved_cost, run.asking = data.tokens, data.cost or 0, data.model
        case ModelFailed() as data:
            _model_failed(run, data)
        case BudgetExhausted() as data:
            run.stop = data.limit
        case AccountOpened() as data:
            run.account = data.account
        case ReviewRequested() as data:
            run.review = data.wait
        case PhaseStarted() as data:
            run.phase = data.wait
            run.children |= {data.wait.token}
        case PhaseFailed() as data:
            run.outcomes += (Done("", "failed", data.why),)
        case LimitsRaised() as data if data.run == run.key:
            run.more_seconds += run.allowed(data.seconds)
            run.more_steps += max(0, data.steps)
            run.extensions += data.seconds > 0
        case _:
            pass


def last_words(limit: str) -> str:
    """Returns what the model is told when it may say one last thing."""
    return (
        f"This run has reached its limit of {limit.replace('_', ' ')}: no tool can be called any more. Say now, in one "
        "answer, what was done, what was found, and what is left to do."
    )


def _received(state: State, data: InputReceived, event: Event) -> None:
    state.queue[event.seq] = data
    state.keys[event.seq] = event.cause


def _run_started(state: State, data: RunStarted, event: Event) -> None:
    received, key = state.queue.pop(data.input), state.keys.pop(data.input)
    setup, messages = data.setup, state.messages
    for message in received.history:
        if isinstance(message, UserMessage):
            state.said[len(messages)] = True
        messages.append(message)
    if setup.workspace:
        state.workspace = setup.workspace
    abort = state.unwanted.pop(key, None) if state.unwanted else None
    state.run = Run(event.seq, data, key, event.at, state.workspace, len(messages), abort=abort, id=event.id)
    if setup.execution is not None:
        state.run.track = Track(setup.execution)
    if received.kind != "proceed":
        state.said[len(messages)] = True
        messages.append(received.message)
    if setup.files:
        state.stored.update((file.digest, file.chunks) for file in setup.files)
    if (lineage := setup.lineage) is not None and lineage.files and not state.last:
        state.restoring, state.restoring_in = lineage.files, state.workspace


def _applied(state: State, data: InputApplied, event: Event) -> None:
    """Lets a queued input join the conversation; an answer that was being reviewed is not the last any more."""
    received = state.queue.pop(data.input)
    del state.keys[data.input]
    state.said[len(state.messages)] = False
    state.messages.append(received.message)
    state.steered = state.steered or received.kind == "steer"
    state.followed = state.followed or received.kind == "follow_up"
    if state.run is not None:
        state.run.review, state.run.reviewed = None, False
        anew(state.run)


def _ended(state: State, data: SessionEnded) -> None:
    state.ended, state.paused = True, False
    if state.run is not None and state.run.abort is None:
        state.run.abort = data.reason


def _abort_requested(state: State, data: AbortRequested) -> None:
    if state.run is not None and data.run in ("", state.run.key):
        state.run.abort = data.reason
    elif data.run in state.keys.values():
        state.unwanted[data.run] = data.reason


def _model_finished(state: State, data: ModelFinished, event: Event) -> None:
    message = data.message
    state.turn = event.seq
    if state.left:
        state.left = {}  # of a log from before they got their results
    state.messages.append(message)
    run = state.run
    assert run is not None
    if wanted := message.calls:
        state.calls = {call.id: Call(call, place=place) for place, call in enumerate(wanted)}
        state.ready = dict.fromkeys(state.calls)
        state.unfinished = len(state.calls)
        run.tool_calls += len(state.calls)
    elif state.calls:
        state.calls, state.ready, state.unfinished = {}, {}, 0
    run.steps += 1
    run.usage = run.usage + message.usage
    _spend(run, data.cost)
    run.reserved_tokens = run.reserved_cost = 0
    if run.failures or run.partial is not None:
        run.failures = run.retry_at = 0
        run.tried, run.next, run.partial = (), "", None
    state.steered = state.followed = False
    if data.exceeded:
        run.stop = "reservation_exceeded"


def _spend(run: Run, cost: int | None) -> None:
    """Counts what a call of its own cost; None where nobody knows."""
    if cost is None:
        run.cost = None
    elif cost:
        run.own_cost += cost
        if run.cost is not None:
            run.cost += cost


def _model_failed(run: Run, data: ModelFailed) -> None:
    if data.usage is not None:
        run.usage = run.usage + data.usage
        _spend(run, data.cost)
        run.stop = "reservation_exceeded" if data.exceeded else run.stop
    elif data.code in _MAYBE_SPENT or _was_heard(run, data):  # nobody reported its use: charged at its reservation
        run.charged_tokens += run.reserved_tokens
        run.own_cost += run.reserved_cost
        if run.cost is not None:
            run.cost += run.reserved_cost
    run.reserved_tokens = run.reserved_cost = 0
    run.partial = data.partial if data.mode == "continue" else None
    if data.code in ("interrupted", "lost"):
        return
    run.failures += 1
    run.tried = note(run.tried, data.model, data.code, data.message, data.retry_at or 0)
    run.failure = reasons(run.tried)
    run.hopeless = not data.again
    run.next = data.next
    run.retry_at = data.next_at if data.next else data.retry_at or 0


def _was_heard(run: Run, data: ModelFailed) -> bool:
    """Whether something came of the very call that failed, and not only of the one that it was to go on with."""
    return bool(data.mode) and (data.partial is None or data.partial != run.partial)


def _started(state: State, data: ToolStarted, event: Event) -> None:
    nested = data.nested
    call = state.calls[data.call_id] if nested is None else begin_below(state, data.call_id, nested)
    call.started, call.started_at, call.wait = data, event.at, None
    if state.run is not None and data.snapshot is not None and data.snapshot.whole:
        state.run.saved = True


def _finished(state: State, data: ToolFinished, event: Event) -> None:
    error = data.result.error
    if error is not None and state.run is not None and (error.reason in _DENIED or _forbidden(state, data, error)):
        state.run.denied += 1
    _brought(state, data.result, failed=error is not None)
    if data.nested is None:
        finish_call(state, state.calls[data.call_id], data.result)
    else:
        finish_below(state, data, data.nested)


def _forbidden(state: State, data: ToolFinished, error: ToolError) -> bool:
    if error.reason != _FORBIDDEN or error.status != "denied" or data.call_id in state.left:
        return False
    call = state.calls.get(data.call_id) if data.nested is None else state.nested.get(data.call_id)
    return call is None or call.started is None


def _resolved(state: State, data: WaitResolved) -> None:
    if data.result is not None:
        _brought(state, data.result, failed=data.is_error)
    resolve(state, data)


def _brought(state: State, result: ToolResult, *, failed: bool) -> None:
    """Notes what a result names that may be read, and where its call went."""
    if result.stored:
        state.stored[result.stored] = ()
    if result.metadata and not failed and state.run is not None:
        _touched(state.run, result.metadata)


def _touched(run: Run, facts: dict[str, Any]) -> None:
    """Notes which URLs a call went to (`url`, and `finalUrl` that answered) or found (`urls`)."""
    urls: list[Any] = [facts.get("url"), facts["finalUrl"]] if "finalUrl" in facts else []
    found = facts.get("urls")
    if isinstance(found, list):
        urls += cast("list[Any]", found)
    run.touched.update((url, None) for url in urls if isinstance(url, str))


def _run_finished(state: State, data: RunFinished, event: Event) -> None:
    run = cast("Run", state.run)
    run.finished, run.finished_at = data, event.at
    state.last, state.run, state.left = run, None, {}
    forget_early(state)
    if run.setup.setup.lineage is not None or run.account:
        state.owed = run


_FREQUENT: dict[type[Payload], Callable[[State, Any, Event], None]] = {
    ModelFinished: _model_finished,
    ToolStarted: _started,
    ToolFinished: _finished,
    InputReceived: _received,
    RunStarted: _run_started,
    InputApplied: _applied,
    RunFinished: _run_finished,
}
"""What most of a log is made of: looked up, since each of 10,000 steps is folded, and again whenever it is replayed."""


def _branch(state: State, data: Forked | Rewound) -> None:
    state.branched, state.restoring = state.seq, data.files
    state.workspace = data.workspace or state.workspace
    state.restoring_in = state.workspace
    state.always.clear()  # what was allowed there was allowed there
    if isinstance(data, Forked):
        state.tokens.clear()  # it has an inbox of its own, where nothing was answered
    state.paused = state.ended = state.steered = state.followed = False
    state.owed = None
    forget_early(state)
    for call in state.calls.values():
        call.result = call.result or not_in_this_branch()
        call.wait = None
    state.unfinished = 0
    if state.calls:
        close_turn(state)
    state.unsettled, state.left = {}, {}
    state.nested, state.approvals, state.waits = {}, {}, {}  # also of a turn that a file does not bring to its end
    # What people sent was meant for the branch that was left; and so was its run.
    state.queue.clear()
    state.keys.clear()
    state.unwanted.clear()
    state.dropped = False
    if state.run is not None:
        run = state.run
        run.finished = RunFinished("aborted", "left for another branch", run.steps, run.usage, run.cost)
        state.last, state.run = run, None


def _leave_to_file(state: State, data: Forked | Rewound, seq: int) -> None:
    """Lets go of what somebody might act on, where all that was said so far came from a file: whoever wrote it is not
    the one who has the session now. The words stay.
    """
    if isinstance(data, Forked) and _is_foreign(data):
        state.foreign = seq
    elif isinstance(data, Forked) or not data.to < state.foreign < seq:
        return
    if state.last is not None:
        state.last.setup = RunStarted(state.last.setup.input, Setup(Digest(""), state.last.setup.setup.model))
        state.last.account, state.last.elsewhere = (), True
    for each in state.processes.values():
        told = f"The process {each.name!r} does not run here: it stayed where this session came from."
        state.messages.append(UserMessage((Text(told),)))
    state.processes.clear()


def _is_foreign(data: Payload) -> bool:
    """Whether an event says that all before it came from a file."""
    return isinstance(data, Forked) and (not data.parent or data.foreign)


def visible(events: Iterable[Event]) -> list[Event]:
    """Returns the events that are part of the conversation: what a rewind took back is left out.

    A rewind goes on from the event it names, as the conversation was there: also from one that an earlier rewind left,
    which so is taken back itself. One that names no event before it goes on from where it stands.
    """
    told = list(events)
    if not any(isinstance(event.data, Rewound) for event in told):
        return told
    seqs = [event.seq for event in told]
    before: list[int] = []  # of each event, the place of the one that comes before it in the conversation
    last = -1
    for place, event in enumerate(told):
        if isinstance(event.data, Rewound):
            last = min(bisect_right(seqs, event.data.to), place) - 1
        before.append(last)
        last = place
    kept: list[Event] = []
    while last >= 0:
        kept.append(told[last])
        last = before[last]
    kept.reverse()
    return kept


def replay(events: Iterable[Event]) -> State:
    """Returns the state a whole log comes to.

    Raises:
        Corrupt: an event cannot follow those before it; a file may bring such a log, in what a rewind took out of it.
    """
    state = State()
    try:
        fold_log(state, events)
    except BROKEN as error:
        raise Corrupt(
            f"event {state.seq} says what cannot follow what came before it ({type(error).__name__}: {error}): go back "
            "to an event before it, or delete the session"
        ) from error
    return state


def fold_log(state: State, events: Iterable[Event]) -> None:
    """Folds a whole log into a new state, which where it breaks off with one of `BROKEN` says at which event."""
    told = list(events)
    kept = visible(told)
    if len(kept) == len(told):
        for event in kept:
            fold(state, event)
        return
    shown = {event.seq for event in kept}
    state.foreign = max([event.seq for event in told if _is_foreign(event.data)], default=0)  # rewound or not
    for event in told:
        if event.seq in shown:
            fold(state, event)
        elif isinstance(event.data, ToolWaiting):  # out of the conversation; its token is used up all the same
            state.tokens.add(event.data.wait.token)
        elif isinstance(event.data, WaitResolved):
            state.tokens.add(event.data.token)
