"""What a run does next: a pure function of its state and the time.

Theory of operation. A session is a conversation that ends in one of five ways, and each says what comes next:

    ends with                              next
    ------------------------------------   -------------------------------------------------------------
    a person's words, or tools' results    CallModel
    an answer that wants tools             CallTools, for the calls that are neither over nor waiting
    ... all of which wait for mail         Wait, for an answer or the earliest deadline
    an answer that wants nothing           Finish as completed, or as limited when its length cap cut it off
    a terminal tool's call that went well  Finish as completed, when the turn's other calls are skipped

Three things come before that. No open run: Wait for a prompt, holding nothing. An abort: Finish. A limit that
was met: Finish as limited; but never instead of an answer that is already there, and steps, tokens and dollars are
asked about only when a model call would be next: open calls still run to their end. An answer that only announces
another one is questioned once (PressOn), where nothing else stands against it. One that has to be data is read first
(JudgeAnswer): what does not fit is said to the model once, and a second answer that does not fit ends the run. A model
that failed is asked again, later each time and not before the provider wants, while that may help: up to so many times
in each step. Of a chain of models the failure itself says who is asked next and when (`models/routing/chain.py`), until
nobody is left.

A wait ends with an answer, which is its call's result, or at its deadline, which gives the call an error as its result.
Either way the run goes on: the model reads it.

What people say never changes a decision half-way. It is queued when the owner reads its mail, between two
decisions, and `admit` says when it joins the conversation: a prompt when no run is open (it opens one), a steer
as soon as no call is open, a follow-up when the run would otherwise be over. What comes when no run is open opens
the next one, whatever it was called.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import cast

import msgspec

from holdfast.context.announcing import announces
from holdfast.engine.events import InputApplied, InputReceived, RunStarted, WaitResolved
from holdfast.engine.execution.judging import Record, lacks, of_turn, over
from holdfast.engine.letters import Setup, Status
from holdfast.engine.phases import PassOn, StartPhase, judged, output_of
from holdfast.engine.state import Run, State
from holdfast.engine.tracking import Track
from holdfast.types import AssistantMessage, CallId, Limits, Payload, ToolCall, from_dollars

__all__ = (
    "AskReview",
    "CallModel",
    "CallTools",
    "Close",
    "CloseBooks",
    "Decision",
    "Finish",
    "JudgeAnswer",
    "Leave",
    "PressOn",
    "Record",
    "Skip",
    "Wait",
    "admit",
    "decide",
    "expired",
    "idle_until",
    "opens",
    "stale",
)

_FIRST_RETRY = 500_000
"""µs before the first retry of a model call; each further one waits twice as long."""


_CLOSED = ("steps", "tool_calls", "consecutive_errors", "identical_repeats")
"""Limits at which a run may be asked for a last answer: of time and money nothing is left for one."""


class CallModel(msgspec.Struct, frozen=True, gc=False):
    """Ask the model, not before `at` (µs UTC)."""

    at: int = 0
    last: bool = False
    """Whether this is the last time, so that it may call no tools."""


class CallTools(msgspec.Struct, frozen=True):
    """Run these, in this order as far as order matters."""

    calls: tuple[ToolCall, ...]


class Skip(msgspec.Struct, frozen=True):
    """Give these, which have not begun, a result that says that somebody spoke first."""

    calls: tuple[CallId, ...]
    over: bool = False
    """Whether it is a call of a terminal tool that came first; then those that wait are given up, too."""


class Close(msgspec.Struct, frozen=True, gc=False):
    """Give every open call a result, and let the model say a last word: this limit was met."""

    limit: str


class PressOn(msgspec.Struct, frozen=True, gc=False):
    """Tell the model to do what it has only announced."""


class JudgeAnswer(msgspec.Struct, frozen=True, gc=False):
    """Read an answer that has to be data, and tell the model once where it does not fit."""


class AskReview(msgspec.Struct, frozen=True, gc=False):
    """Ask a person whether the answer will do."""


class CloseBooks(msgspec.Struct, frozen=True, gc=False):
    """Tell whoever waits for the run that is over."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Park: hold nothing until mail comes or `until` (µs UTC) is reached."""

    open: bool = False
    """Whether a run is open and waits, or one would be were it not for a pause; otherwise there is none."""
    until: int | None = None
    ended: bool = False
    """Whether nothing will ever come."""
    expired: str = ""
    """Why it ends now, unless somebody has spoken meanwhile."""


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the run; calls that are still open end as canceled."""

    status: Status
    reason: str = ""
    output: str = ""
    """The answer, where it is no message of the conversation."""


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Give the session up as it is, for whoever goes on with it. Not decided here: by whoever shares out places."""


