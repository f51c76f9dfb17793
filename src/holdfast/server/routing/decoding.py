"""From what was sent to what a handler takes. What does not fit is refused, with the place where it does not."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request

from holdfast.server.problems import Refused
from holdfast.server.routing.explaining import explained
from holdfast.server.routing.route import Raw

__all__ = ("body_of", "query_of", "read_body", "where_of")

_PARAMETERS = 100
"""Parameters of one query."""
_EXACT = 2**53
"""From where on not every whole number can be told from the next, where it is written with a point."""


def where_of(kind: Any, found: Mapping[str, str]) -> Any:
    """Returns what the path names.

    Raises:
        Refused: it names something that cannot be: there is nothing there.
    """
    if kind is None:
        return None
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(404, "not_found", f"there is nothing at this path: {error}") from error


def query_of(kind: Any, raw: bytes) -> Any:
    """Returns the query; a parameter that comes twice is a list where the field is one.

    Raises:
        Refused: a parameter is unknown, comes too often, or does not fit.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_PARAMETERS, errors="strict")
    except ValueError as error:
        raise Refused(400, "bad_query", f"the query cannot be read: {error}") from error
    if kind is None:
        if pairs:
            raise Refused(400, "bad_query", f"this takes no query, and {pairs[0][0][:60]!r} was given")
        return None
    fields = _fields(kind)
    given = _given(fields, pairs)
    try:
        found = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, "bad_query", f"the query does not fit: {explained(kind, error)}") from error
    if missing := [name for name in given if getattr(found, fields[name].name) is None]:
        raise Refused(400, "bad_query", f"the parameter {missing[0]!r} cannot be null: leave it out")
    return found


@functools.cache
def _fields(kind: Any) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _given(fields: Mapping[str, msgspec.structs.FieldInfo], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            raise Refused(400, "bad_query", f"there is no parameter {name[:60]!r}: there is {', '.join(fields)}")
        if _is_list(fields[name].type):
            given.setdefault(name, []).append(value)
        elif name in given:
            raise Refused(400, "bad_query", f"the parameter {name!r} was given twice: give it once")
        else:
            given[name] = value
    return given


def _is_list(kind: Any) -> bool:
    return any(
        typed.__origin__ in (list, tuple)
        for typed in (kind, *getattr(kind, "__args__", ()))
        if hasattr(typed, "__origin__")
    )


async def read_body(request: Request, most: int) -> bytes:
    """Returns the whole body.

    Raises:
        Refused: it is longer than `most` bytes, or compressed: what it unpacks to could be anything.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Refused(415, "compressed_body", f"a body in {encoding[:40]!r} is not read: send it as it is")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    found = bytearray()
    try:
        async for piece in request.stream():
            found += piece
            if len(found) > most:
                raise _too_large(most)
    except ClientDisconnect:
        raise Refused(400, "broken_body", "the body ended too early") from None
    return bytes(found)


def body_of(kind: Any, data: bytes, media_type: str) -> Any:
    """Returns the body.

    Raises:
        Refused: there is one and none is taken, it is no JSON, or it does not fit.
    """
    media = media_type.partition(";")[0].strip().lower()
    if kind is Raw:
        return Raw(data, media or "application/octet-stream")
    if kind is None:
        return None
    if media and media != "application/json" and not media.endswith("+json"):
        raise Refused(415, "unknown_media_type", f"a body of type {media[:60]!r} is not read: send application/json")
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        return _with_whole_numbers(kind, data, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "bad_body", f"the body is no JSON: {error}") from error


def _with_whole_numbers(kind: Any, data: bytes, misfit: msgspec.ValidationError) -> Any:
    """Returns a body some of whose whole numbers are written as 1.0, which is the same to JSON Schema.

    Raises:
        Refused: that is not what is wrong with it.
    """
    refused = Refused(400, "bad_body", f"the body does not fit: {explained(kind, misfit)}")
    if "got `float`" not in str(misfit):
        raise refused from misfit
    try:
        return msgspec.json.decode(msgspec.json.encode(_whole(msgspec.json.decode(data))), type=kind)
    except (msgspec.ValidationError, RecursionError):
        raise refused from misfit


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in cast(list[Any], value)]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in cast(dict[str, Any], value).items()}
    return value


def _too_large(most: int) -> Refused:
    return Refused(413, "body_too_large", f"a body of more than {most:,} bytes is not read here: send less")
