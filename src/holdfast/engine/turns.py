"""How a turn's calls end: with a result, with an answer somebody gave, or because nobody did.

Part of the fold: these change a state by what one event says, read no clock and ask nobody.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import cast

import msgspec

from holdfast.engine.events import AnswerJudged, Nested, ToolFinished, ToolWaiting, WaitResolved
from holdfast.engine.state import LONGEST_LOOP, NO_LOOPS, Call, Done, Run, State
from holdfast.engine.tracking import Track
from holdfast.tools.results import bounded
from holdfast.tools.typed.declaring import UNFIT
from holdfast.types import CallId, Text, ToolCall, ToolError, ToolMessage, ToolResult, UserMessage, Wait

__all__ = (
    "ABSENT",
    "ASKED",
    "anew",
    "answered",
    "asked_about",
    "begin_below",
    "close_turn",
    "corrected",
    "finish_below",
    "finish_call",
    "forget_early",
    "judged",
    "not_approved",
    "not_in_this_branch",
    "own",
    "resolve",
    "take_early",
    "too_early",
    "used_up",
    "waits",
)

_SHOWN = 8_000
"""Characters of changed arguments that the model is told of."""
_EARLY = 4096
_EARLY_BYTES = 16 * 1024 * 1024
"""Answers that are kept for waits that may come, and bytes of all of them; more are none of ours."""
ASKED = ("approval", "question", "review")
"""Kinds of waits that a person ends."""
ABSENT = ToolError("canceled", "not_in_this_branch")


def begin_below(state: State, call_id: CallId, nested: Nested) -> Call:
    """Returns a call that another one makes, and that begins, perhaps once more."""
    call = state.nested.get(call_id)
    if call is None:
        above = state.nested.get(nested.parent)
        root = nested.parent if above is None else above.root
        call = Call(ToolCall(call_id, nested.name, nested.arguments), nested=nested, root=root)
        state.nested[call_id] = call
    state.unsettled.setdefault(call.root, {})[call_id] = None
    return call


def finish_below(state: State, data: ToolFinished, nested: Nested) -> None:
    """Gives a call that another one makes its result."""
    if state.left.pop(data.call_id, None) is not None:
        return  # its turn may be over by now
    call = state.nested.get(data.call_id)
    if call is None:  # it was refused, and never began
        call = Call(ToolCall(data.call_id, nested.name, nested.arguments), nested=nested)
        state.nested[data.call_id] = call
    call.result, call.wait = data.result, None
    if call.root in state.unsettled:
        state.unsettled[call.root].pop(data.call_id, None)


def waits(state: State, data: ToolWaiting) -> None:
    """Lets a call wait; one that asks for approval runs from its beginning when it may."""
    call_id, wait = data.call_id, data.wait
    call = state.calls[call_id]
    call.wait = wait
    for each in state.unsettled.get(call_id, ()):
        inner = state.nested[each]
        if inner.started is not None and inner.result is None:
            inner.wait = wait  # it is left with the one that waits, until it is made again or its end written down
    state.ready.pop(call_id, None)
    if wait.deadline is not None:
        heappush(state.deadlines, (wait.deadline, call_id))
    if wait.kind == "approval":
        call.started = None
        call.edited = "" if own(wait) else call.edited
    state.waits.setdefault(wait.token, []).append(call_id)
    state.tokens.add(wait.token)
    if state.run is not None:
        _started_others(state, state.run, (wait, *data.beside))
    early = take_early(state, wait.token)
    if early is not None and wait.kind not in ASKED:  # a person answers what they were asked
        resolve(state, early)


def _started_others(state: State, run: Run, waits: tuple[Wait, ...]) -> None:
    """Notes the sessions that a run started, and counts what those used that were quicker than this was said."""
    tokens = [each.token for each in waits if each.kind == "child"]
    if not tokens:
        return
    run.children |= set(tokens)
    for token in tokens:
        if (early := state.early.get(token)) is not None:
            _charge(run, early)


def used_up(state: State, wait: Wait) -> bool:
    """Whether no answer can reach a wait any more: another one had its token, or an answer to it came and went.

    An answer names nothing but the token, and one that is sent twice must be one. So each wait of a session has a token
    of its own; only what answers it may have come first.
    """
    return wait.token in state.tokens and (wait.kind in ASKED or wait.token not in state.early)


def too_early(state: State, data: WaitResolved) -> bool:
    """Whether an answer that nothing waits for yet is more than can be kept; a child's, which is short, always can.

    Without a run nothing is kept, not even that it came.
    """
    run = state.run
    if data.content is None or data.outcome is not None or data.token in state.tokens:
        return False
    if run is None:
        return True
    if data.token in [each.token for each in (run.review, run.phase) if each is not None]:
        return False
    return len(state.early) >= _EARLY or state.early_bytes + _bytes(data) > _EARLY_BYTES


def take_early(state: State, token: str) -> WaitResolved | None:
    """Returns the answer that came before it was waited for, if one did, and keeps it no longer."""
    early = state.early.pop(token, None)
    if early is not None:
        state.early_bytes -= _bytes(early)
    return early


def forget_early(state: State) -> None:
    """Lets go of all answers that came before they were waited for."""
    state.early.clear()
    state.early_bytes = 0


def _bytes(data: WaitResolved) -> int:
    """Returns how many bytes an answer has at most."""
    return sum([len(each) * (1 if each.isascii() else 4) for each in (data.token, data.content or "", data.arguments)])


def resolve(state: State, data: WaitResolved) -> None:
    """Ends a wait: of the call it belongs to, or of the whole run's for a review.

    What a child used counts whether anybody still waits for it or not: it says so once, and it was spent.
    """
    run = state.run
    if run is not None and data.token in run.children:
        _charge(run, data)
    if run is not None and run.review is not None and run.review.token == data.token:
        run.review = None
        _reviewed(state, run, data)
        return
    if run is not None and run.phase is not None and run.phase.token == data.token:
        run.phase = None
        _phase_over(run, data)
        return
    for call_id in state.waits.get(data.token, ()):
        call = state.calls.get(call_id)
        wait = call.wait if call is not None else None
        if call is None or wait is None or wait.token != data.token or call.result is not None:
            continue
        call.wait = None
        _drop_deadlines(state)
        if wait.kind == "approval":
            _approve(state, call, wait, data)
        elif wait.below:
            _go_on(state, call, wait, data)
        else:
            finish_call(state, call, answered(data))
        return
    _comes_early(state, data)
    state.tokens.add(data.token)


def _comes_early(state: State, data: WaitResolved) -> None:
    """Keeps an answer that nothing waits for yet, or puts it in the place of the one that came, as its call has it."""
    if data.anew:
        if (known := take_early(state, data.token)) is not None:
            state.early[data.token] = msgspec.structs.replace(data, outcome=known.outcome)
            state.early_bytes += _bytes(data)
    elif state.run is not None and data.content is not None and data.token not in state.tokens:
        # A child, or a service outside, was quicker than the word that it is waited for; after a crash much quicker.
        if len(state.early) >= _EARLY:
            take_early(state, next(iter(state.early)))
        state.early[data.token] = data
        state.early_bytes += _bytes(data)


def answered(data: WaitResolved) -> ToolResult:
    """Returns what a call comes to that waited for this, as it was written down: no longer than its tool may say."""
    if data.content is None:
        return ToolResult("Nobody answered in time.", ToolError("approval_timeout", "tool_wait_expired"))
    error = data.error or ToolError("execution_failed", "tool_answered_with_error") if data.is_error else None
    if data.result is None:
        return ToolResult(data.content, error)
    return msgspec.structs.replace(data.result, content=data.content, error=error)


def _go_on(state: State, call: Call, wait: Wait, data: WaitResolved) -> None:
    """Gives a call that another one made its result, with what it used; that other one runs again, and finds it."""
    inner = state.nested.get(CallId(wait.below))
    if inner is not None and inner.result is None:
        used = {} if data.outcome is None else {"tokens": data.outcome.usage.total_tokens, "cost": data.outcome.cost}
        result = answered(data)
        inner.result = msgspec.structs.replace(result, metadata={**result.metadata, **used})
    state.ready[call.call.id] = None


def _charge(run: Run, data: WaitResolved) -> None:
    """Counts what a child used with what the run itself did, once."""
    outcome = data.outcome
    if outcome is None or data.token in run.counted:
        return
    run.counted.add(data.token)
    run.usage = run.usage + outcome.usage
    run.below_tokens += outcome.usage.total_tokens
    run.cost = None if run.cost is None or outcome.cost is None else run.cost + outcome.cost


def _phase_over(run: Run, data: WaitResolved) -> None:
    """Notes what a phase came to; one that was not heard of in time failed."""
    if data.outcome is not None:
        run.outcomes += (Done(data.content or "", data.outcome.status, data.outcome.reason),)
    elif data.content is not None and not data.is_error:
        run.outcomes += (Done(data.content, "completed"),)  # a person said what it is to come to
    else:
        run.outcomes += (Done("", "failed", data.content or "it took too long"),)


def _reviewed(state: State, run: Run, data: WaitResolved) -> None:
    """Takes what a person said of the answer; whatever is no clear yes and asks for no changes is a no."""
    said = "deny" if data.is_error else data.content
    word, _, why = (said or "").partition(":")
    why = why.strip()
    allowed = run.setup.setup.control.review or 0
    if said is None:
        run.rejected = "review_expired: nobody looked at the answer in time"
    elif word in ("once", "always"):
        run.reviewed = True
    elif word == "changes" and why and run.changes < allowed:
        run.changes += 1
        anew(run)
        state.messages.append(UserMessage((Text(f"A reviewer asks for changes: {why}"),)))
    else:
        run.rejected = f"review_denied: {why}" if why else "review_denied"


def finish_call(state: State, call: Call, result: ToolResult) -> None:
    """Gives a call its result; the last one of a turn closes it."""
    if call.result is None:
        state.unfinished -= 1
    call.result = result
    if state.unsettled and (below := state.unsettled.pop(call.call.id, None)):
        state.left.update((each, state.nested[each]) for each in below)
    started = call.started
    if started is not None and started.terminal and state.run is not None:
        if result.error is None:
            _conclude(state.run, result)
        elif result.error.code == UNFIT:
            _misfits(state, state.run, str(result.metadata.get("why", result.content)), call.made.arguments)
    if state.run is not None and (track := state.run.track) is not None:
        _tracked(state.run, track, call, result)
    state.ready.pop(call.call.id, None)
    if state.deadlines:
        _drop_deadlines(state)
    if not state.unfinished:
        close_turn(state)


def _tracked(run: Run, track: Track, call: Call, result: ToolResult) -> None:
    """Takes what a call of the model came to, where it counts how the run works."""
    started, name = call.started, call.call.name
    read = started.arguments if started is not None else ""
    written = {call.made.arguments, read or call.made.arguments}
    track.ended(call.call.id, name, None if started is None else started.effect, written, result)
    if track.stops(name, result):
        _conclude(run, result)


def _conclude(run: Run, result: ToolResult) -> None:
    """Ends a run with what the call of a terminal tool came to; the first one counts."""
    if run.concluded is None:
        run.concluded = result.content


def anew(run: Run) -> None:
    """Lets go of an answer that is not the last any more, because somebody said something to it."""
    run.concluded = run.fitting = None
    run.misfits = run.misfit_turn = 0


def judged(state: State, run: Run, data: AnswerJudged) -> None:
    """Takes what was found of an answer that has to be data."""
    if not data.why:
        run.fitting = data.output
        return
    _misfits(state, run, data.why, "")
    if data.text:
        state.messages.append(UserMessage((Text(data.text),)))


def _misfits(state: State, run: Run, why: str, said: str) -> None:
    """Counts an answer that does not fit; the second one in a row ends the run."""
    if run.misfit_turn == state.turn:
        return
    run.misfits, run.misfit_turn, run.misfit = run.misfits + 1, state.turn, said
    if run.misfits > 1:
        run.rejected = f"{UNFIT}: {why}"


def _drop_deadlines(state: State) -> None:
    """Takes away deadlines of waits that are over, until an open one stands first."""
    while state.deadlines:
        deadline, call_id = state.deadlines[0]
        call = state.calls[call_id]
        if call.result is None and call.wait is not None and call.wait.deadline == deadline:
            return
        heappop(state.deadlines)


def close_turn(state: State) -> None:
    """Moves the results of a turn into the conversation, in call order; there is one for each call by now."""
    run, all_failed, fingerprint = state.run, True, 0
    for call in state.calls.values():
        made, result = call.call, cast("ToolResult", call.result)
        name, content, failed = made.name, result.content, result.error is not None
        if not failed:
            all_failed = False
        fingerprint = hash((fingerprint, name, made.arguments, content))
        if call.edited:
            content = corrected(call.edited, content)
        state.messages.append(ToolMessage(made.id, name, content, failed))
    if run is not None:
        run.errors = run.errors + 1 if all_failed else 0
        _count_repeats(run, fingerprint)
    state.calls, state.ready, state.deadlines = {}, {}, []
    if state.nested or state.approvals or state.waits:
        state.nested, state.unsettled, state.approvals, state.waits = {}, {}, {}, {}


def _count_repeats(run: Run, fingerprint: int) -> None:
    """Counts how often in a row the same turn came back, or the same two, three or four turns after one another."""
    trail = run.trail
    run.trail = (*trail, fingerprint)[-LONGEST_LOOP:]
    if fingerprint not in trail:  # as of most turns: nothing goes round
        run.loops, run.repeats = NO_LOOPS, 1
        return
    rounds, loops = 1, list(run.loops)
    for period in range(1, LONGEST_LOOP + 1):
        same = len(trail) >= period and trail[-period] == fingerprint
        loops[period - 1] = loops[period - 1] + 1 if same else 0
        rounds = max(rounds, 1 + loops[period - 1] // period)
    run.loops = tuple(loops)
    run.repeats = rounds


def _approve(state: State, call: Call, wait: Wait, data: WaitResolved) -> None:
    """Lets a call go on to admission again, or ends it, as a person said; whatever is no clear yes is a no."""
    said = "deny" if data.is_error else data.content
    if said in ("once", "always") and data.arguments and not own(wait):
        said = "deny: the arguments of a call that another call makes cannot be changed"
    if said in ("once", "always"):
        state.ready[call.call.id] = None
        state.approvals[wait.digest] = None
        call.edited = data.arguments if own(wait) else call.edited
        if said == "always":
            state.always[wait.grant] = None
        return
    if state.run is not None:
        state.run.denied += 1
    finish_call(state, call, not_approved(said))


def own(wait: Wait) -> bool:
    """Whether an approval is about the very call that waits, and not about one that it makes."""
    # As `name_of` calls them: the number of the model's answer, a sign, and the id.
    _, _, rest = wait.token.partition(":")
    return not rest.lstrip("0123456789").startswith(":")


def asked_about(call: ToolCall, wait: Wait) -> ToolCall:
    """Returns the call that waits as a person is asked about it: with the arguments it would be made with."""
    return msgspec.structs.replace(call, arguments=wait.arguments) if wait.arguments and own(wait) else call


def corrected(arguments: str, content: str) -> str:
    """Returns a result as the model reads it whose call a person changed."""
    shown = bounded(arguments, _SHOWN, "look at what came of it") if len(arguments) > _SHOWN else arguments
    return f"[A person changed the arguments of this call to {shown}]\n{content}"


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


def not_in_this_branch() -> ToolResult:
    """Returns the result of a call that stayed with the session this one was forked from."""
    return ToolResult("Not in this branch: the call was open when this branch was made.", ABSENT)
