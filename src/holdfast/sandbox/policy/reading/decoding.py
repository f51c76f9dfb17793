"""A tree of YAML made into one of our values, with every problem of it and not only the first.

What cannot be read is left out, and its place is kept, so that rules that look at the value afterwards do not complain
of what is missing for that reason alone.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final, TypeVar, final

from msgspec import inspect

from holdfast.errors.hinting import closest, hint
from holdfast.sandbox.policy.openshell import Binary
from holdfast.sandbox.policy.profile import Ceiling, Quotas
from holdfast.sandbox.policy.reading.documents import Items, Leaf, Mark, Node, Problem, Table
from holdfast.sandbox.policy.reading.quantities import duration_of, size_of

__all__ = ("Decoder", "Place", "shown")

_T = TypeVar("_T")
Place = tuple[str | int, ...]
"""Where in a value something is: names of fields, keys, and numbers in lists."""

_QUANTITIES: Final = {
    "memory": size_of,
    "disk": size_of,
    "file": size_of,
    "output": size_of,
    "wall": duration_of,
    "cpu": duration_of,
}
_MEASURED: Final = (Quotas, Ceiling)
_INTEGER: Final = re.compile(r"[-+]?\d{1,300}")
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][-+]?\d{1,3})?")
_TRUTH: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING: Final = frozenset(("", "~", "null", "Null", "NULL"))
_LEFT_OUT: Final = object()


def shown(place: Place) -> str:
    """Returns a place as people write it: `network_policies.web.endpoints[0].host`."""
    text = ""
    for each in place:
        text += f"[{each}]" if isinstance(each, int) else f".{each}" if text else each
    return text or "the document"


@final
class Decoder:
    """Makes values, and remembers where everything stood and what was wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.marks: dict[Place, Mark] = {}
        self.broken: set[Place] = set()
        """Where something could not be read."""

    def struct(self, kind: type[_T], table: Table, place: Place) -> _T:
        """Returns a struct made of what can be read."""
        fields = _fields(kind)
        found: dict[str, Any] = {}
        for key, (mark, node) in table.entries.items():
            at = (*place, key)
            self.marks[at] = mark
            if key not in fields:
                self._wrong(at, mark, _unknown(key, place, fields))
                continue
            field = fields[key]
            if kind in _MEASURED and key in _QUANTITIES and isinstance(node, Leaf) and isinstance(resolved(node), str):
                value = self._quantity(key, node, at)
            else:
                value = self._value(field.type, node, at, nothing=field.default is not None or kind is Quotas)
            if value is not _LEFT_OUT:
                found[field.name] = value
        made: Any = kind(**found)
        return made

    def _wrong(self, place: Place, mark: Mark, text: str) -> Any:
        self.problems.append(Problem(mark, text))
        self.broken.add(place)
        return _LEFT_OUT

    def _value(self, kind: Any, node: Node, place: Place, *, nothing: bool = False) -> Any:
        self.marks.setdefault(place, node.mark)
        if isinstance(kind, inspect.UnionType):
            if isinstance(node, Leaf) and _is_nothing(node) and nothing:
                return None
            kind = _chosen(kind, node)
        match kind:
            case inspect.StructType(cls=cls):
                return self._structured(cls, node, place)
            case inspect.VarTupleType(item_type=item):
                return self._listed(item, node, place)
            case inspect.DictType(value_type=each):
                return self._mapped(each, node, place)
            case inspect.AnyType():
                return _anything(node)
            case _:
                if isinstance(node, Leaf):
                    return self._scalar(kind, node, place)
                return self._wrong(place, node.mark, f"{shown(place)} is one value; write it on the line of its key")

    def _structured(self, cls: type[Any], node: Node, place: Place) -> Any:
        if isinstance(node, Table):
            return self.struct(cls, node, place)
        if cls is Binary and isinstance(node, Leaf):
            text = self._scalar(inspect.StrType(), node, place)
            return text if text is _LEFT_OUT else Binary(path=text)
        return self._wrong(place, node.mark, f"{shown(place)} has keys of its own: {', '.join(_fields(cls))}")

    def _listed(self, item: Any, node: Node, place: Place) -> Any:
        if not isinstance(node, Items):
            return self._wrong(place, node.mark, f"{shown(place)} is a list; write each entry after a dash, or in [ ]")
        found = [self._value(item, each, (*place, number)) for number, each in enumerate(node.items)]
        return tuple(_blank(item) if each is _LEFT_OUT else each for each in found)  # numbers are places, too

    def _mapped(self, each: Any, node: Node, place: Place) -> Any:
        if not isinstance(node, Table):
            return self._wrong(place, node.mark, f"{shown(place)} has keys; write each as `key: value`")
        found: dict[str, Any] = {}
        for key, (mark, value) in node.entries.items():
            self.marks[*place, key] = mark
            made = self._value(each, value, (*place, key))
            if made is not _LEFT_OUT:
                found[key] = made
        return found

    def _quantity(self, key: str, leaf: Leaf, place: Place) -> Any:
        try:
            return _QUANTITIES[key](leaf.text)
        except ValueError as error:
            return self._wrong(place, leaf.mark, f"{shown(place)}: {error}")

    def _scalar(self, kind: Any, leaf: Leaf, place: Place) -> Any:
        value = resolved(leaf)
        text, name = leaf.text[:80], shown(place)
        match kind:
            case inspect.StrType():
                if isinstance(value, str):
                    return value
                if value is None:
                    return self._wrong(place, leaf.mark, f"{name} has no value; give it one, or take the key away")
                return self._wrong(place, leaf.mark, f'{name} is a text; write it in quotes: "{text}"')
            case inspect.LiteralType(values=values):
                if value in values and type(value) is type(values[0]):
                    return value
                near = closest(text, [each for each in values if isinstance(each, str) and each])
                said = " or ".join(str(each) for each in values if each != "")
                meant = f"did you mean {near!r}?" if near else f"write {said}"
                return self._wrong(place, leaf.mark, f"{name} cannot be {text!r}; {meant}")
            case inspect.BoolType():
                right, wanted = isinstance(value, bool), "true or false"
            case inspect.FloatType():
                right, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
            case _:
                right, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        if right:
            return value
        return self._wrong(place, leaf.mark, f"{name} cannot be {text!r}; write {wanted}, without quotes")


