"""Arguments of a call as a person types them: one JSON object, or `name=value` for each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.tools.binding import Tool
from holdfast.tools.schema.fitting import misfit

__all__ = ("arguments_from", "unfit")

_MOST = 16 * 1024 * 1024
"""Bytes that are read of standard input."""


def arguments_from(words: Sequence[str], schema: dict[str, Any]) -> str:
    """Returns the JSON of a call's arguments. A value is text where the tool's schema takes text there, and JSON where
    it does not. `-` reads the JSON from standard input.

    Raises:
        UsageError: it is neither JSON nor names with values, or a name comes twice or is none of the tool's.
    """
    if not words:
        return "{}"
    if len(words) == 1 and (words[0] == "-" or words[0].lstrip().startswith("{")):
        return _object(sys.stdin.buffer.read(_MOST + 1) if words[0] == "-" else _text(words[0]).encode())
    given: Any = schema.get("properties") or {}
    properties = cast("dict[str, dict[str, Any]]", given)
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = _text(word).partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r} is no argument: write name=value for each, or one JSON object in quotes")
        if name in found:
            raise UsageError(f"{name!r} is given twice: a list is written as JSON, {name}='[1, 2]'")
        if name not in properties and schema.get("additionalProperties", False) is False:
            known = hint(name, properties) if properties else "it takes none"
            raise UsageError(f"the tool takes no {name!r}: {known}")
        found[name] = _value(value, properties.get(name, {}))
    return msgspec.json.encode(found).decode()


def unfit(tool: Tool, given: str) -> str:
    """Returns why a tool does not take a call's arguments, for a person: the argument, what it wants, what it got.
    Empty where they fit.
    """
    try:
        why = misfit(tool.spec.parameters, msgspec.json.decode(given.encode("utf-8", "replace")))
    except (msgspec.DecodeError, RecursionError) as error:
        why = str(error)
    try:
        tool.parse(given.encode("utf-8", "replace"))
    except (msgspec.MsgspecError, RecursionError) as error:
        why = why or str(error)
    return f"the arguments of {tool.spec.name!r} do not fit: {why}" if why else ""


def _object(data: bytes) -> str:
    if len(data) > _MOST:
        raise UsageError(f"the arguments have more than {_MOST:,} bytes: name a file in them instead")
    try:
        msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the arguments are no JSON object ({error}): write name=value for each instead") from None
    return data.decode()


def _text(word: str) -> str:
    # What a shell hands over may hold bytes that are no UTF-8.
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _value(text: str, schema: dict[str, Any]) -> Any:
    if _takes_text(schema):
        return text
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text  # the tool says what is wrong with it, or reads it


def _takes_text(schema: dict[str, Any]) -> bool:
    kind: Any = schema.get("type")
    if kind == "string" or (isinstance(kind, list) and "string" in kind):
        return True
    if isinstance(words := schema.get("enum"), list):
        return all(isinstance(each, str) for each in cast("list[Any]", words))
    several: Any = schema.get("anyOf") or schema.get("oneOf")
    return isinstance(several, list) and any(_takes_text(each) for each in cast("list[dict[str, Any]]", several))
