"""Speaking to the sessions above and below: telling a parent what its child came to, and a child that nobody waits.

Both are letters with keys of their own, so that saying it twice, after a crash, is saying it once.
"""

from __future__ import annotations

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.events import AccountOpened, InputApplied, PhaseFailed, PhaseStarted, RunClosed
from holdfast.engine.letters import Answer, Outcome, Prompt
from holdfast.engine.lineage import child_named, child_token, comes_back, start_key
from holdfast.engine.phases import filled
from holdfast.engine.purse import key_of, own
from holdfast.engine.state import Run, name_of
from holdfast.journal.port import Letter, Park
from holdfast.tools.binding import Order, key_of_call
from holdfast.tools.results import bounded
from holdfast.types import AssistantMessage, StreamId, UserMessage, Wait, digest_of, session_of, stream_id, tenant_of

__all__ = ("abandon", "close_books", "forsake_begun", "pass_on", "start_phase")

_REPORTED = 50_000
"""Characters of a child's answer that its parent reads."""
_FULL = 5_000_000
"""µs until a phase whose inbox is full is tried again, unless mail comes first."""


async def close_books(attempt: Attempt) -> None:
    """Does what is owed when a run is over: what it took out of the ledger is settled, and its parent hears of it."""
    run = attempt.state.owed
    assert run is not None
    assert run.finished is not None
    lineage = run.setup.setup.lineage
    await attempt.pen.sync()  # barrier: what is settled and told must not come out differently after a crash
    if run.account:  # also where no grant was ever given: a cap that came late does not undo what was spent
        key = key_of(attempt.pen.stream, run.id)
        await attempt.reach.ledger.settle(key, own(run, run.finished_at), path=run.account)
    if lineage is not None:
        end, session = run.finished, session_of(attempt.pen.stream)
        answers = (each.text for each in reversed(attempt.state.messages) if isinstance(each, AssistantMessage))
        said = end.output or next(answers, "")
        if len(said) > _REPORTED:
            said = bounded(said, _REPORTED, f"all of it is in session {session!r}")
        ok = end.status == "completed"
        text = said
        if not ok and not lineage.phase:
            text = f"The agent ended as {end.status} ({end.reason}). It said last:\n{said or 'nothing'}"
        outcome = Outcome(end.status, end.reason, run.usage, run.cost)
        answer = Answer(lineage.token, text, is_error=not ok, outcome=outcome)
        letter = Letter(key=f"told:{lineage.token}", kind="answer", body=msgspec.json.encode(answer), actor=session)
        await attempt.send(lineage.parent, letter, reading=True)
    attempt.write(RunClosed(run.seq))


async def start_phase(attempt: Attempt, phase: int) -> None:
    """Gives the agent of a phase its job, once however often it is tried."""
    run, stream = attempt.run, attempt.pen.stream
    spec = run.setup.setup.phases[phase]
    query = next((each.text for each in attempt.state.messages[run.asked :] if isinstance(each, UserMessage)), "")
    prompt = filled(run, run.setup.setup.phases, phase, query)
    bindings = await attempt.bindings()
    spawn, purse = bindings.spawn, bindings.purse
    if purse is not None:  # it asks no model, and so never takes anything itself: its phases do, from its account
        if not run.account:
            attempt.write(AccountOpened(purse.account))
        await purse.open()
    await attempt.pen.sync()  # barrier: under another number, or after another answer, it would be another job
    order = Order(agent=spec.agent, prompt=prompt, workspace=spec.workspace, seconds=spec.seconds, phase=True)
    answer = await spawn(_phase_key(stream, run, phase), order)
    if isinstance(answer, Wait):
        attempt.write(PhaseStarted(phase, answer))
    else:
        attempt.write(PhaseFailed(phase, answer.content))


async def pass_on(attempt: Attempt, said: int) -> bool:
    """Lets the phase that is under way hear what was said to the pipeline; one that is over by then gives it back.

    A phase that takes nothing now is left alone for a while: returns whether the session was given up until then.
    """
    phase, stream = attempt.run.phase, attempt.pen.stream
    assert phase is not None
    received, key = attempt.state.queue[said], attempt.state.keys[said]
    back = not received.run or comes_back(key)  # what is for one run only does not open another
    letter = Letter(
        key=f"{'passed' if back else 'meant'}:{digest_of(f'{stream} {key}'.encode())}",
        kind=received.kind,
        body=msgspec.json.encode(Prompt(received.message, run=start_key(phase.token))),
        actor=session_of(stream),
    )
    posted = await attempt.reach.post(stream_id(tenant_of(stream), phase.subject), letter)
    if posted.status in ("full", "ended"):
        ends = (attempt.clock.now() + _FULL, attempt.run.until, phase.deadline)
        return await attempt.pen.park(Park("waiting", min([end for end in ends if end is not None])))
    attempt.write(InputApplied(said))
    return False


async def abandon(attempt: Attempt, why: str) -> None:
    """Asks every child that a call of this run waits for to end: nobody will read what it comes to."""
    if (phase := attempt.run.phase) is not None:
        await attempt.forsake(phase, why)
    for call in attempt.state.calls.values():
        if call.result is None and call.wait is not None:
            await attempt.forsake(call.wait, why)
    await forsake_begun(attempt, why)


async def forsake_begun(attempt: Attempt, why: str) -> None:
    """Asks children to end that may have been started without the log saying so yet: their names follow from what
    would have started them.
    """
    run, state, stream = attempt.run, attempt.state, attempt.pen.stream
    if not run.setup.setup.agents:
        return
    if attempt.bound is not None:
        await attempt.bound.spawn.settle()
    begun = [call for call in state.calls.values() if call.result is None and call.wait is None]
    keys = [key_of_call(stream, run.id, name_of(state, call.call.id)) for call in begun]
    inner = [call for call in state.nested.values() if call.result is None]
    keys += [key_of_call(stream, run.id, name_of(state, call.call.id, nested=True)) for call in inner]
    if run.setup.setup.phases and run.phase is None:
        keys.append(_phase_key(stream, run, len(run.outcomes)))
    for key in keys:
        name = child_named(stream, key)
        await attempt.forsake(Wait(child_token(name), "child", subject=name), why)


def _phase_key(stream: StreamId, run: Run, phase: int) -> str:
    """Returns what a phase is started with: no call's key."""
    return key_of_call(stream, run.id, f"phase:{phase}")
