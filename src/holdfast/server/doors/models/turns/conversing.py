"""From a conversation that a client resends to the session that holds it already.

Clients of these protocols keep the conversation and send all of it each time. A session keeps it, too, and more: what
an agent did in between, signatures that clients drop. So after each answer it is noted which session holds this
conversation, under a digest of all that was said as the client will say it again: words, calls and results, without
thinking; and whoever sends that, and something new at its end, goes on in that session. Otherwise, where it was changed
on the way, is not known any more, or another request went on from there before, a new session is given what was sent.
Both are right; the first knows more, and writes a conversation down once instead of once for each request.

One request goes on from an answer, and no two do, however many come at once. A note is kept for a day or two, and as
many as there is room for: a conversation that is forgotten begins a new session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from holdfast.engine.events import InputReceived, Rewound, WaitResolved
from holdfast.errors import SessionExited, StorageError
from holdfast.server.doors.models.turns.asking import Asked
from holdfast.server.doors.models.turns.ending import Ended
from holdfast.server.doors.models.turns.keeping import Shelf
from holdfast.server.doors.models.turns.turning import Turn
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call
from holdfast.tools.keeping.port import Caps
from holdfast.types import (
    AssistantMessage,
    Digest,
    Message,
    Text,
    ToolMessage,
    UserMessage,
    UserPart,
    digest_of,
    stream_id,
)

__all__ = ("Noted", "begin", "go_on_in", "note", "run_of", "went_on")

_DAY: Final = 86_400_000_000
_ROOM: Final = Caps(count=20_000, total=32 * 1024 * 1024)
"""What is noted in one day for one user."""


class Noted(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which session holds a conversation."""

    session: str
    key: str
    """Of the run that answered."""
    begins: int
    """The event before that run."""
    seq: int
    """The event that ended the answer; where a person is waited for, the one before it, -1 for where the run begins."""
    spec: Digest
    """Who answered."""
    waits: Mapping[str, str] = {}
    """Calls that were handed out, and what an answer to each names."""
    asks: bool = False
    """Whether a person has to say something first, and the same request is to be sent again then."""


class _Claim(msgspec.Struct, frozen=True):
    """Somebody goes on from there."""


async def begin(call: Call[Any, Any, Any], asked: Asked, messages: Sequence[Message]) -> Turn:
    """Returns what comes of a conversation: in the session that holds what comes before its end, or in a new one.

    Raises:
        HoldfastError: nothing comes of it; see `Runtime.go_on`.
    """
    notes = _notes(call)
    again = await notes.get(_digest(call, asked, messages))
    head = None if again is None else await call.runtime.journal.head(stream_id(call.who.tenant, again.session))
    if again is not None and again.asks and head is not None and again.spec == asked.agent.digest:
        run, seen = call.runtime.run(again.session, again.key, after=again.begins), head.seq + bool(head.unread)
        after = None if again.seq < 0 else again.seq
        return Turn(asked, run, after, floor=again.begins, again=seen, held=call.runtime.governed)
    if messages and not isinstance(messages[-1], AssistantMessage):
        place = max((at for at, each in enumerate(messages) if isinstance(each, AssistantMessage)), default=-1) + 1
        noted = await notes.get(_digest(call, asked, messages[:place])) if place else None
        if noted is not None and (turn := await go_on_in(call, asked, noted, messages[place:])) is not None:
            return turn
    return await run_of(call, asked, messages, None)


async def go_on_in(call: Call[Any, Any, Any], asked: Asked, noted: Noted, said: Sequence[Message]) -> Turn | None:
    """Returns what comes of what was said next in a session; None where it does not go on from there."""
    head = await call.runtime.journal.head(stream_id(call.who.tenant, noted.session))
    if head is None or head.state == "ended" or noted.asks:
        return None
    results = {each.call_id: each for each in said if isinstance(each, ToolMessage)}
    if set(results) != set(noted.waits) or (results and (head.state == "idle" or noted.spec != asked.agent.digest)):
        return None
    if any(isinstance(each, AssistantMessage) for each in said) or await went_on(call, noted.session, noted.seq):
        return None
    if results and await _is_late(call, asked, noted):
        return None
    if not await Shelf(call, "continued", _Claim, _DAY, _ROOM).first(f"{noted.session}/{noted.seq}", _Claim()):
        return None
    if not results:
        with suppress(SessionExited):  # a moment ago
            return await run_of(call, asked, said, noted.session, head.seq)
        return None
    run = call.runtime.run(noted.session, noted.key, after=noted.begins)
    for each in said:
        if isinstance(each, UserMessage):
            await run.steer(each.parts)
    for call_id, result in results.items():
        await run.answer(noted.waits[call_id], result.content, is_error=result.is_error)
    await call.runtime.wake(noted.session, [asked.agent])
    return Turn(asked, run, noted.seq, floor=noted.begins, results=noted.waits, held=call.runtime.governed)


