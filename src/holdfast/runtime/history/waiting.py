"""What people are asked, over all sessions of a tenant: a projection of the logs, the same in every process.

Only sessions with an open run are read. What was answered and not read by anybody yet says so: it stays on the list
until somebody drives the session.
"""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, ReviewRequested, ToolWaiting, WaitResolved
from holdfast.engine.folding import replay, visible
from holdfast.engine.state import State
from holdfast.engine.turns import ASKED, own
from holdfast.journal.port import Head, Journal
from holdfast.journal.reading import read_events
from holdfast.types import AssistantMessage, Question, SessionId, ToolCall, Wait, digest_of, session_of, stream_id

__all__ = ("Waiting", "waiting_in")

_PAGE = 500


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
                found += await _open(journal, head)
    return sorted(found, key=lambda each: (each.since, each.session, each.token))


async def _open(journal: Journal, head: Head) -> list[Waiting]:
    events = visible([event async for event in read_events(journal, head.stream, CODEC)])
    state = replay(events)
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
    open_calls = [each for each in state.calls.values() if each.wait is not None and each.result is None]
    found = [(cast("Wait", each.wait), cast("ToolCall | None", each.call)) for each in open_calls]
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
        id=digest_of(f"{session} {wait.token}".encode("utf-8", "replace")).rpartition(":")[2][:16],
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