Decision = (
    CallModel
    | CallTools
    | Skip
    | Close
    | PressOn
    | Record
    | JudgeAnswer
    | AskReview
    | CloseBooks
    | StartPhase
    | PassOn
    | Wait
    | Finish
    | Leave
)


def decide(state: State, now: int) -> Decision:
    """Returns what to do next."""
    run = state.run
    if run is None:
        return CloseBooks() if state.owed is not None else _resting(state, now)
    if run.abort is not None:
        return Finish("aborted", run.abort)
    if run.setup.setup.phases:
        return _pipeline(state, run, now)
    if state.answered or run.concluded is not None or run.rejected:
        return _answered(state, run, now)
    return _next(state, run, now)


def _resting(state: State, now: int) -> Wait:
    """Returns what to do without an open run: nothing, until somebody speaks or was silent for too long. A branch is
    kept until something is said in it.
    """
    if (last := state.last) is None or last.seq < state.branched or state.queue or state.ended:
        return Wait(open=state.paused and bool(state.queue), ended=state.ended)
    if (until := idle_until(last, state.at)) is None or until > now:
        return Wait(until=until)
    seconds = f"{(until - state.at) / 1e6:,.2f}".rstrip("0").rstrip(".")
    return Wait(ended=True, expired=f"expired: nobody said anything for {seconds} s")


def idle_until(run: Run, at: int) -> int | None:
    """Returns when a session ends in which the run was the last and nothing happened since; None for never."""
    idle = run.setup.setup.control.idle
    return None if idle is None else at + int(idle * 1e6)


def _next(state: State, run: Run, now: int) -> Decision:
    if limit := met_limit(state, run, now):
        closes = limit in _CLOSED and run.setup.setup.limits.last_answer and not run.closing
        return Close(limit) if closes else _limited(state, run, run.closing or limit)
    if state.calls:
        if state.queue and (late := _unheard(state)):
            return Skip(late)
        if state.paused or not state.ready:
            return _parked(state, run)
        return CallTools(_ready(state)) if run.track is None else _in_order(state, run, run.track)
    if run.failures and (run.hopeless or (not run.next and run.failures > run.setup.setup.limits.model_retries)):
        return _limited(state, run, run.closing) if run.closing else Finish("failed", run.failure)
    return _parked(state, run) if state.paused else CallModel(_not_before(state, run), run.closing != "")


def _in_order(state: State, run: Run, track: Track) -> Decision:
    """Returns which calls of a turn are made next where an `Execution` has a say in it."""
    step = of_turn(state, track, _ready(state))
    if isinstance(step, Record):
        return step
    return CallTools(step) if step else _parked(state, run)


def _limited(state: State, run: Run, limit: str) -> Decision:
    """Ends a run at a limit, when all is said that its contract says of that."""
    step = None if run.track is None else over(state, run, run.track, limit)
    return Finish("limited", limit) if step is None else step


def admit(state: State) -> Payload | None:
    """Returns what lets the next queued input into the conversation; None when none may enter now."""
    if state.owed is not None or state.ended:
        return None
    if state.run is None:
        for seq, received in state.queue.items():  # what comes too late for a run opens the next one, like a prompt
            if state.paused and state.keys[seq] not in state.unwanted:
                continue  # only a run that is to end at once may open: it begins nothing
            if setup := received.setup or _like(state.last):
                return RunStarted(seq, setup)
        return None
    run = state.run
    if state.paused or state.calls or run.abort is not None or run.closing or run.rejected:
        return None
    if run.setup.setup.phases:
        return None  # its phases read, it does not
    control = run.setup.setup.control
    seq = state.queued("steer") if control.steers == "all" or not state.steered else None
    over = state.answered or run.concluded is not None
    if seq is None and (over or (state.followed and control.follow_ups == "all")):
        seq = state.queued("follow_up")
    return InputApplied(seq) if seq is not None else None