async def _is_late(call: Call[Any, Any, Any], asked: Asked, noted: Noted) -> bool:
    """Whether a run began so long ago that its time may end in the middle of its next answer."""
    if asked.patience is None:
        return False
    first = await call.runtime.events(noted.session, after=noted.begins, limit=1)
    return not first or call.service.clock.now() - first[0].at > asked.patience * 1e6


async def went_on(call: Call[Any, Any, Any], session: str, seq: int) -> bool:
    """Whether anything was said in a session since an event."""
    later = await call.runtime.events(session, after=seq, limit=200)
    return len(later) == 200 or any(isinstance(each.data, InputReceived | WaitResolved | Rewound) for each in later)


async def note(call: Call[Any, Any, Any], asked: Asked, messages: Sequence[Message], turn: Turn, ended: Ended) -> None:
    """Notes which session holds a conversation, now that it was answered."""
    asks, notes = ended.how == "asks", _notes(call)
    if ended.how == "failed":
        if turn.again:  # whoever sends it once more has it done once more
            with suppress(StorageError):
                await notes.drop(_digest(call, asked, messages))
        return
    seq = (-1 if turn.after is None else turn.after) if asks else turn.seq
    noted = Noted(turn.run.session, turn.run.key, turn.begins, seq, asked.agent.digest, ended.waits, asks)
    with suppress(StorageError):  # a conversation that nobody finds again begins a new session
        if turn.again and not asks:
            await notes.drop(_digest(call, asked, messages))
        await notes.put(_digest(call, asked, messages if asks else [*messages, ended.message]), noted)


async def run_of(
    call: Call[Any, Any, Any], asked: Asked, messages: Sequence[Message], session: str | None, floor: int = 0
) -> Turn:
    """Returns what comes of messages in a session, of which the events up to `floor` are over; in a new one without.

    Raises:
        Refused: the results of calls are among them that nobody made.
        HoldfastError: nothing comes of it; see `Runtime.go_on`.
    """
    calls: set[str] = set()
    for each in messages if session is None else ():
        if isinstance(each, AssistantMessage):
            calls.update(call.id for call in each.calls)
        elif isinstance(each, ToolMessage) and each.call_id not in calls:
            why = f"there is a result of {each.call_id[:100]!r}, which no message before it calls: send the call, too"
            raise Refused(400, "invalid_request", why)
    run = await call.runtime.go_on(
        asked.agent,
        messages,
        session=session,
        limits=asked.limits,
        mode=call.service.mode,
        control=call.service.control,
        background=call.who.lane == "autonomous",
    )
    return Turn(asked, run, floor=floor, held=call.runtime.governed)


def _notes(call: Call[Any, Any, Any]) -> Shelf[Noted]:
    return Shelf(call, "conversation", Noted, _DAY, _ROOM)


def _digest(call: Call[Any, Any, Any], asked: Asked, messages: Sequence[Message]) -> str:
    """Returns what names a conversation, as a client says it again."""
    told = hashlib.sha256(msgspec.json.encode([call.who.tenant, call.who.user, asked.name]))
    for message in messages:
        told.update(msgspec.json.encode(_said(message)))
        told.update(b"\n")
    return told.hexdigest()


def _said(message: Message) -> list[Any]:
    if isinstance(message, ToolMessage):
        return ["tool", message.call_id, message.content]
    if isinstance(message, AssistantMessage):
        calls = [[each.id, each.name, _canonical(each.arguments)] for each in message.calls]
        return ["assistant", message.text.strip(), calls]
    return ["user", [_piece(part) for part in message.parts]]


def _piece(part: UserPart) -> list[str]:
    return ["text", part.text] if isinstance(part, Text) else [part.media_type, digest_of(part.data)]


def _canonical(arguments: str) -> str:
    """Returns arguments in one of the ways of writing them: clients read them, and write them again."""
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments or "{}"), order="sorted").decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return arguments
