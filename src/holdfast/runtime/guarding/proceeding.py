"""Going on where a run ended half-way, without a word.

A run that was aborted, failed or met a limit leaves a conversation in which the model is next: it ends with what
somebody said, or with the results of calls. Whoever goes on opens another run on it, set up like the last one.
"""

from __future__ import annotations

import msgspec

from holdfast.engine.attempt import receive
from holdfast.engine.decide import opens
from holdfast.engine.events import CODEC, InputReceived
from holdfast.engine.folding import replay
from holdfast.engine.letters import Setup
from holdfast.engine.state import State
from holdfast.errors import SessionBusy, SessionExited, UsageError
from holdfast.journal.port import Journal
from holdfast.journal.reading import read_events
from holdfast.runtime.bound import BoundAgent
from holdfast.types import Limits, StreamId, session_of

__all__ = ("next_setup", "where_it_ended")


async def where_it_ended(journal: Journal, stream: StreamId, driven: State | None) -> tuple[State, str]:
    """Returns what a session without an open run has come to, and the key of the first thing that was said to it and
    not heard; empty when everything was. `driven` is its state if this process has it in hand.

    Raises:
        SessionBusy: a run is open.
        SessionExited: it has ended for good.
    """
    head = await journal.head(stream)
    state = driven or replay([event async for event in read_events(journal, stream, CODEC)])
    session = session_of(stream)
    if state.ended:
        raise SessionExited(f"session {session!r} has ended for good: start a new one, or fork it")
    if state.run is not None:
        raise SessionBusy(f"a run of session {session!r} is open: wait for it, or resume it where nobody drives it")
    unread = await journal.mail(stream, head.inbox_taken if head is not None else 0)
    said = [(received, state.keys[seq]) for seq, received in state.queue.items()]
    said += [(each, mail.key) for mail in unread for each in receive(mail) if isinstance(each, InputReceived)]
    # A steer opens a run only where there was one before, here, and what was for another run is for none.
    heard = [key for received, key in said if not received.run and opens(state, received)]
    return state, heard[0] if heard else ""


def next_setup(state: State, session: str, agent: BoundAgent | None, limits: Limits | None) -> Setup:
    """Returns the setup of a run that goes on where the last one of a session ended: as that was set up, in the
    session's folder, and for nobody who waited for the last one.

    Raises:
        UsageError: there is nothing to go on with.
    """
    last = state.last
    if last is None or last.finished is None:
        raise UsageError(f"session {session!r} has no run that could be gone on with: give it a prompt")
    if last.elsewhere:
        raise UsageError(f"the runs of session {session!r} are from a file, and none is set up as it says: prompt it")
    if state.answered or last.finished.status == "completed":
        raise UsageError(f"the last run of session {session!r} ended with an answer: give it a prompt")
    setup = last.setup.setup
    if setup.phases or (agent is not None and agent.spec.phases):
        raise UsageError(f"session {session!r} is that of a pipeline, which begins anew: give it a prompt")
    setup = msgspec.structs.replace(setup, limits=limits or setup.limits, workspace="", lineage=None, files=())
    if agent is None:
        return setup
    typed = agent.reader is not None
    return msgspec.structs.replace(setup, spec=agent.digest, model=agent.spec.model, agents=agent.below, typed=typed)