def stale(state: State) -> list[int]:
    """Returns what was said and nobody will read: the session has ended, or the run is over that it was for, and is not
    the one that opens next.
    """
    if state.ended and state.run is None:
        return list(state.queue)
    for received in state.queue.values():
        if received.run:
            break
    else:
        return []  # most is for whichever run there is
    if state.run is not None:
        key = state.run.key
    else:
        key = next((state.keys[seq] for seq, received in state.queue.items() if not received.run), "")
    return [seq for seq, received in state.queue.items() if received.run and received.run != key]


def opens(state: State, received: InputReceived) -> bool:
    """Returns whether what was said opens a run: a prompt does, and the rest where there was a run of this store."""
    return received.setup is not None or (state.last is not None and not state.last.elsewhere)


def _like(last: Run | None) -> Setup | None:
    """Returns a setup for a run like the last one that nobody else waits for; None where none is set up so."""
    if last is None or last.elsewhere:
        return None
    setup = last.setup.setup
    if setup.lineage is None and not setup.workspace:
        return setup
    return msgspec.structs.replace(setup, lineage=None, workspace="")  # a fork of the session has a folder of its own


def expired(state: State, now: int) -> Iterator[WaitResolved]:
    """Yields the waits whose deadline has passed unanswered."""
    for wait in (state.run.review, state.run.phase) if state.run is not None else ():
        if wait is not None and wait.deadline is not None and wait.deadline <= now:
            yield WaitResolved(wait.token)
    due: list[tuple[int, str]] = []
    places = [0]
    while places:  # down the heap as far as there is anything due: a turn may have thousands of waits
        if (place := places.pop()) < len(state.deadlines) and state.deadlines[place][0] <= now:
            deadline, call_id = state.deadlines[place]
            call = state.calls[call_id]
            if call.result is None and call.wait is not None and call.wait.deadline == deadline:
                due.append((deadline, call.wait.token))
            places += [2 * place + 1, 2 * place + 2]
    for _, token in sorted(due):
        yield WaitResolved(token)


def met_limit(state: State, run: Run, now: int) -> str:
    """Returns the name of a limit that lets the run go no further; empty while it may."""
    if run.stop:
        return run.stop
    if run.closing and state.calls:
        return run.closing  # it was told that it can call no tools
    limits = run.setup.setup.limits
    if limits.seconds is not None and (until := run.until) is not None and now >= until:
        return "seconds"
    if state.calls:
        used_up = limits.tool_calls is not None and run.tool_calls > limits.tool_calls
        return "tool_calls" if used_up else _astray(run, limits)
    return _used_up(run, limits)


def _used_up(run: Run, limits: Limits) -> str:
    """Returns what is used up before the model is asked; from its last words only money can keep it."""
    closing = run.closing
    if not closing:
        if limits.steps is not None and run.steps >= limits.steps + run.more_steps:
            return "steps"
        if limits.tool_calls is not None and run.tool_calls > limits.tool_calls:
            return "tool_calls"
    if limits.tokens is not None and run.tokens >= limits.tokens:
        return "tokens"
    if limits.dollars is not None and (run.cost or 0) >= from_dollars(limits.dollars):
        return "dollars"
    return "" if closing else _astray(run, limits)


def _astray(run: Run, limits: Limits) -> str:
    if (most := limits.consecutive_errors) is not None and run.errors >= most:
        return "consecutive_errors"
    if (most := limits.identical_repeats) is not None and run.repeats >= most:
        return "identical_repeats"
    return ""


