"""What a misfit is told beside where it is: the names or values that there are at that place.

Only what the description of the routes says anyway is told, and no more than a few lines of it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect as looking

__all__ = ("explained",)

_WORDS = 300
"""Characters of what was found wrong: it names what was sent, which may be anything."""
_KNOWN = 600
"""Characters of what there is."""
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


def explained(kind: Any, misfit: msgspec.ValidationError) -> str:
    """Returns in words what does not fit, with the fields or values that would, where that is what is wrong."""
    words = str(misfit)
    found = _PLACE.search(words)
    told = words if len(words) <= _WORDS else f"{words[: _WORDS // 2]} ... {words[-_WORDS // 2 :]}"
    if not words.startswith(("Object contains unknown field", "Invalid enum value", "Invalid value")):
        return told
    there: list[looking.Type] = [_type(kind)]
    names: list[str] = []
    steps = [] if found is None else [each[1] or "" for each in _STEP.finditer(found[1])]
    for at, name in enumerate(steps):
        around = [each for one in there for each in _plain(one)]
        there = [each for one in around for each in _below(one, name)]
        if at == len(steps) - 1:  # what tells one struct from another is no field
            names += [
                str(each.tag) for each in around if isinstance(each, looking.StructType) and each.tag_field == name
            ]
    fields = words.startswith("Object")
    for each in (each for one in there for each in _plain(one)):
        names += _fields(each) if fields else _values(each)
    return f"{told}: there is {_listed(names)}" if names else told


@functools.lru_cache(maxsize=256)
def _type(kind: Any) -> looking.Type:
    return looking.type_info(kind)


def _plain(kind: looking.Type) -> Iterator[looking.Type]:
    """Yields what a type can be, without what is said about it."""
    if isinstance(kind, looking.Metadata):
        yield from _plain(kind.type)
    elif isinstance(kind, looking.UnionType):
        for each in kind.types:
            yield from _plain(each)
    else:
        yield kind


def _below(kind: looking.Type, name: str) -> Sequence[looking.Type]:
    """Returns what lies in a value under a name; in a list or a mapping under none."""
    match kind:
        case looking.StructType() if name:
            return [each.type for each in kind.fields if each.encode_name == name]
        case looking.ListType() | looking.VarTupleType() | looking.SetType() | looking.FrozenSetType() if not name:
            return [kind.item_type]
        case looking.TupleType() if not name:
            return kind.item_types
        case looking.DictType() if not name:
            return [kind.value_type]
        case _:
            return ()


def _fields(kind: looking.Type) -> list[str]:
    if not isinstance(kind, looking.StructType):
        return []
    return [*([kind.tag_field] if kind.tag_field else []), *(each.encode_name for each in kind.fields)]


def _values(kind: looking.Type) -> list[str]:
    match kind:
        case looking.LiteralType():
            return [repr(each) for each in kind.values]
        case looking.EnumType():
            return [repr(each.value) for each in kind.cls]
        case _:
            return []


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(dict.fromkeys(names))
    return text if len(text) <= _KNOWN else f"{text[:_KNOWN]} ..."
