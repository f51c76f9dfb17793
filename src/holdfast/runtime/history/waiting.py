"""What people are asked, over all sessions of a tenant or under one token: a projection of the logs, the same in every
process.

Of all sessions only those with an open run are read. What was answered and not read by anybody yet says so: it stays on
the list until somebody drives the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal, cast

import msgspec

from holdfast.engine.attempt import receive
from holdfast.engine.events import (
    CODEC,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.folding import replay, visible
from holdfast.engine.state import State
from holdfast.engine.turns import ASKED, asked_about, own
from holdfast.errors import Corrupt, UnknownWait
from holdfast.journal.port import Head, Journal, Record
from holdfast.journal.reading import decode_record, latest_first, read_events
from holdfast.types import (
    AgentSpec,
    AssistantMessage,
    Event,
    Payload,
    Question,
    SessionId,
    StreamId,
    ToolCall,
    ToolSpec,
    Wait,
    digest_of,
    session_of,
    stream_id,
    tenant_of,
)

__all__ = ("Waiting", "asked_under", "tool_of", "wait_id", "waiting_in")

_PAGE = 500
_ASKS = frozenset((ToolWaiting.type, ReviewRequested.type))
_ENDS = frozenset((WaitResolved.type, ToolFinished.type, RunFinished.type))


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person is asked, and that a run cannot go on without."""

    id: str
    """A name for it that no other has in the store: sixteen hexadecimal digits, of which the first few will do."""
    session: SessionId
    token: str
    """What an answer names, in its session."""
    kind: Literal["approval", "question", "review"]
    since: int
    """µs UTC."""
    deadline: int | None = None
    """µs UTC after which it counts as refused; None waits for ever."""
    prompt: str = ""
    """What is asked; of a review, the answer."""
    tool: str = ""
    """Of an approval, the tool that wants to run; of a question, the one that asks."""
    call: ToolCall | None = None
    """The call of the model that waits; None for a review."""
    editable: bool = False
    """Whether the arguments of the call may be changed: not where another call makes it."""
    questions: tuple[Question, ...] = ()
    changes_left: int = 0
    """Of a review, how often changes may still be asked for."""
    answered: bool = False
    """Whether an answer lies in the inbox that nobody has read yet."""
    paused: bool = False
    """Whether the session is paused, so that an answer begins nothing until it is resumed."""


def wait_id(session: str, token: str) -> str:
    """Returns the name for a wait that people use."""
    return digest_of(f"{session} {token}".encode("utf-8", "replace")).rpartition(":")[2][:16]


async def waiting_in(journal: Journal, tenant: str, session: str | None = None) -> list[Waiting]:
    """Returns what people are asked in a session, or in all of the tenant's, oldest first."""
    found: list[Waiting] = []
    if session is not None:
        head = await journal.head(stream_id(tenant, session))
        return [] if head is None else await _open(journal, head)
    after = ""
    while heads := await journal.heads(tenant, after=after, limit=_PAGE):
        after = heads[-1].stream
        for head in heads:
            if head.state in ("waiting", "running"):
                with suppress(Corrupt):  # one that is damaged hides no other; what reads that session says so
                    found += await _open(journal, head)
    return sorted(found, key=lambda each: (each.since, each.session, each.token))


async def _open(journal: Journal, head: Head) -> list[Waiting]:
    events = visible([event async for event in read_events(journal, head.stream, CODEC)])
    return await open_waits(journal, head, events, replay(events))


async def open_waits(journal: Journal, head: Head, events: Iterable[Event], state: State) -> list[Waiting]:
    """Returns what people are asked in a session of these visible events, which come to this state."""
    if state.run is None:
        return []
    asked = {
        event.data.wait.token: (event.at, event.data)
        for event in events
        if isinstance(event.data, ToolWaiting | ReviewRequested)
    }
    unread = await journal.mail(head.stream, head.inbox_taken) if head.unread else ()
    said = [payload for mail in unread for payload in receive(mail)]
    answered = {payload.token for payload in said if isinstance(payload, WaitResolved)}
    session = session_of(head.stream)
    return [
        _waiting(session, wait, call, *asked[wait.token], answered=wait.token in answered, paused=state.paused)
        for wait, call in _waits(state)
        if wait.token in asked
    ]


