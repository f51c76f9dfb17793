"""Which sessions there are, making one, how one stands, and taking it away."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, final
from weakref import WeakValueDictionary

import msgspec
from msgspec import Meta

from holdfast.errors import SessionBusy, UsageError
from holdfast.runtime.sessions.listing import Page, Standing
from holdfast.runtime.sessions.viewing import SessionView
from holdfast.server.doors.sessions.prompting import Asked, PromptBody, ask, was_asked
from holdfast.server.doors.sessions.shapes import InSession, Name, check_session, key_of
from holdfast.server.problems import Refused
from holdfast.server.routing.route import Answer, Call

__all__ = ("create", "delete", "list_", "show")


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which page of which sessions."""

    after: Annotated[str, Meta(max_length=512, description="What the page before says under `after`.")] = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    state: tuple[Standing, ...] = ()
    """Only sessions of these states."""


class Creating(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A session that is to be."""

    name: Name | None = None
    """A random one without."""
    prompt: PromptBody | None = None
    """What is said to it first."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was made."""

    session: str
    prompt: Asked | None = None
    """What became of its first prompt."""


async def list_(call: Call[None, Listing, None]) -> Page:
    """Lists sessions by name, a page at a time: `after` of one page is where the next begins.

    What a page tells is what a session's head and the end of its log say; a page may hold fewer than `limit` and not be
    the last, where `state` leaves most out.
    """
    query = call.query
    return await call.runtime.sessions(after=query.after, limit=query.limit, states=query.state)


async def create(call: Call[None, None, Creating]) -> Answer[Created]:
    """Makes a session, and gives it a first prompt where there is one.

    With an Idempotency-Key, one that is sent twice makes one session, also where it names none. A name that is taken is
    a conflict.
    """
    body = call.body
    key = key_of(call, "" if body.prompt is None else body.prompt.key)
    name = body.name or (None if key is None else _name_for(call.who.user, key))
    if body.prompt is None:
        return await _empty(call, name, repeatable=body.name is None)
    if name is None:
        asked = await ask(call, None, body.prompt, key)
    else:
        async with _Making.of(call, name):
            asked = await _first(call, name, body.prompt, key)
    return Answer(
        value=Created(session=asked.session, prompt=asked),
        status=200 if asked.status == "duplicate" else 201,
        headers={"location": f"/v1/sessions/{asked.session}"},
    )


@final
class _Making:
    """Sessions of a name that are being made here, so that only one request makes each; a part of the service."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @staticmethod
    def of(call: Call[Any, Any, Any], name: str) -> asyncio.Lock:
        parts = call.service.parts
        making = parts.get(_Making) or parts.setdefault(_Making, _Making())
        return making._locks.setdefault((call.who.tenant, name), asyncio.Lock())


async def _first(call: Call[Any, Any, Any], name: str, prompt: PromptBody, key: str | None) -> Asked:
    if await call.runtime.exists(name) and not (key and await was_asked(call, name, key)):
        raise _taken(name)
    try:  # another process may have made it, and asked in it, meanwhile
        return await ask(call, name, msgspec.structs.replace(prompt, if_idle=True, interrupt=False), key)
    except SessionBusy:
        raise _taken(name) from None


async def _empty(call: Call[None, None, Creating], name: str | None, *, repeatable: bool) -> Answer[Created]:
    if name is not None and await call.runtime.exists(name):
        if not repeatable:
            raise _taken(name)
        return Answer(value=Created(session=name), status=200)
    try:
        session = await call.runtime.create(name)
    except UsageError:
        raise _taken(name or "") from None
    return Answer(value=Created(session=session), status=201, headers={"location": f"/v1/sessions/{session}"})


def _name_for(user: str, key: str) -> str:
    """Returns the name of the session that a request of this key makes, so that it makes one."""
    digest = hashlib.sha256("\n".join((user, key)).encode())  # neither of them has a line
    return f"s-{digest.hexdigest()[:20]}"


def _taken(name: str) -> Refused:
    return Refused(409, "session_exists", f"there is a session {name!r} already: choose another name, or none")


async def show(call: Call[InSession, None, None]) -> SessionView:
    """Returns how a session stands: what it does, what it waits for, what its runs used and cost, and how the last one
    ended.
    """
    await check_session(call, call.where.session)
    return await call.runtime.view(call.where.session)


async def delete(call: Call[InSession, None, None]) -> None:
    """Deletes a session with all that only it needs, and its folder; what forks share of it stays.

    One with an open run is not deleted: abort it first.
    """
    await check_session(call, call.where.session)
    await call.runtime.release(call.where.session)
