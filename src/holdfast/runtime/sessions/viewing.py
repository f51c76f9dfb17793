"""One session as it stands: what it does, what it waits for, what it came to and cost. A projection of its log."""

from __future__ import annotations

import asyncio

import msgspec

from holdfast.engine.events import CODEC, RunFinished, RunStarted
from holdfast.engine.folding import replay, visible
from holdfast.engine.letters import Status
from holdfast.engine.state import Phase, Run
from holdfast.errors import UnknownSession
from holdfast.journal.port import Journal, is_buried
from holdfast.journal.reading import read_events
from holdfast.runtime.history.waiting import Waiting, open_waits
from holdfast.runtime.sessions.listing import Standing, standing_of
from holdfast.types import AgentSpec, Digest, Event, SessionId, StreamId, Usage, dollars, session_of, tenant_of

__all__ = ("RunView", "SessionView", "view_of")

_BREATH = 2_000
"""Events after which others have their turn."""


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a session."""

    run: int
    """Where it started: with the session, its id."""
    key: str
    """Of the prompt that opened it: what its result is asked for by."""
    agent: str
    """The name of whoever answers."""
    spec: Digest
    """What that one is, exactly."""
    model: str
    status: Status | None = None
    """How it ended; null while it is open."""
    reason: str = ""
    steps: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    cost: float | None = 0.0
    """US dollars; null when a price was unknown."""
    started_at: int = 0
    """µs UTC."""
    finished_at: int | None = None
    """µs UTC."""


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session."""

    session: SessionId
    state: Standing
    phase: Phase
    """What it does: nothing, asking its model, making calls, waiting for somebody, or nothing until it is resumed."""
    paused: bool
    seq: int
    """Its last event."""
    created_at: int
    """µs UTC."""
    updated_at: int
    """µs UTC."""
    unread: int
    """Messages that nobody took yet."""
    queued: int
    """Prompts that wait for their turn."""
    parent: SessionId | None
    """The session it was forked from."""
    parent_seq: int
    """How much of that it shares."""
    runs: int
    """Those that began."""
    usage: Usage
    """Of all of them, as far as they are over, and of the open one so far."""
    cost: float | None
    """Of the same, in US dollars; null when a price was unknown."""
    run: RunView | None
    """The open one."""
    last: RunView | None
    """The one that ended last."""
    waits: tuple[Waiting, ...]
    """What people are asked."""


async def view_of(journal: Journal, stream: StreamId) -> SessionView:
    """Returns how a session stands.

    Raises:
        UnknownSession: there is no such session.
    """
    head = await journal.head(stream)
    if head is None:
        raise UnknownSession(f"there is no session {session_of(stream)!r} in this store: look at which there are")
    events: list[Event] = []
    async for event in read_events(journal, stream, CODEC, until=head.seq):
        events.append(event)
        if not len(events) % _BREATH:
            await asyncio.sleep(0)
    told = visible(events)
    state = replay(told)
    usage, cost, runs = Usage(), 0, 0
    for event in events:
        if isinstance(event.data, RunStarted):
            runs += 1
        elif isinstance(event.data, RunFinished):
            usage, cost = usage + event.data.usage, _sum(cost, event.data.cost)
    if state.run is not None:
        usage, cost = usage + state.run.usage, _sum(cost, state.run.cost)
    return SessionView(
        session=session_of(stream),
        state=standing_of(head),
        phase=state.phase,
        paused=state.paused,
        seq=head.seq,
        created_at=head.created_at,
        updated_at=head.updated_at,
        unread=head.inbox_seq - head.inbox_taken,
        queued=sum(each.kind == "prompt" for each in state.queue.values()),
        parent=None if head.parent is None or is_buried(head.parent) else session_of(head.parent),
        parent_seq=head.parent_seq,
        runs=runs,
        usage=usage,
        cost=None if cost is None else dollars(cost),
        run=await _run(journal, stream, state.run),
        last=await _run(journal, stream, state.last),
        waits=tuple(await open_waits(journal, head, told, state)),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


async def _run(journal: Journal, stream: StreamId, run: Run | None) -> RunView | None:
    if run is None:
        return None
    end, cost = run.finished, run.cost if run.finished is None else run.finished.cost
    return RunView(
        run=run.seq,
        key=run.key,
        agent=await _agent(journal, stream, run),
        spec=run.setup.setup.spec,
        model=run.setup.setup.model,
        status=None if end is None else end.status,
        reason="" if end is None else end.reason,
        steps=run.steps if end is None else end.steps,
        tool_calls=run.tool_calls,
        usage=run.usage if end is None else end.usage,
        cost=None if cost is None else dollars(cost),
        started_at=run.started_at,
        finished_at=None if end is None else run.finished_at,
    )


async def _agent(journal: Journal, stream: StreamId, run: Run) -> str:
    try:
        encoded = await journal.blobs.get(tenant_of(stream), run.setup.setup.spec)
    except KeyError:
        return ""  # of a file that came without it
    return msgspec.json.decode(encoded, type=AgentSpec).name
