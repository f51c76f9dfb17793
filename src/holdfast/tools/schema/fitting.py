"""Says what does not fit a tool's JSON Schema, where its function is not at hand.

Checked are the keywords that tell a person what they mistyped: kinds, names, choices and bounds. What it passes over is
for the gateway, whose word is the last: it parses the arguments as the function takes them.
"""

from __future__ import annotations

import operator
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


def misfit(schema: Mapping[str, Any], value: Any, where: str = "") -> str:
    """Returns the first thing about a JSON value that its schema does not allow, with the path to it; empty when there
    is none. `where` is the path of the value itself.
    """
    return _misfit(schema, value, where, cast("dict[str, Any]", schema.get("$defs", {})))


def _misfit(schema: Mapping[str, Any], value: Any, where: str, named: Mapping[str, Any]) -> str:
    if (reference := schema.get("$ref")) is not None:
        schema = named.get(str(reference).removeprefix("#/$defs/"), {})
    choices: list[dict[str, Any]] = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    why = [_misfit(each, value, where, named) for each in choices]
    if why and "" not in why:
        return why[0]
    allowed: list[Any] = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in allowed:
        return f"{where or 'it'} wants one of {allowed}, not {value!r}"
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _KINDS and not _is_of(kind, value):
        article = "an" if kind[0] in "aio" else "a"
        return f"{where or 'it'} wants {article} {kind}, not {value!r}"
    return _bound(schema, value, where) or _inside(schema, value, where, named)


def _is_of(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])


def _bound(schema: Mapping[str, Any], value: Any, where: str) -> str:
    size = len(cast("str | list[Any]", value)) if isinstance(value, str | list) else value
    for name, (holds, words) in _BOUNDS.items():
        if name in schema and isinstance(size, int | float) and not holds(size, schema[name]):
            return f"{where or 'it'} wants {words} {schema[name]}, not {size}"
    return ""


def _inside(schema: Mapping[str, Any], value: Any, where: str, named: Mapping[str, Any]) -> str:
    """Returns what does not fit in a list or an object."""
    if isinstance(value, list):
        parts = [
            (f"{where}[{place}]", schema.get("items"), each) for place, each in enumerate(cast("list[Any]", value))
        ]
    elif isinstance(value, dict):
        known: dict[str, Any] = schema.get("properties", {})
        fields, dot = cast("dict[str, Any]", value), "." if where else ""
        if missing := [name for name in schema.get("required", ()) if name not in fields]:
            return f"{where}{dot}{missing[0]} is missing"
        other = schema.get("additionalProperties", True)
        strange = [name for name in fields if name not in known]
        if other is False and strange:
            return f"{where}{dot}{strange[0]} is none of {', '.join(known) or 'none'}"
        parts = [(f"{where}{dot}{name}", known.get(name, other), each) for name, each in fields.items()]
    else:
        return ""
    found = (
        _misfit(cast("dict[str, Any]", part), each, path, named) for path, part, each in parts if isinstance(part, dict)
    )
    return next((why for why in found if why), "")
