"""What a run does next: a pure function of its state and the time.

Theory of operation. A session is a conversation that ends in one of four ways, and each says what comes next:

    ends with                              next
    ------------------------------------   -------------------------------------------------------------
    a person's words, or tools' results    CallModel
    an answer that wants tools             CallTools, for the calls that are neither over nor waiting
    ... all of which wait for mail         Wait, for an answer or the earliest deadline
    an answer that wants nothing           Finish as completed, or as limited when its length cap cut it off

Three things come before that. No open run: Wait for a prompt, holding nothing. An abort: Finish. A limit that
was met: Finish as limited; but never instead of an answer that is already there, and steps, tokens and dollars are
asked about only when a model call would be next: open calls still run to their end. A model that failed is asked
again, later each time and not before the provider wants, while that may help: up to so many times in each step.

A wait ends with an answer, which is its call's result, or at its deadline, which gives the call an error as its result.
Either way the run goes on: the model reads it.

What people say never changes a decision half-way. It is queued when the owner reads its mail, between two
decisions, and `admit` says when it joins the conversation: a prompt when no run is open (it opens one), a steer
as soon as no call is open, a follow-up when the run would otherwise be over. What comes when no run is open opens
the next one, whatever it was called.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast.engine.events import InputApplied, RunStarted, Status, WaitResolved
from holdfast.engine.state import Call, Run, State
from holdfast.types import Payload, ToolCall, from_dollars

__all__ = ("CallModel", "CallTools", "Decision", "Finish", "Wait", "admit", "decide", "expired")

_FIRST_RETRY = 500_000
"""µs before the first retry of a model call; each further one waits twice as long."""


class CallModel(msgspec.Struct, frozen=True, gc=False):
    """Ask the model, not before `at` (µs UTC)."""

    at: int = 0


class CallTools(msgspec.Struct, frozen=True):
    """Run these, in this order as far as order matters."""

    calls: tuple[ToolCall, ...]


class Wait(msgspec.Struct, frozen=True, gc=False):
    """Park: hold nothing until mail comes or `until` (µs UTC) is reached."""

    open: bool = False
    """Whether a run is open and waits, or there is none."""
    until: int | None = None


class Finish(msgspec.Struct, frozen=True, gc=False):
    """End the run; calls that are still open end as canceled."""

    status: Status
    reason: str = ""


Decision = CallModel | CallTools | Wait | Finish


def decide(state: State, now: int) -> Decision:
    """Returns what to do next."""
    run = state.run
    if run is None:
        return Wait()
    if run.abort is not None:
        return Finish("aborted", run.abort)
    if state.answered:
        return Finish("limited", "max_output_tokens") if state.cut else Finish("completed")
    if limit := met_limit(state, run, now):
        return Finish("limited", limit)
    if state.calls:
        return _tools(run, [call for call in state.calls.values() if call.result is None])
    if run.failures and (run.hopeless or run.failures > run.setup.setup.limits.model_retries):
        return Finish("failed", run.failure)
    return CallModel(_not_before(state, run))


def admit(state: State) -> Payload | None:
    """Returns what lets the next queued input into the conversation; None when none may enter now."""
    if state.run is None:
        for seq, received in state.queue.items():  # what comes too late for a run opens the next one, like a prompt
            if setup := received.setup or (state.last and state.last.setup.setup):
                return RunStarted(seq, setup)
        return None
    if not state.queue or state.calls or state.run.abort is not None:
        return None
    seq = state.queued("steer")
    if seq is None and state.answered:
        seq = state.queued("follow_up")
    return InputApplied(seq) if seq is not None else None


def expired(state: State, now: int) -> Iterator[WaitResolved]:
    """Yields the waits whose deadline has passed unanswered."""
    for call in state.calls.values():
        wait = call.wait
        if wait is not None and wait.deadline is not None and wait.deadline <= now:
            yield WaitResolved(wait.token)


def met_limit(state: State, run: Run, now: int) -> str:
    """Returns the name of a limit that lets the run go no further; empty while it may."""
    limits = run.setup.setup.limits
    calls_model = not state.calls
    spent = run.cost or 0
    checks = (
        (run.stop, run.stop),
        (limits.seconds is not None and now - run.started_at >= limits.seconds * 1e6, "seconds"),
        (limits.steps is not None and calls_model and run.steps >= limits.steps, "steps"),
        (limits.tool_calls is not None and run.tool_calls > limits.tool_calls, "tool_calls"),
        (limits.tokens is not None and calls_model and run.tokens >= limits.tokens, "tokens"),
        (limits.dollars is not None and calls_model and spent >= from_dollars(limits.dollars), "dollars"),
        (_reached(run.errors, limits.consecutive_errors), "consecutive_errors"),
        (_reached(run.repeats, limits.identical_repeats), "identical_repeats"),
    )
    return next((name for met, name in checks if met), "")


def _reached(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit


def _tools(run: Run, unfinished: list[Call]) -> Decision:
    ready = tuple(call.call for call in unfinished if call.wait is None)
    if ready:
        return CallTools(ready)
    deadlines = [call.wait.deadline for call in unfinished if call.wait and call.wait.deadline is not None]
    if (seconds := run.setup.setup.limits.seconds) is not None:
        deadlines.append(run.started_at + int(seconds * 1e6))
    return Wait(open=True, until=min(deadlines, default=None))


def _not_before(state: State, run: Run) -> int:
    if not run.failures:
        return 0
    return max(run.retry_at, state.at + _FIRST_RETRY * 2 ** (run.failures - 1))
