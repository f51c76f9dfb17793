"""Says what does not fit a tool's JSON Schema, where its function is not at hand.

Checked are the keywords that tell a person what they mistyped: kinds, names, choices and bounds. What it passes over is
for the gateway, whose word is the last: it parses the arguments as the function takes them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any, cast

__all__ = ("misfit",)

_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
_BOUNDS = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
    "minLength": (operator.ge, "a length of at least"),
    "maxLength": (operator.le, "a length of at most"),
    "minItems": (operator.ge, "a length of at least"),
    "maxItems": (operator.le, "a length of at most"),
}

_LONGEST = 200
"""Characters of a value in a reason."""


def misfit(schema: Mapping[str, Any], value: Any, where: str = "") -> str:
    """Returns the first thing about a JSON value that its schema does not allow, with the path to it; empty when there
    is none. `where` is the path of the value itself.
    """
    return _misfit(schema, value, where, _Looking(cast("dict[str, Any]", schema.get("$defs", {}))))


class _Looking:
    """One look at a value: which names stand for which schemas, and what was found where two ways lead to one place."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self.named = named
        self.found: dict[tuple[int, int], str] = {}


def _misfit(schema: Mapping[str, Any], value: Any, where: str, looking: _Looking) -> str:
    """Returns what does not fit. A union that leads back to itself would otherwise be looked through once for each
    way to each place: twice as often for every level of the value.
    """
    if not isinstance(value, dict | list):
        return _found(schema, value, where, looking)
    place = id(schema), id(cast("object", value))
    if place not in looking.found:
        looking.found[place] = _found(schema, value, where, looking)
    return looking.found[place]


def _found(schema: Mapping[str, Any], value: Any, where: str, looking: _Looking) -> str:
    whole: list[Mapping[str, Any]] = [*schema.get("allOf", ())]
    if (reference := schema.get("$ref")) is not None:
        whole.append(looking.named.get(str(reference).removeprefix("#/$defs/").removeprefix("#/definitions/"), {}))
    if why := next((why for each in whole if (why := _misfit(each, value, where, looking))), ""):
        return why
    choices: list[dict[str, Any]] = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    why = [_misfit(each, value, where, looking) for each in choices]
    if why and "" not in why:
        return _nearest(choices, value, why)
    allowed: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if not any(_same(value, each) for each in allowed):
        return f"{where or 'it'} wants one of {allowed}, not {_shown(value)}"
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else [each for each in kinds if each in _KINDS]
    if kinds and not any(each not in _KINDS or _is_of(each, value) for each in kinds):
        article = "an" if kinds[0][0] in "aio" else "a"
        return f"{where or 'it'} wants {article} {' or '.join(kinds)}, not {_shown(value)}"
    return _bound(schema, value, where) or _inside(schema, value, where, looking)


def _nearest(choices: list[dict[str, Any]], value: Any, why: list[str]) -> str:
    """Returns what does not fit the first choice of the value's own kind; of no kind, the first of all."""
    own = (said for each, said in zip(choices, why, strict=True) if _is_of(str(each.get("type")), value))
    return next(own, why[0])


def _same(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _is_of(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS.get(kind, ()))


def _bound(schema: Mapping[str, Any], value: Any, where: str) -> str:
    size = len(cast("str | list[Any]", value)) if isinstance(value, str | list) else value
    for name, (holds, words) in _BOUNDS.items():
        if name in schema and isinstance(size, int | float) and not holds(size, schema[name]):
            return f"{where or 'it'} wants {words} {schema[name]}, not {size}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{where or 'it'} wants a text that matches {schema['pattern']!r}, not {_shown(value)}"
    return ""


def _inside(schema: Mapping[str, Any], value: Any, where: str, looking: _Looking) -> str:
    """Returns what does not fit in a list or an object."""
    if isinstance(value, list):
        places: list[Any] = schema.get("prefixItems", [])
        items = schema.get("items")
        parts = [
            (f"{where}[{place}]", places[place] if place < len(places) else items, each)
            for place, each in enumerate(cast("list[Any]", value))
        ]
    elif isinstance(value, dict):
        known: dict[str, Any] = schema.get("properties", {})
        fields, dot = cast("dict[str, Any]", value), "." if where else ""
        if missing := [name for name in schema.get("required", ()) if name not in fields]:
            return f"{where}{dot}{missing[0]} is missing"
        other = schema.get("additionalProperties", True)
        strange = [name for name in fields if name not in known]
        if other is False and strange:
            return f"{where}{dot}{_shown(strange[0])[1:-1]} is none of {', '.join(known) or 'none'}"
        parts = [(f"{where}{dot}{name}", known.get(name, other), each) for name, each in fields.items()]
    else:
        return ""
    found = (
        _misfit(cast("dict[str, Any]", part), each, path, looking)
        for path, part, each in parts
        if isinstance(part, dict)
    )
    return next((why for why in found if why), "")
