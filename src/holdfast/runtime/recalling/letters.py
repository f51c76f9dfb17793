"""What was said to a session before: whether it is what is said again under the same key, and whom a prompt asked last.

What lies in the inbox is looked at first, then the log from its end: what was taken in between is in the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from holdfast.engine.attempt import receive
from holdfast.engine.events import CODEC, AbortRequested, InputReceived, Paused, Resumed, SessionEnded
from holdfast.engine.letters import Setup
from holdfast.journal.port import Journal, Letter, Mail
from holdfast.journal.reading import decode_record, latest_first
from holdfast.types import AgentSpec, Digest, Payload, StreamId, tenant_of

__all__ = ("LastAsked", "is_same", "last_asked")

_WORDS = frozenset((InputReceived.type, AbortRequested.type, Paused.type, Resumed.type, SessionEnded.type))
"""What people's letters become."""


class LastAsked(msgspec.Struct, frozen=True):
    """Whom a session's last prompt asked."""

    spec: Digest
    agent: str
    """Its name; empty where the store does not know it any more."""


async def is_same(journal: Journal, stream: StreamId, letter: Letter) -> bool:
    """Returns whether what was posted under a letter's key before says the same: words for words, of the same agent, or
    the same other thing. Also where the store does not know any more.
    """
    again = receive(Mail(n=0, key=letter.key, kind=letter.kind, body=letter.body))
    async for key, before, whole in _said(journal, stream):
        if key == letter.key:
            return not again or await _like(journal, stream, before, again[0], whole=whole)
    return True


async def last_asked(journal: Journal, stream: StreamId) -> LastAsked | None:
    """Returns whom the last prompt of a session asked; None where there was none."""
    async for _, said, _ in _said(journal, stream):
        if isinstance(said, InputReceived) and said.setup is not None:
            spec = said.setup.spec
            return LastAsked(spec, await _name(journal, stream, spec))
    return None


async def _said(journal: Journal, stream: StreamId) -> AsyncIterator[tuple[str, Payload, bool]]:
    """Yields what was said to a session from the last back, each with its key, and whether nobody took words out."""
    head = await journal.head(stream)
    if head is None:
        return
    for mail in reversed(await journal.mail(stream, head.inbox_taken) if head.unread else []):
        for payload in receive(mail):
            yield mail.key, payload, True
    async for record in latest_first(journal, stream):
        if record.type in _WORDS:
            event = await decode_record(record, stream, CODEC, journal)
            yield event.cause, event.data, event.scrubbed is None


async def _like(journal: Journal, stream: StreamId, one: Payload, other: Payload, *, whole: bool) -> bool:
    if not (isinstance(one, InputReceived) and isinstance(other, InputReceived)):
        return type(one) is type(other)
    if one.kind != other.kind or (whole and one.message != other.message):
        return False
    return await _of_one(journal, stream, one.setup, other.setup)


async def _of_one(journal: Journal, stream: StreamId, one: Setup | None, other: Setup | None) -> bool:
    """Whether both ask the same agent, which may have been changed in between."""
    if one is None or other is None or one.spec == other.spec:
        return True
    names = [await _name(journal, stream, each.spec) for each in (one, other)]
    return "" in names or names[0] == names[1]


async def _name(journal: Journal, stream: StreamId, spec: Digest) -> str:
    try:
        return msgspec.json.decode(await journal.blobs.get(tenant_of(stream), spec), type=AgentSpec).name
    except KeyError:
        return ""  # of a file that came without it