def _pipeline(state: State, run: Run, now: int) -> Decision:
    """Returns what a pipeline does next; see `phases.py`."""
    phases = run.setup.setup.phases
    for spec, done in zip(phases, run.outcomes, strict=False):
        if (end := judged(spec, done)) is not None:
            return Finish(cast("Status", end[0]), end[1])
    if len(run.outcomes) == len(phases):
        return Finish("completed", output=output_of(phases[-1], run.outcomes[-1]))
    if limit := met_limit(state, run, now):
        return Finish("limited", limit)
    if run.phase is not None and (said := _for_phase(state, run)) is not None:
        return PassOn(said)
    if run.phase is not None or state.paused:
        parked = _parked(state, run)
        ends = [each for each in (parked.until, run.phase and run.phase.deadline) if each is not None]
        return Wait(open=True, until=min(ends, default=None))
    return StartPhase(len(run.outcomes))


def _for_phase(state: State, run: Run) -> int | None:
    """Returns what the phase that is under way has to hear; what is to come at the end, the last one hears."""
    if not state.queue or state.paused:
        return None
    steer, last = state.queued("steer"), len(run.outcomes) + 1 == len(run.setup.setup.phases)
    return state.queued("follow_up") if steer is None and last else steer


def _answered(state: State, run: Run, now: int) -> Decision:
    if state.calls:  # of the turn in which a terminal tool ended the run
        return Skip(tuple([call.call.id for call in state.calls.values() if call.result is None]), over=True)
    if run.closing or state.cut or run.rejected:
        return _unusable(state, run)
    if state.paused and (state.queued("steer") or state.queued("follow_up")):
        return _parked(state, run)  # it was said in time: it joins this run when the pause is over
    if run.setup.setup.typed and run.concluded is None and run.fitting is None:
        return JudgeAnswer()
    if run.track is not None and (step := lacks(state, run, run.track, may_ask=not met_limit(state, run, now))):
        return step
    if run.tool_calls and _unfinished(state, run) and not met_limit(state, run, now):
        return PressOn()
    if run.setup.setup.control.review is None or run.reviewed:
        return Finish("completed", output=run.concluded or run.fitting or "")
    return _under_review(run, now)


def _unusable(state: State, run: Run) -> Decision:
    """Ends a run whose answer is none: half of one, a last word at a limit, or one that will not do."""
    if run.track is not None and run.track.broken:
        return Finish("failed", run.rejected)
    if run.closing or state.cut:
        return _limited(state, run, run.closing or "max_output_tokens")
    return Finish("failed", run.rejected, run.misfit)


def _under_review(run: Run, now: int) -> Decision:
    """Asks for a review, or waits for it: no longer than the run's time, since its waits count."""
    if run.until is not None and now >= run.until:
        return Finish("limited", "seconds")
    if run.review is None:
        return AskReview()
    ends = [end for end in (run.review.deadline, run.until) if end is not None]
    return Wait(open=True, until=min(ends, default=None))


def _unfinished(state: State, run: Run) -> bool:
    """Returns whether a model that has worked ended by announcing what it does next, and was not told so before."""
    if run.concluded is not None or run.fitting is not None or run.pressed or not run.setup.setup.limits.press_on:
        return False
    last = state.messages[-1]
    return isinstance(last, AssistantMessage) and announces(last.text)


def _unheard(state: State) -> tuple[CallId, ...]:
    """Returns the calls that somebody who spoke wants to be heard before: those that have not begun."""
    if state.queued("steer") is None:
        return ()
    return tuple(
        [
            call.call.id
            for call in state.calls.values()
            if call.result is None and call.started is None and (call.wait is None or call.wait.kind == "approval")
        ]
    )


def _ready(state: State) -> tuple[ToolCall, ...]:
    """Returns the calls that can be made, in the model's order: one that a person allowed goes back to its place."""
    calls = [state.calls[call_id] for call_id in state.ready]
    if len(calls) > 1:
        calls.sort(key=_place)
    return tuple([call.made for call in calls])


_place = attrgetter("place")


def _parked(state: State, run: Run) -> Wait:
    deadlines = [deadline for deadline, _ in state.deadlines[:1]]
    if run.until is not None:
        deadlines.append(run.until)
    return Wait(open=True, until=min(deadlines, default=None))


def _not_before(state: State, run: Run) -> int:
    if not run.failures or run.next:
        return run.retry_at  # of a chain, which has said when
    return max(run.retry_at, state.at + _FIRST_RETRY * 2 ** (run.failures - 1))
