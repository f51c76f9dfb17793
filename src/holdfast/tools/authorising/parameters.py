"""Whether a tool takes an argument that a policy names, as far as the tool's own JSON Schema tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from holdfast.errors.hinting import hint

__all__ = ("unknown_argument",)

_MOST: Final = 1000
"""Parts of a schema that are looked at for one part of a name: one that refers to itself has no end."""


def unknown_argument(parameters: Mapping[str, Any], argument: str) -> str:
    """Returns in words that a tool has no such argument, by its dotted name; empty where it has, or might have.

    It might where the schema says nothing of its names, or lets others in (`additionalProperties`).
    """
    here: list[object] = [parameters]
    path = argument.split(".")
    for number, part in enumerate(path):
        below: list[object] = []
        names: list[str] = []
        for schema in _meant(parameters, here):
            found, told = _items(schema) if part == "*" else _property(schema, part)
            if found is None and not told:
                return ""
            below += [] if found is None else [found]
            names += told
        if not below:
            return _words(path[: number + 1], names)
        here = below
    return ""


def _words(path: Sequence[str], names: Sequence[str]) -> str:
    *before, part = path
    whose = f"{'.'.join(before)!r} of its arguments" if before else "the tool"
    if part == "*":
        return f"{whose} is no list"
    known = [each for each in dict.fromkeys(names) if each != _NONE]
    return f"{whose} has no {part!r}: {hint(part, known)}" if known else f"{whose} has no {part!r}"


_NONE: Final = ""
"""Stands for the names of what has none: a text, a number, an object without properties."""


def _property(schema: Mapping[str, Any], name: str) -> tuple[object, list[str]]:
    """Returns the schema of a property, and which there are; neither where nobody can tell."""
    properties = schema.get("properties")
    if not _may_be(schema, "object"):
        return None, [_NONE]
    if isinstance(properties, Mapping):
        known = cast("Mapping[str, object]", properties)
        if name in known:
            return known[name], [*known]
        if not schema.get("additionalProperties") and "patternProperties" not in schema:
            return None, [_NONE, *known]
    elif schema.get("additionalProperties") is False and "patternProperties" not in schema:
        return None, [_NONE]
    return None, []


def _items(schema: Mapping[str, Any]) -> tuple[object, list[str]]:
    if not _may_be(schema, "array"):
        return None, [_NONE]
    items: object = schema.get("items")
    return (
        (cast("object", items), [_NONE]) if isinstance(items, Mapping) and "prefixItems" not in schema else (None, [])
    )


def _may_be(schema: Mapping[str, Any], kind: str) -> bool:
    said = schema.get("type")
    return said is None or said == kind or (isinstance(said, list) and kind in said)


def _meant(root: Mapping[str, Any], schemas: Sequence[object]) -> Iterator[Mapping[str, Any]]:
    """Yields what is said of a value: references are followed, and of several that may hold, each is meant."""
    left, looked = [*schemas], 0
    while left:
        schema, looked = left.pop(), looked + 1
        if not isinstance(schema, Mapping) or looked > _MOST:
            yield {}  # anything may be in there
            return
        said = cast("Mapping[str, Any]", schema)
        reference = said.get("$ref")
        if isinstance(reference, str):
            left.append(_at(root, reference))
            continue
        several = [each for key in ("anyOf", "oneOf", "allOf") for each in _list(said.get(key))]
        left += several
        if not several or "properties" in said or "items" in said:
            yield said


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _at(root: Mapping[str, Any], reference: str) -> object:
    found: object = root
    start, *parts = reference.split("/")
    for part in parts if start == "#" else ("",):
        name = part.replace("~1", "/").replace("~0", "~")
        found = cast("Mapping[str, object]", found).get(name) if isinstance(found, Mapping) else None
    return found
