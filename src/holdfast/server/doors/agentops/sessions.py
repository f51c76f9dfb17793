"""The first generation's routes: many sessions, each with a title (source: AgentOps 1, v0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.server.access.principal import Scope
from holdfast.server.doors.agentops.asking import Answers, Done, InSession, InWaitOf, Prompting, Replying, Steering
from holdfast.server.doors.agentops.desk import desk_of
from holdfast.server.doors.agentops.extracting import title_of, title_session, want_title
from holdfast.server.doors.agentops.remembering import MessageShown
from holdfast.server.doors.agentops.speaking import Output, abort, permit, reply, steer, stream, told
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Call, Method
from holdfast.server.streams.port import Stream
from holdfast.types import UserMessage

__all__ = ("TABLE",)

_BESIDE = (".title",)
"""Ends of names of sessions that only serve others."""


_EVENTS = "text/event-stream"


class Creating(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that is to be."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")] | None = None
    """A random one without."""


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """A session."""

    id: str
    title: str
    """What `titleModel` made of its first prompt; without one, how that begins."""
    busy: bool
    created_at: int
    """µs UTC."""
    updated_at: int
    """µs UTC."""


class Listing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of them."""

    after: Annotated[str, Meta(max_length=128)] = ""
    """The last id of the page before."""
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


async def create(call: Call[None, None, Creating]) -> SessionShown:
    """Makes a session that nothing was said to yet; a name that is taken is refused."""
    wanted = call.body.id
    if wanted is not None and await call.runtime.exists(wanted):
        raise Refused(409, "taken", f"there is a session {wanted!r} already: choose another id")
    return await _shown(call, await call.runtime.create(wanted))


async def list_(call: Call[None, Listing, None]) -> list[SessionShown]:
    """Lists sessions by name."""
    page = await call.runtime.sessions(after=call.query.after, limit=call.query.limit)
    names = [each.session for each in page.sessions]
    return [await _shown(call, each) for each in names if not each.endswith(_BESIDE)]


async def show(call: Call[InSession, None, None]) -> SessionShown:
    """Returns a session."""
    return await _shown(call, call.where.id)


async def delete(call: Call[InSession, None, None]) -> Done:
    """Deletes a session with its title; not while a run is open in it."""
    await _shown(call, call.where.id)
    beside = title_session(call.where.id)
    gone = [call.where.id, *([beside] if beside and await call.runtime.exists(beside) else [])]
    await call.runtime.delete(*reversed(gone))
    return Done()


async def messages(call: Call[InSession, None, None]) -> list[MessageShown]:
    """Returns a session's messages, as `/working-memory` does."""
    await _known(call)
    memory = await desk_of(call).memories.of(call.runtime, call.who.tenant, call.where.id)
    return memory.shown()


async def prompt(call: Call[InSession, None, Prompting]) -> Output:
    """Gives a session a prompt, as `/prompt` does."""
    await _titled(call)
    return await told(call, lambda: _there(call))


async def prompt_stream(call: Call[InSession, None, Prompting]) -> Stream:
    """Gives a session a prompt and streams what happens, as `/prompt/stream` does."""
    await _titled(call)
    return await stream(call, lambda: _there(call))


async def steer_(call: Call[InSession, None, Steering]) -> Done:
    """Says something to a session's run, as `/steer` does."""
    await _known(call)
    return await steer(call, call.where.id, call.body.message)


async def abort_(call: Call[InSession, None, None]) -> Done:
    """Ends a session's run, as `/abort` does."""
    await _known(call)
    return await abort(call, call.where.id)


async def permission(call: Call[InWaitOf, None, Replying]) -> Done:
    """Answers a gate of a session."""
    return await permit(call, call.where.id, call.where.wait, call.body.response)


async def question(call: Call[InWaitOf, None, Answers]) -> Done:
    """Answers what a session's agent asked."""
    return await reply(call, call.where.id, call.where.wait, call.body.answers)


async def _there(call: Call[InSession, Any, Any]) -> str:
    return call.where.id


async def _known(call: Call[Any, Any, Any]) -> None:
    if await call.runtime.glance(call.where.id) is None:
        raise Refused(404, "not_found", "session not found")


async def _titled(call: Call[InSession, None, Prompting]) -> None:
    await _known(call)
    desk = desk_of(call)
    desk.later(want_title(call.runtime, desk.daemon.titles, call.where.id, call.body.prompt))


async def _shown(call: Call[Any, Any, Any], session: str) -> SessionShown:
    glance = await call.runtime.glance(session)
    if glance is None:
        raise Refused(404, "not_found", "session not found")
    memory = await desk_of(call).memories.of(call.runtime, call.who.tenant, session)
    first = next((each.text for each in memory.messages if isinstance(each, UserMessage)), "")
    return SessionShown(
        id=session,
        title=await title_of(call.runtime, session, first),
        busy=glance.busy,
        created_at=glance.created_at,
        updated_at=glance.updated_at,
    )


TABLE: tuple[tuple[Method, str, Callable[[Any], Awaitable[Any]], Scope, dict[str, Any]], ...] = (
    ("POST", "", create, "sessions:write", {"status": 201, "errors": (409,)}),
    ("GET", "", list_, "sessions:read", {}),
    ("GET", "/{id}", show, "sessions:read", {"errors": (404,)}),
    ("DELETE", "/{id}", delete, "sessions:write", {"errors": (404, 409)}),
    ("GET", "/{id}/messages", messages, "sessions:read", {"errors": (404,)}),
    ("POST", "/{id}/prompt", prompt, "sessions:write", {"errors": (404, 410), "attended": True, "seconds": None}),
    ("POST", "/{id}/prompt/stream", prompt_stream, "sessions:write", {"errors": (404, 410), "media_type": _EVENTS}),
    ("POST", "/{id}/steer", steer_, "sessions:write", {"errors": (404, 410)}),
    ("DELETE", "/{id}/abort", abort_, "sessions:write", {"errors": (404,)}),
    ("POST", "/{id}/permission/{wait}/reply", permission, "waits:answer", {"errors": (404,)}),
    ("POST", "/{id}/question/{wait}/reply", question, "waits:answer", {"errors": (404,)}),
)
"""Method, path below `/sessions`, handler, scope, and what else a route says."""
