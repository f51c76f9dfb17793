"""What a handler takes and gives, read from its signature once, when the table is made."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any, get_args, get_origin

import msgspec

from holdfast.errors import UsageError
from holdfast.server.routing.route import Answer, Call, Route
from holdfast.server.streams.port import Stream

__all__ = ("Signature", "signature_of")


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The types of a handler; None for nothing."""

    where: Any
    query: Any
    body: Any
    answer: Any
    """What is encoded; None for no body, and for a stream."""
    streams: bool
    summary: str
    """The first sentence of its docstring."""
    description: str
    """All of it."""


def signature_of(route: Route) -> Signature:
    """Returns what a route's handler takes and gives.

    Raises:
        UsageError: it does not say so, or not what belongs to the path.
    """
    handle = route.handle
    name = getattr(handle, "__qualname__", repr(handle))
    hints = typing.get_type_hints(handle)
    answer = hints.pop("return", inspect.Signature.empty)
    call = next(iter(hints.values()), None)
    if get_origin(call) is not Call or answer is inspect.Signature.empty:
        raise UsageError(
            f"the handler {name} of {route.path} has to take a Call[Where, Query, Body] and say what it gives"
        )
    where, query, body = (None if each is type(None) else each for each in get_args(call))
    named: set[str] = set() if where is None else {field.encode_name for field in msgspec.structs.fields(where)}
    wanted = {part[1:-1] for part in route.path.split("/") if part.startswith("{")}
    if named != wanted:
        raise UsageError(f"the path {route.path} names {sorted(wanted)}, and the handler {name} takes {sorted(named)}")
    text = inspect.cleandoc(handle.__doc__ or "")
    if not text:
        raise UsageError(f"the handler {name} of {route.path} has no docstring: it is what the description says")
    summary = text.partition("\n\n")[0].replace("\n", " ")
    return Signature(
        where=where,
        query=query,
        body=body,
        answer=_encoded(answer),
        streams=Stream in (answer, *get_args(answer)),
        summary=summary.partition(": ")[0].rstrip("."),
        description=text,
    )


def _encoded(answer: Any) -> Any:
    if get_origin(answer) is types.UnionType:  # a stream, or what is encoded where none is wanted
        answer = next(each for each in get_args(answer) if each is not Stream)
    if get_origin(answer) is Answer:
        answer = get_args(answer)[0]
    return None if answer in (None, type(None), Stream) else answer
