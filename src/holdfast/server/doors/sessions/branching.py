"""Other ways a session can take: a branch of it, back to an event, its files then and now, and into another store."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator

import msgspec

from holdfast.runtime.runtime import Runtime
from holdfast.server.doors.sessions.shapes import InSession, Name, Seq, check_session
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call, Raw
from holdfast.server.streams.port import Stream
from holdfast.types import shown

__all__ = ("diff", "export", "fork", "import_", "rewind")


class Forking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a branch begins, and what it is called."""

    at: Seq | None = None
    """The last event that both share; the last there is without."""
    name: Name | None = None
    """A random one without."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was made of another one."""

    session: str
    events: int = 0
    """How many it has from there: of a fork those that both share, of an import all of the file."""


class Rewinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far back: one of them."""

    at: Seq | None = None
    """The last event that stays part of the conversation."""
    to: Seq | None = None
    """The same, as it was called at first."""


class Rewound(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was taken back."""

    seq: int
    """A rewind to this event takes it all back."""


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two moments."""

    since: Seq = 0
    until: Seq | None = None
    """Now without."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A path that is not as it was."""

    path: str
    kind: str


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a session's files."""

    changes: tuple[Changed, ...] = ()
    text: str = ""
    """The same as a unified diff, cut where it is very long."""


class Exporting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much goes along."""

    blobs: bool = True
    """Whether everything that events refer to comes along, the files too."""


class Naming(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an imported session is called."""

    name: Name | None = None
    """Its name in the file without."""


async def fork(call: Call[InSession, None, Forking]) -> Answer[Made]:
    """Branches a session off at an event, with the files as they were then in a folder of its own."""
    await check_session(call, call.where.session)
    if call.body.name is not None and await call.runtime.exists(call.body.name):
        raise _taken(call.body.name)
    made = await call.runtime.fork(call.where.session, at=call.body.at, name=call.body.name)
    glance = await call.runtime.glance(made)
    shared = 0 if glance is None else glance.parent_seq
    return Answer(value=Made(session=made, events=shared), status=201, headers={"location": f"/v1/sessions/{made}"})


async def rewind(call: Call[InSession, None, Rewinding]) -> Rewound:
    """Takes everything after an event out of an idle session's conversation, and puts its files back."""
    await check_session(call, call.where.session)
    if (call.body.at is None) == (call.body.to is None):
        raise Refused(400, "bad_body", "name the last event that stays: `at`, or `to`, which is the same")
    last = call.body.to if call.body.at is None else call.body.at
    return Rewound(seq=await call.runtime.rewind(call.where.session, to=last or 0))


async def diff(call: Call[InSession, Span, None]) -> Diff:
    """Returns what became of a session's files between two of its events."""
    await check_session(call, call.where.session)
    if await call.runtime.workspace(call.where.session) is None:
        return Diff()
    found = await call.runtime.changes(call.where.session, since=call.query.since, until=call.query.until)
    changes = tuple(Changed(path=shown(each.path), kind=each.kind) for each in found.changes)
    return Diff(changes=changes, text=found.text)


async def export(call: Call[InSession, Exporting, None]) -> Stream:
    """Writes a session as lines of JSON, from which an import makes it again, here or elsewhere."""
    session = call.where.session
    await check_session(call, session)
    if not await call.runtime.events(session, limit=1):
        raise Refused(409, "nothing_to_export", "nothing happened in this session yet")
    return Stream(
        pieces=_lines(call.runtime, session, blobs=call.query.blobs),
        media_type="application/x-ndjson",
        headers={"content-disposition": f'attachment; filename="{session.replace(":", "_")}.jsonl"'},
        beat=b"",
        failed=lambda refused: msgspec.json.encode({"error": refused.problem()}) + b"\n",
    )


async def _lines(runtime: Runtime, session: str, *, blobs: bool) -> AsyncGenerator[bytes, None]:
    held: list[bytes] = []
    size = 0
    async for line in runtime.export(session, blobs=blobs):
        held.append(line)
        size += len(line)
        if size >= 64 * 1024:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


async def import_(call: Call[None, Naming, Raw]) -> Answer[Made]:
    """Makes a session of what an export wrote; all of it, or nothing. Nothing begins to run by itself."""
    name = call.query.name
    if name is not None and await call.runtime.exists(name):
        raise _taken(name)
    loaded = await call.runtime.load(io.BytesIO(call.body.data), name=name)
    made = Made(session=loaded.session, events=loaded.events)
    return Answer(value=made, status=201, headers={"location": f"/v1/sessions/{loaded.session}"})


def _taken(name: str) -> Refused:
    return Refused(409, "session_exists", f"there is a session {name!r} already: choose another name, or none")
