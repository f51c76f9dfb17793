"""What a route is: one declaration, from which validation, authorisation and description follow.

A handler is a plain async function. Its signature says what it takes and what it gives:

    async def show(call: Call[InSession, None, None]) -> SessionView:
        '''Returns a session: its state, what it cost, and what it waits for.'''

`Call`'s three types are structs of what the path names, of the query and of the body; None for nothing. The docstring
is the description that `/openapi.json` gives. What it returns is encoded as JSON, unless it is an `Answer` that says
more, or a `Stream`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

from holdfast.runtime.runtime import Runtime
from holdfast.server.access.principal import Principal, Scope
from holdfast.server.parts import Service
from holdfast.server.problems import PROBLEM, Dialect

__all__ = ("Answer", "Call", "Handler", "Method", "Raw", "Route")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

Where = TypeVar("Where")
Query = TypeVar("Query")
Body = TypeVar("Body")
Value = TypeVar("Value")

BODY_BYTES = 4 * 1024 * 1024
"""The longest body of a request, where a route says nothing else (source: Orloj 6.2)."""


class Raw(msgspec.Struct, frozen=True):
    """A body as bytes, of a route that takes no JSON."""

    data: bytes
    media_type: str
    """As the request named it, without parameters."""


class Call(msgspec.Struct, Generic[Where, Query, Body], kw_only=True):
    """One request, understood and authorised."""

    who: Principal
    runtime: Runtime
    """Acting for the tenant and the user of `who`: nothing of anybody else can be reached through it."""
    where: Where
    """What the path names."""
    query: Query
    body: Body
    headers: Mapping[str, str]
    """By their lower-case names."""
    service: Service
    request_id: str
    client: str
    """The address it came from."""


class Answer(msgspec.Struct, Generic[Value], kw_only=True):
    """A value, and what else is to be said with it."""

    value: Value
    status: int = 0
    """0 for the route's own."""
    headers: Mapping[str, str] = {}
    cookies: tuple[str, ...] = ()
    """Whole `set-cookie` headers."""


Handler = Callable[[Any], Awaitable[Any]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked."""

    method: Method
    path: str
    """Names in braces are the fields of the `Where` of the handler."""
    handle: Handler
    scope: Scope | None
    """What whoever asks has to have; None lets everybody in, and `who` is then nobody in particular."""
    tag: str
    """Under which heading it is described."""
    status: int = 200
    """Of an answer that says nothing else."""
    errors: tuple[int, ...] = ()
    """What it refuses with, beside 400, 401, 403, 405, 413, 415, 422, 429 and 5xx, which follow from its kind."""
    body_bytes: int = BODY_BYTES
    seconds: float | None = 60.0
    """How long it may take until it answers; a `Stream` has begun to answer. None for any time."""
    dialect: Dialect = PROBLEM
    """How its errors are written."""
    described: bool = True
    """Whether `/openapi.json` tells of it."""
    media_type: str = "application/json"
    """Of its answer, for the description: that of a stream or a file, where it gives one."""
    tells: Callable[[], Mapping[str, Any]] | None = None
    """Gives the type of the JSON of each event of its stream, by the event's name, for the description."""
    also: tuple[int, ...] = ()
    """Other statuses of the same answer: 200 for what was done before, beside 201."""
    takes: str = ""
    """The media type of a `Raw` body, for the description."""
    reads: Mapping[str, str] = {}
    """Headers of its own that it looks at, each with what it means, for the description."""
    example: Any = None
    """A body that it takes, for the description."""
    attended: bool = False
    """Whether its handler is cancelled when whoever asked is gone before it answers."""
    rest: bool = False
    """Whether the last name in the path may have slashes, written as they are."""
    counted: bool = True
    """Whether it counts towards rates; health does not."""
