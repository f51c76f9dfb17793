"""What an `Execution` says of a run: pure functions of what its log came to.

`watch` is the part of the fold, the others are parts of `decide`. What they find is a `Record`: events that follow from
the log, and that are written down before anything else is decided. So a run that is killed in between, or forked, or
folded again, comes to the same. A call that is answered or refused here passes no gateway, and begins nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from holdfast.engine.events import (
    AnswerLacking,
    ContractViolated,
    InputApplied,
    ModelFinished,
    ProcessEnded,
    ProcessLost,
    Resumed,
    ToolFinished,
    ToolStarted,
    WaitResolved,
)
from holdfast.engine.tracking import Track, key_of, lacking
from holdfast.engine.turns import anew
from holdfast.types import AssistantMessage, Event, Payload, Text, ToolCall, ToolError, ToolResult, UserMessage

if TYPE_CHECKING:
    from holdfast.engine.kinds.contracting import Breach
    from holdfast.engine.state import Run, State

__all__ = ("BROKEN", "Record", "lacks", "of_turn", "output_of", "over", "repeat", "watch")

BROKEN = "agent_contract_violation"
"""Why a run failed that broke its contract (source: Orloj 3.2)."""
_NOT_MADE = ToolResult(
    "Denied: this agent's contract does not name the tool, and the run is over.",
    ToolError("runtime_policy_invalid", BROKEN, "denied"),
)
_SHOWN = 200
"""Characters of a name or a marker as people and the model read it."""
_LONG = 2_000
"""Characters of a reason, however much was broken."""


class Record(msgspec.Struct, frozen=True):
    """Write these down: they follow from the log."""

    events: tuple[Payload, ...]


# ---- the fold -----------------------------------------------------------------------------------------------


def watch(state: State, run: Run, track: Track, event: Event) -> None:
    """Takes what an event means for a run with an `Execution`; before the state does, which lets go of finished turns.

    What calls of the model come to is taken where they are given it (`turns.finish_call`).
    """
    match event.data:
        case ModelFinished():
            track.answered()
        case ToolStarted() as data:
            track.began(data.call_id, data.effect, nested=data.nested is not None)
        case ToolFinished(nested=nested) as data if nested is not None:
            inner = state.nested.get(data.call_id)
            if inner is not None and inner.started is not None and not inner.started.effect.repeatable:
                track.changed()
        case InputApplied() | Resumed() | ProcessEnded() | ProcessLost():
            track.changed()
        case WaitResolved() as data if any(_by_a_person(state, each) for each in state.waits.get(data.token, ())):
            track.changed()
        case ContractViolated() as data:
            _violated(run, track, data)
        case AnswerLacking() as data:
            track.asked = data.lacking
            anew(run)
            state.messages.append(UserMessage((Text(data.text),)))
        case _:
            pass


def _by_a_person(state: State, call_id: str) -> bool:
    """Whether a call waits for somebody who may have changed anything meanwhile."""
    call = state.calls.get(call_id)  # pyright: ignore[reportArgumentType] - ids are texts
    return call is not None and call.wait is not None and call.wait.kind != "child"


def _violated(run: Run, track: Track, data: ContractViolated) -> None:
    track.noted.add(_noted(data))
    if not data.ends:
        return
    if not track.broken:
        run.rejected = f"{BROKEN}: {_words(data)}"
    elif len(run.rejected) < _LONG:
        run.rejected += f"; {_words(data)}"
    track.broken = True


def _noted(data: ContractViolated) -> str:
    return f"{data.kind} {data.call_id or data.name or data.text}"


def _words(data: ContractViolated) -> str:
    name, text = data.name[:_SHOWN], data.text[:_SHOWN]
    match data.kind:
        case "wrong_tool":
            return f"the model called {name!r}, which its contract does not name"
        case "repeated_tool":
            return f"the model made the same call of {name!r} again"
        case "missing_tool":
            return f"{name!r} was not used"
        case _:
            return f"the answer does not hold {text!r}"


# ---- a turn -------------------------------------------------------------------------------------------------


def of_turn(state: State, track: Track, ready: tuple[ToolCall, ...]) -> Record | tuple[ToolCall, ...]:
    """Returns which of the calls that can be made are to be made next, or what follows without making any; no calls
    where all have to wait for others.
    """
    wrong = [
        _violation(track, "wrong_tool", each.call)
        for each in state.calls.values()
        if each.result is None and track.wrong(each.call.name)
    ]
    if new := _new(track, wrong):
        return Record(new if not new[0].ends else (*new, *[ToolFinished(each.call_id, _NOT_MADE) for each in new]))
    if track.rules.repeats != "run":
        settled: list[Payload] = []
        for call in ready:
            found = repeat(state, track, call)
            if not found and track.rules.repeats == "answer":
                break  # it may change what those after it come to
            settled += found
        if settled:
            return Record(tuple(settled))
        ready = _apart(state, ready)
    if track.rules.stop_on_first_tool:
        waits = any(call.result is None and call.wait is not None for call in state.calls.values())
        return () if waits else ready[:1]
    return ready


def repeat(state: State, track: Track, call: ToolCall, *, unsettled: bool = False) -> tuple[Payload, ...]:
    """Returns what is written down of a call that was made before and is not made again; nothing of one that is.

    `unsettled` says that something is under way, or about to be, that may change what the call comes to.
    """
    result = track.again(call.name, call.arguments, unsettled=unsettled or bool(state.processes))
    if result is None:
        return ()
    finished = ToolFinished(call.id, result)
    if result.error is None or not track.rules.contract:
        return (finished,)
    return (*_new(track, [_violation(track, "repeated_tool", call)]), finished)


def _apart(state: State, ready: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Returns the calls without those of which the same is open and comes first: what that comes to decides."""
    if len(state.calls) == 1:
        return ready
    free, taken, waiting = {call.id for call in ready}, Counter[str](), list[ToolCall]()
    for open_ in state.calls.values():
        if open_.result is None and open_.call.id not in free:
            read = open_.started.arguments if open_.started is not None else ""
            taken[key_of(open_.call.name, read or open_.made.arguments)] += 1
    for call in ready:
        key = key_of(call.name, call.arguments)
        if not taken[key]:
            waiting.append(call)
        taken[key] += 1
    return tuple(waiting)


