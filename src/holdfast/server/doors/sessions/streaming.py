"""What happens in a session, from any event on: as server-sent events, as a page of JSON, or over a socket.

Durable events come in order, each once, with their sequence numbers as ids; whoever comes back with the last one misses
and repeats none. A stream begins with `reset`, since deltas have no numbers: what was heard of an answer before counts
no more, and what there is of it comes again. Whoever names an event beyond the end, as of a session that was deleted
and made anew, is told so (`reset` with the reason `beyond`), and all there is from the first event on: a browser that
comes back by itself sees nothing of an error. At its end it says `end`, and why.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.engine.events import CODEC
from holdfast.runtime.runtime import Runtime
from holdfast.server.doors.sessions.shapes import InSession, check_session
from holdfast.server.parts import Service
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call
from holdfast.server.streams.framing import BEYOND, JOINED, Frames, json_frame, sse_frame, sse_note
from holdfast.server.streams.port import Shortcut, Stream
from holdfast.types import Delta, Event, Reset

__all__ = ("events", "socket")

_RETRY = b"retry: 1000\n"
"""Milliseconds after which a browser comes back."""


class Following(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From where on, and how long."""

    after: Annotated[int, Meta(ge=0, le=2**53, description="The last event that is known already.")] = 0
    until: Literal["idle", "forever"] = "forever"
    """`idle` ends the stream when no run is open and nothing waits to be read."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200
    """Events of one page, where a page is asked for."""


class EventPage(msgspec.Struct, frozen=True):
    """Some events of a session, in order."""

    events: tuple[msgspec.Raw, ...]
    """As the log holds them."""
    after: int
    """The last of them: where the next page begins."""
    more: bool
    """Whether there are more by now."""


class _Encoded:
    """What is sent to more than one, encoded once; a part of the service."""

    def __init__(self) -> None:
        self.sse = Frames(sse_frame, CODEC.encode)
        self.json = Frames(json_frame, CODEC.encode)

    @staticmethod
    def of(service: Service) -> _Encoded:
        return service.parts.get(_Encoded) or service.parts.setdefault(_Encoded, _Encoded())


async def events(call: Call[InSession, Following, None]) -> Stream | Answer[EventPage]:
    """Tells what happens in a session, as server-sent events, from the events after `after` (or the header
    Last-Event-ID) on.

    Durable events have their sequence number as `id` and come each once, in order; deltas have none. `reset` takes back
    the deltas of the answer so far; with the reason `beyond`, everything: there is no such event as the one that was
    named, and all there are come from the first one on. `lagged` says that this reader was too slow for the deltas.
    `end` comes last. With `Accept: application/json` it is one page of the durable ones.
    """
    session = call.where.session
    await check_session(call, session)
    after, reset = await _begin(call, session)
    if _wants_page(call.headers.get("accept", "")):
        if reset is BEYOND:
            raise Refused(409, "beyond_the_end", "the session has no such event yet: begin again without `after`")
        return await _page(call, session, after)
    frames = _Encoded.of(call.service).sse
    begin = b"".join((_RETRY, *frames.pieces((reset,))))
    shortcut = Shortcut()
    pieces = _pieces(call.runtime, session, after, call.query.until, frames, _sse_end, begin, shortcut)
    return Stream(pieces=pieces, shortcut=shortcut, farewell=lambda: _sse_end("closing"))


async def socket(call: Call[InSession, Following, None]) -> Stream:
    """Tells the same over a WebSocket: each item is a text of its own, in JSON."""
    session = call.where.session
    await check_session(call, session)
    frames = _Encoded.of(call.service).json
    after, reset = await _begin(call, session)
    begin = b"".join(frames.pieces((reset,)))
    return Stream(
        pieces=_pieces(call.runtime, session, after, call.query.until, frames, _json_end, begin),
        beat=b'{"type":"keep-alive"}',
        farewell=lambda: _json_end("closing"),
        failed=_json_failed,
    )


async def _begin(call: Call[Any, Following, Any], session: str) -> tuple[int, Reset]:
    """Returns after which event to tell, and what to begin with."""
    after = _after(call)
    glance = await call.runtime.glance(session) if after else None
    if glance is not None and after > glance.seq:
        return 0, BEYOND
    return after, JOINED


def _after(call: Call[Any, Following, Any]) -> int:
    last = call.headers.get("last-event-id", "").strip()
    if not last:
        return call.query.after
    if not (last.isascii() and last.isdigit() and len(last) <= 15):
        raise Refused(400, "bad_event_id", f"Last-Event-ID {last[:40]!r} is no number of an event")
    return int(last)


def _wants_page(accept: str) -> bool:
    kinds = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return "application/json" in kinds and "text/event-stream" not in kinds


async def _page(call: Call[Any, Following, Any], session: str, after: int) -> Answer[EventPage]:
    found = await call.runtime.events(session, after=after, limit=call.query.limit + 1)
    shown = found[: call.query.limit]
    page = EventPage(
        events=tuple(msgspec.Raw(CODEC.encode(event)) for event in shown),
        after=shown[-1].seq if shown else after,
        more=len(found) > len(shown),
    )
    return Answer(value=page, headers={"vary": "accept"})


async def _pieces(
    runtime: Runtime,
    session: str,
    after: int,
    until: Literal["idle", "forever"],
    frames: Frames,
    end: Callable[[str], bytes],
    begin: bytes,
    shortcut: Shortcut | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yields what came together as one piece; deltas may take the shortcut while the next is waited for."""
    sink = None if shortcut is None else partial(_push, shortcut, frames)
    yield begin
    following = runtime.follow(session, after=after, until=until, sink=sink)
    async with contextlib.aclosing(following):
        async for items in following:
            for piece in frames.pieces(items):
                yield piece
    gone = not await runtime.exists(session)
    yield end("deleted" if gone else "idle" if until == "idle" else "replaced")


def _push(shortcut: Shortcut, frames: Frames, deltas: Sequence[Event | Delta]) -> bool:
    if shortcut.push is None:
        return False
    piece, *more = frames.pieces(deltas)
    return not more and shortcut.push(piece)  # so much at once is for whoever waits in between


def _sse_end(reason: str) -> bytes:
    return sse_note("end", {"type": "end", "reason": reason})


def _json_end(reason: str) -> bytes:
    return msgspec.json.encode({"type": "end", "reason": reason}) + b"\n"


def _json_failed(refused: Refused) -> bytes:
    problem = msgspec.to_builtins(refused.problem())
    return msgspec.json.encode({**problem, "type": "error"}) + b"\n"