def _waits(state: State) -> list[tuple[Wait, ToolCall | None]]:
    """Returns what is open for a person, with the call of the model that it belongs to."""
    found: list[tuple[Wait, ToolCall | None]] = [
        (each.wait, asked_about(each.call, each.wait))
        for each in state.calls.values()
        if each.wait is not None and each.result is None
    ]
    if state.run is not None and state.run.review is not None:
        answer = state.messages[-1]
        text = answer.text if isinstance(answer, AssistantMessage) else state.run.review.prompt
        found.append((msgspec.structs.replace(state.run.review, prompt=text), None))
    return [(wait, call) for wait, call in found if wait.kind in ASKED]


def _waiting(
    session: SessionId,
    wait: Wait,
    call: ToolCall | None,
    since: int,
    data: ToolWaiting | ReviewRequested,
    *,
    answered: bool,
    paused: bool,
) -> Waiting:
    return Waiting(
        id=wait_id(session, wait.token),
        session=session,
        token=wait.token,
        kind=cast('Literal["approval", "question", "review"]', wait.kind),
        since=since,
        deadline=wait.deadline,
        prompt=wait.prompt,
        tool=wait.subject or ("" if call is None else call.name),
        call=call,
        editable=wait.kind == "approval" and own(wait),
        questions=wait.questions,
        changes_left=data.changes_left if isinstance(data, ReviewRequested) else 0,
        answered=answered,
        paused=paused,
    )


async def asked_under(journal: Journal, stream: StreamId, token: str) -> ToolWaiting | ReviewRequested:
    """Returns what a session asks under a token, also when somebody answered it meanwhile.

    The log is read from its end, and no further back than to where it was asked.

    Raises:
        UnknownWait: nothing was asked under it, or it is over without an answer; says which.
    """
    ends: list[Record] = []
    async for record in latest_first(journal, stream):
        if record.type in _ENDS:
            ends.append(record)
        elif record.type in _ASKS:
            asked = (await decode_record(record, stream, CODEC, journal)).data
            if isinstance(asked, ToolWaiting | ReviewRequested) and asked.wait.token == token:
                later = [(await decode_record(each, stream, CODEC, journal)).data for each in reversed(ends)]
                if gone := _gone(asked, later):
                    raise UnknownWait(gone)
                return asked
    raise UnknownWait(
        f"nothing in session {session_of(stream)!r} waits under {token!r}: look at what does, and try again"
    )


def _gone(asked: ToolWaiting | ReviewRequested, later: Iterable[Payload]) -> str:
    """Returns why what was asked wants no answer any more, by what came after it; empty when one is wanted, or came."""
    token, gone = asked.wait.token, ""
    for data in later:
        match data:
            case WaitResolved() if data.token == token:
                if data.content is not None:
                    return ""
                gone = f"{token!r} was to be answered earlier: it expired, and the run went on without"
            case ToolFinished(nested=None) if isinstance(asked, ToolWaiting) and data.call_id == asked.call_id:
                gone = gone or f"what waited under {token!r} is over, and wants no answer any more"
            case RunFinished():
                gone = gone or f"the run that waited under {token!r} is over, and wants no answer any more"
            case _:
                pass
    return gone


async def tool_of(journal: Journal, stream: StreamId, name: str) -> ToolSpec | None:
    """Returns a tool of the session's latest run as its log describes it; None when it has none of that name."""
    async for record in latest_first(journal, stream):
        if record.type == RunStarted.type:
            started = (await decode_record(record, stream, CODEC, journal)).data
            if isinstance(started, RunStarted):
                encoded = await journal.blobs.get(tenant_of(stream), started.setup.spec)
                tools = msgspec.json.decode(encoded, type=AgentSpec).tools
                return next((tool for tool in tools if tool.name == name), None)
    return None