def _violation(track: Track, kind: Breach, call: ToolCall) -> ContractViolated:
    return ContractViolated(kind, call.name, call.id, ends=track.rules.on_violation == "fail")


def _new(track: Track, found: Iterable[ContractViolated]) -> tuple[ContractViolated, ...]:
    return tuple([each for each in found if _noted(each) not in track.noted])


# ---- the end ------------------------------------------------------------------------------------------------


def output_of(state: State, run: Run) -> str:
    """Returns what the run would end with now."""
    if run.concluded is not None:
        return run.concluded
    if run.fitting:
        return run.fitting
    for message in reversed(state.messages[run.asked :]):
        if isinstance(message, AssistantMessage):
            return message.text
    return ""


def lacks(state: State, run: Run, track: Track, *, may_ask: bool) -> Record | None:
    """Returns what follows from an answer that lacks something; None when it lacks nothing, or all is said.

    The model is told as long as it `may_ask` and lacks less each time; then the contract is broken. Who only observes
    tells it nothing: the run goes as it would without a contract.
    """
    if not track.rules.contract:
        return None
    tools, markers = lacking(track, output_of(state, run))
    many = len(tools) + len(markers)
    told = may_ask and track.rules.on_violation == "fail"
    if many and told and (track.asked is None or many < track.asked):
        return Record((AnswerLacking(many, _told(tools, markers)),))
    new = _new(track, _missing(track, tools, markers, marked=True))
    return Record(new) if new else None


def over(state: State, run: Run, track: Track, limit: str) -> Record | None:
    """Returns what follows when a limit ends the run: at that of steps the contract was to be kept by now."""
    if limit != "steps" or not track.rules.contract:
        return None
    tools, markers = lacking(track, output_of(state, run))
    new = _new(track, _missing(track, tools, markers, marked=False))
    return Record(new) if new else None


def _missing(track: Track, tools: list[str], markers: list[str], *, marked: bool) -> list[ContractViolated]:
    fails = track.rules.on_violation == "fail"
    missing = [ContractViolated("missing_tool", name, ends=fails) for name in tools]
    return missing + [ContractViolated("missing_marker", text=text, ends=fails and marked) for text in markers]


def _told(tools: list[str], markers: list[str]) -> str:
    said = ["This is not the end yet."]
    if tools:
        said.append(f"These tools have to be used, and were not with success: {_listed(tools)}.")
    if markers:
        said.append(f"The answer has to hold, as written here: {_listed(markers)}.")
    said.append("Do what is lacking, then give the whole answer.")
    return " ".join(said)


def _listed(names: list[str]) -> str:
    return ", ".join([repr(each) for each in names])