@cache
def _fields(kind: type[Any]) -> dict[str, inspect.Field]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {each.encode_name: each for each in described.fields}


def _unknown(key: str, place: Place, known: dict[str, inspect.Field]) -> str:
    meant = hint(key, known, f"it may have {', '.join(known)}")
    return f"{shown(place)} has no key {key[:80]!r}; {meant}"


def _chosen(union: inspect.UnionType, node: Node) -> Any:
    """The type of a union that a node can be."""
    kinds = [each for each in union.types if not isinstance(each, inspect.NoneType)]
    composed = inspect.StructType | inspect.VarTupleType | inspect.DictType
    fitting = [each for each in kinds if isinstance(each, composed) != isinstance(node, Leaf)]
    return (fitting or kinds)[-1]


def _blank(kind: Any) -> Any:
    if isinstance(kind, inspect.StructType):
        return kind.cls()
    return "" if isinstance(kind, inspect.StrType) else 0


def _is_nothing(leaf: Leaf) -> bool:
    return leaf.plain and leaf.text in _NOTHING


def _anything(node: Node) -> Any:
    if isinstance(node, Leaf):
        return resolved(node)
    if isinstance(node, Items):
        return [_anything(each) for each in node.items]
    return {key: _anything(value) for key, (_, value) in node.entries.items()}


def resolved(leaf: Leaf) -> str | int | float | bool | None:
    """Returns what a scalar is where nothing in particular is expected: as YAML 1.2 and JSON have it."""
    if not leaf.plain:
        return leaf.text
    if _is_nothing(leaf):
        return None
    if leaf.text in _TRUTH:
        return _TRUTH[leaf.text]
    if _INTEGER.fullmatch(leaf.text):
        return int(leaf.text)
    return float(leaf.text) if _NUMBER.fullmatch(leaf.text) else leaf.text
