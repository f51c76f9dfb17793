"""The loop: fold the log, decide, do it, write down what came of it, again.

What it keeps, whatever happens:

- **Before an effect, the log.** `sync` is the barrier: it returns when everything written is durable. It stands
  before every call that must not silently happen twice, and nowhere else; what needs no barrier rides along
  with the next one. A model call may be repeated, so none stands before it, unless a limit on tokens or dollars
  must know of it even if it is lost.
- **Calls of a turn overlap.** All are admitted first, and one that is refused has its result at once. Those that may
  change files run one after another, in the model's order, each behind a barrier and a snapshot of its own. The others
  overlap with them and with each other, up to 32 at once, behind one barrier for all if any of them needs one. Results
  reach the model in the order of its calls, whichever ended first.
- **Every call gets exactly one result**: from the tool, from a refusal, or `canceled`, or `outcome unknown`.
- **Nothing is decided on news half-way.** Mail is read between decisions. An abort, or time running out, only
  interrupts what is under way: each call that was begun ends as `canceled`, and what it did until then stays done;
  its files are put back where the profile says so.
  A steer or a pause only keeps the calls of a turn that have not begun from beginning. What to do about it is the
  next decision: after a steer they are skipped, after a pause they wait until it is over.
- **Parking is refused while there is unread mail**, in the same transaction, so that no message is lost between
  looking and leaving.
- **A newer owner fences this one**: the next write raises `Fenced`, it goes through here uncaught, and nothing
  more is touched. A stopped process, by contrast, writes nothing at all: its run is as open as before.

Resuming is no other path: a state that was folded from the log is driven like one that grew here, after `recover` has
dealt with what was under way. What the previous owner's commands left running is killed. Then each call that began and
has no result is judged by its effect, outside first: `none` and `keyed` run again (with the same key), a `checkable`
one is asked about, and has its result if it happened. Before a call runs again the files it may have changed are put
back. What is `unsafe`, or cannot be asked about or put back, ends as `outcome unknown`, and the model reads what
changed and decides: its files stay as they are, but for what it left at protected paths, which goes, and where the
profile has files put back after a failed call (`rollback: failed`). A model call that was lost stays charged at its
reservation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from holdfast.engine.attempt import Attempt
from holdfast.engine.decide import (
    AskReview,
    CallModel,
    CallTools,
    Close,
    CloseBooks,
    Decision,
    Finish,
    JudgeAnswer,
    Leave,
    PressOn,
    Record,
    Skip,
    Wait,
    decide,
    idle_until,
)
from holdfast.engine.doing.acting import close_calls, perform_calls
from holdfast.engine.doing.asking import ask_model
from holdfast.engine.doing.children import abandon, pass_on
from holdfast.engine.doing.intervening import intervene
from holdfast.engine.doing.recovering import files_left, recover
from holdfast.engine.events import RunFinished, SessionEnded
from holdfast.engine.phases import PassOn, StartPhase
from holdfast.engine.state import State
from holdfast.journal.port import Park

__all__ = ("Decide", "drive")

Decide = Callable[[State, int], Decision]


async def drive(attempt: Attempt, decide: Decide = decide) -> bool:
    """Drives a session until it is parked: until no run is open, or the open one waits for mail.

    Returns False where `decide` wanted to leave: everything is written down, and the session still ours.

    Raises:
        Fenced: another worker owns the session now.
        StorageError: nothing can be written down, so nothing may be done; the run stays open.
        UsageError: this process has not got what the run acts through; the run stays open.
    """
    state, clock = attempt.state, attempt.clock
    if state.run is not None:
        await recover(attempt)
    while True:
        await attempt.take_mail()
        match decide(state, clock.now()):
            case CallModel(at, last):
                await ask_model(attempt, at, last=last)
            case CallTools(calls):
                await perform_calls(attempt, calls)
            case Finish() | Wait() | PassOn() as step:
                if await _park(attempt, step):
                    return True
            case (
                Skip() | Close() | PressOn() | Record() | JudgeAnswer() | AskReview() | CloseBooks() | StartPhase()
            ) as step:
                await intervene(attempt, step)
            case Leave():
                await attempt.give_back(resting=True)
                await attempt.pen.sync()
                return False


def _park(attempt: Attempt, step: Finish | Wait | PassOn) -> Awaitable[bool]:
    """Does what may give the session up, and returns whether it did."""
    if isinstance(step, Finish):
        return finish(attempt, step)
    return pass_on(attempt, step.input) if isinstance(step, PassOn) else _wait(attempt, step)


async def _wait(attempt: Attempt, wait: Wait) -> bool:
    await attempt.give_back(resting=True)  # what it holds while it waits, others have not
    last = (SessionEnded(wait.expired),) if wait.expired else ()
    park = Park("waiting" if wait.open else "ended" if wait.ended else "idle", wait.until)
    if parked := await attempt.pen.park(park, *last):
        attempt.state.ended = wait.ended
    return parked


async def finish(attempt: Attempt, end: Finish) -> bool:
    """Ends the run and gives the session up in one transaction; False when there is more to do first.

    Mail that came meanwhile is read first: a steer or a follow-up may keep the run open. A prompt that is already
    queued is the next run, and this owner goes on with it.
    """
    state = attempt.state
    run = state.run
    assert run is not None
    setup = run.setup.setup
    if state.calls or run.phase is not None or setup.phases:
        await abandon(attempt, end.reason or "the run that started it is over")
        close_calls(attempt, end.reason or "the run is over")
    files = await files_left(attempt) if run.saved else None
    last = RunFinished(end.status, end.reason, run.steps, run.usage, run.cost, run.denied, files, end.output)
    if state.queue or run.account or setup.lineage is not None:  # books are closed after it
        attempt.write(last)
        return False
    until = None if state.ended else idle_until(run, attempt.clock.now())
    return await attempt.pen.park(Park("ended" if state.ended else "idle", until), last)
