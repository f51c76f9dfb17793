"""Reads the file: what is of the wrong type is refused with its path, and what nobody knows is warned of."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import closest
from holdfast.server.doors.agentops.configuring.fields import Config

__all__ = ("read_config",)

_LONGEST = 4 * 1024 * 1024


def read_config(path: Path) -> tuple[Config, list[str]]:
    """Returns what the file says, and what in it is not known and has no effect.

    Raises:
        UsageError: it cannot be read, is no JSON, or a field is of the wrong type; the message names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise UsageError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from error
    if len(data) > _LONGEST:
        raise UsageError(f"the configuration {str(path)!r} has more than {_LONGEST:,} bytes: name another file")
    try:
        told: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the configuration {str(path)!r} is no JSON: {error}") from error
    try:
        config = msgspec.convert(told, Config)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        place = where.rstrip("`").lstrip(".")
        raise UsageError(f"{path}: {place or 'the file'}: {what}") from error
    return config, [f"{path}: {text}" for text in _strange(told, Config, "")]


def _strange(told: Any, kind: Any, where: str) -> Iterator[str]:
    """Yields fields that no struct has."""
    if isinstance(told, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        known = {each.encode_name: each.name for each in msgspec.structs.fields(kind)}
        hints = typing.get_type_hints(kind)
        for name, value in cast("dict[str, Any]", told).items():
            here = f"{where}.{name}" if where else name
            if name in known:
                yield from _strange(value, hints[known[name]], here)
            else:
                near = closest(name, known)
                yield f"{here} is not known and has no effect{f': is {near!r} meant?' if near else ''}"
    elif isinstance(told, list):
        inner = next((each for each in _parts(kind) if each is not Ellipsis), None)
        for at, value in enumerate(cast("list[Any]", told)):
            yield from _strange(value, inner, f"{where}[{at}]")
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                yield from _strange(told, each, where)


def _parts(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, UnionType):
        return next((get_args(each) for each in get_args(kind) if get_origin(each) is tuple), ())
    return get_args(kind) if get_origin(kind) is tuple else ()
