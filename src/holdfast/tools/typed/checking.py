"""Tells whether a dict is a JSON Schema, before a model is asked to keep to it.

What a provider would refuse in the middle of a run is refused when the agent is declared: unknown types, references to
nothing, a root that asks for nothing. Keywords nobody here knows are let through, as the specification wants it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from holdfast.errors import UsageError

__all__ = ("checked_schema",)

_BYTES = 64 * 1024
"""The longest schema: it goes with every request (source: orloj 7, 57)."""
_DEPTH = 64
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
_ASKING = ("type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties")
"""One of these stands at the root of a schema that asks for anything."""
_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames")
_LOCAL = ("#/$defs/", "#/definitions/")


class _Wrong(Exception):
    pass


def checked_schema(given: Mapping[str, Any], what: str = "output schema") -> dict[str, Any]:
    """Returns a copy of a schema that is one; `what` it is, messages say.

    Raises:
        UsageError: it is none; says where and what to do.
    """
    try:
        data = msgspec.json.encode(given)
        schema = msgspec.json.decode(data, type=dict[str, Any])
        _check(schema, schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the {what} is no JSON ({error}): give dicts, lists, texts and numbers") from None
    except _Wrong as wrong:
        raise UsageError(f"the {what} is no JSON Schema: {wrong}") from None
    if len(data) > _BYTES:
        raise UsageError(f"the {what} has {len(data):,} bytes and {_BYTES:,} are allowed: ask for less at once")
    return schema


def _check(schema: dict[str, Any], root: dict[str, Any]) -> None:
    if not any(keyword in schema for keyword in _ASKING):
        raise _Wrong('its root says nothing of what is wanted: begin with {"type": "object", "properties": {...}}')
    _part(schema, "$", root, 0)


def _part(schema: Any, where: str, root: dict[str, Any], depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _Wrong(f"{where} is {schema!r}, and has to be a schema: write a dict such as {{'type': 'string'}}")
    if depth > _DEPTH:
        raise _Wrong(f"{where} is nested deeper than {_DEPTH} levels: name parts of it in $defs")
    node = cast(dict[str, Any], schema)
    for keyword, value in node.items():
        if (check := _CHECKS.get(keyword)) is not None:
            check(value, f"{where}.{keyword}")
        elif keyword == "$ref":
            _reference(value, f"{where}.$ref", root)
        for path, each in _inside(keyword, value, f"{where}.{keyword}"):
            _part(each, path, root, depth + 1)


def _inside(keyword: str, value: Any, where: str) -> list[tuple[str, Any]]:
    """Returns the schemas that a keyword holds, with their paths."""
    if keyword in _NAMED:
        if not isinstance(value, dict):
            raise _Wrong(f"{where} has to be a dict of schemas")
        return [(f"{where}.{name}", each) for name, each in cast(dict[str, Any], value).items()]
    if keyword in _LISTED:
        if not isinstance(value, list) or not value:
            raise _Wrong(f"{where} has to be a list of schemas, with one at least")
        return [(f"{where}[{place}]", each) for place, each in enumerate(cast(list[Any], value))]
    return [(where, value)] if keyword in _SINGLE else []


def _reference(value: Any, where: str, root: dict[str, Any]) -> None:
    """Follows a reference until it comes to a schema."""
    seen: set[str] = set()
    while True:
        if not isinstance(value, str) or not value.startswith(_LOCAL):
            raise _Wrong(f"{where} is {value!r}, and has to lead into this schema: write '#/$defs/<name>'")
        name = value.split("/", 2)[2].replace("~1", "/").replace("~0", "~")
        named = cast(dict[str, Any], {**root.get("definitions", {}), **root.get("$defs", {})})
        if name not in named:
            raise _Wrong(f"{where} leads to {value!r}, and there is no such definition")
        if value in seen:
            raise _Wrong(f"{where} leads only back to itself")
        seen.add(value)
        target = named[name]
        if not isinstance(target, dict) or "$ref" not in target:
            return
        value = cast(dict[str, Any], target)["$ref"]


def _type(value: Any, where: str) -> None:
    kinds = cast(list[Any], value) if isinstance(value, list) else [value]
    for kind in kinds:
        if kind not in _TYPES:
            raise _Wrong(f"{where} is {kind!r}, and has to be one of {', '.join(map(repr, _TYPES))}")
    if not kinds:
        raise _Wrong(f"{where} names no type")


def _names(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast(list[Any], value)):
        raise _Wrong(f"{where} has to be a list of names")


def _values(value: Any, where: str) -> None:
    if not isinstance(value, list) or not value:
        raise _Wrong(f"{where} has to be a list with one value at least")


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(f"{where} is {value!r}, and has to be a number")


def _count(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong(f"{where} is {value!r}, and has to be a whole number that is not below 0")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _Wrong(f"{where} is {value!r}, and has to be a text")


def _pattern(value: Any, where: str) -> None:
    _text(value, where)
    try:
        re.compile(value)
    except re.error as error:
        raise _Wrong(f"{where} is no regular expression ({error})") from None


_CHECKS: Mapping[str, Callable[[Any, str], None]] = {
    "type": _type,
    "required": _names,
    "enum": _values,
    "pattern": _pattern,
    "format": _text,
    "title": _text,
    "description": _text,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count),
}
