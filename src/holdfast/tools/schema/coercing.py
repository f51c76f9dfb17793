"""Reads numbers, truth values and nulls that a model wrote as strings, where the schema wants them and nothing else.

A model that writes `{"count": "3"}` for a number means 3. What a string would be without its quotes is one JSON value
at most, so there is never a choice between two; it counts only where the string itself does not fit and that value
does. What is left over (`"abc"` for a number) stays as it is, for validation to refuse.

Never changed: a string where the schema takes a text, whatever stands in it; a place about which the schema says
nothing; a value of a union that already fits one of its kinds, or that could be read as two of them.

Not here: when this is done (only once validation has refused, see `tools/authored.py`), and damaged JSON.
Invariants: what is not changed keeps its very bytes, numbers of any length included; the work is bounded, whatever the
arguments are, and nothing is raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import msgspec

from holdfast.tools.schema.fitting import misfit

__all__ = ("coerced",)

_BYTES = 1_000_000
"""The longest arguments that are read; a model's answer has less."""
_DEPTH = 128
"""Steps that are gone down, into brackets and along references; what lies deeper stays as it is."""
_PLACES = 50_000
"""Values that are looked at, each once for each schema it may have; of more nothing is read."""
_COMPARED = 100_000
"""Values that are compared with a schema to see whether they fit, all together; of more nothing is read."""
_SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|True|False|None", re.ASCII)
_WORDS = {"True": b"true", "False": b"false", "None": b"null"}
"""As Python writes them; models mix the two up."""
_LONGEST = 1_000
"""Letters of a number."""
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError, RecursionError, re.error, msgspec.MsgspecError)
"""What a schema that is none may raise, as its author may have written anything; and half of a character in a name."""

_BLANK = b" \t\r\n"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)


class _TooMuch(Exception):
    """There is more to look at than is worth while."""


def coerced(schema: Mapping[str, Any], data: bytes) -> bytes | None:
    """Returns a JSON value with its strings read as the schema wants it; None when there is nothing to read, or too
    much to look at. Whether the value fits then is not said.
    """
    if len(data) > _BYTES:
        return None
    whole = _Value(data.strip(_BLANK))
    try:
        read = _Reading(schema).read(schema, whole, 0)
    except (*_UNREADABLE, _TooMuch):
        return None
    return None if read is whole else read.data


@final
class _Value:
    """One value of the JSON, taken apart when it is looked into."""

    __slots__ = ("data", "parts")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parts: dict[str, _Value] | list[_Value] | None = None

    def inside(self) -> dict[str, _Value] | list[_Value]:
        """Returns what an object or a list holds."""
        if self.parts is None:
            if self.data.startswith(b"{"):
                self.parts = {name: _Value(bytes(raw)) for name, raw in _fields.decode(self.data).items()}
            else:
                self.parts = [_Value(bytes(raw)) for raw in _items.decode(self.data)]
        return self.parts


@final
class _Reading:
    """One walk over a value. What a value comes to under a schema is found once, however many ways lead there."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._named = {**root.get("definitions", {}), **root.get("$defs", {})}
        self._places = _PLACES
        self._compared = _COMPARED
        self._found: dict[tuple[int, int], _Value] = {}
        self._kept: list[object] = []
        """What ids stand for, so that no other object gets one of them meanwhile."""

    def read(self, schema: Any, value: _Value, depth: int) -> _Value:
        """Returns what a value is under a schema: the very same object where nothing is read."""
        if not isinstance(schema, dict) or value.data[:1] not in (b'"', b"{", b"[") or depth > _DEPTH:
            return value
        key = (id(cast("object", schema)), id(value))
        if (known := self._found.get(key)) is not None:
            return known
        self._places -= 1
        if self._places < 0:
            raise _TooMuch
        node = cast("dict[str, Any]", schema)
        self._kept += (node, value)
        self._found[key] = value  # where a schema leads only back to itself
        is_text = value.data[:1] == b'"'
        found = self._scalar(node, value, depth) if is_text else self._container(node, value, depth)
        self._found[key] = found
        return found

    # ---- a string ---------------------------------------------------------------------------------------------

    def _scalar(self, schema: dict[str, Any], value: _Value, depth: int) -> _Value:
        if len(value.data) > _LONGEST:
            return value
        text = _text.decode(value.data)
        if not _SCALAR.fullmatch(text) or self._takes_text(schema, depth):
            return value
        schema = self._without_reference(schema)
        if self._fits(schema, value):
            return value
        bare = _Value(_WORDS.get(text) or text.encode())
        return bare if self._fits(schema, bare) else value

    def _takes_text(self, schema: Any, depth: int) -> bool:
        """Whether a schema takes texts, of whatever bounds; a list of choices does not, even if some are texts."""
        if not isinstance(schema, dict) or depth > _DEPTH:
            return True
        node = cast("dict[str, Any]", schema)
        if "enum" in node or "const" in node:
            return False
        if (kinds := node.get("type")) is not None and "string" not in ([kinds] if isinstance(kinds, str) else kinds):
            return False
        whole = [*node.get("allOf", ()), *([self._named_by(node["$ref"])] if "$ref" in node else ())]
        choices = _choices(node)
        return all(self._takes_text(each, depth + 1) for each in whole) and (
            not choices or any(self._takes_text(each, depth + 1) for each in choices)
        )

    # ---- an object or a list ----------------------------------------------------------------------------------

    def _container(self, schema: dict[str, Any], value: _Value, depth: int) -> _Value:
        value = self._held(schema, value, depth)
        for each in schema.get("allOf", ()):
            value = self.read(each, value, depth + 1)
        if "$ref" in schema:
            value = self.read(self._named_by(schema["$ref"]), value, depth + 1)
        if choices := _choices(schema):
            value = self._chosen(choices, value, depth)
        return value

    def _chosen(self, choices: Sequence[Any], value: _Value, depth: int) -> _Value:
        """Returns what a value is under the one kind of a union that it can be of."""
        if len(choices) > 1 and any(self._fits(each, value) for each in choices):
            return value
        found: dict[bytes, _Value] = {}
        for each in choices:
            read = self.read(each, value, depth + 1)
            if read is not value and (len(choices) == 1 or self._fits(each, read)):
                found[read.data] = read
        return next(iter(found.values())) if len(found) == 1 else value

    def _held(self, schema: dict[str, Any], value: _Value, depth: int) -> _Value:
        """Returns a container with what it holds read."""
        if not schema.keys() & _HOLDING:
            return value
        parts = value.inside()
        if isinstance(parts, list):
            read = [
                self.read(schema_, each, depth + 1)
                for schema_, each in zip(_of_items(schema, len(parts)), parts, strict=True)
            ]
            changed = any(new is not old for new, old in zip(read, parts, strict=True))
            return _Value(b"[" + b",".join([each.data for each in read]) + b"]") if changed else value
        fields: dict[str, _Value] = {}
        for name, each in parts.items():
            for schema_ in _of_field(schema, name):
                each = self.read(schema_, each, depth + 1)  # noqa: PLW2901 - several patterns may hold for one name
            fields[name] = each
        if all(each is parts[name] for name, each in fields.items()):
            return value
        pairs = [msgspec.json.encode(name) + b":" + each.data for name, each in fields.items()]
        return _Value(b"{" + b",".join(pairs) + b"}")

    # ---- the schema -------------------------------------------------------------------------------------------

    def _fits(self, schema: Any, value: _Value) -> bool:
        """Whether a value fits a schema as it is."""
        if isinstance(schema, bool):
            return schema
        data = value.data
        self._compared -= 1 + data.count(b",") + data.count(b"[") + data.count(b"{")
        if self._compared < 0:
            raise _TooMuch
        try:
            decoded: Any = msgspec.json.decode(data)
        except msgspec.MsgspecError:  # a number that is none here, such as 1e999
            return False
        # The definitions go along: references of a part lead to those of the whole.
        return not misfit({**schema, "$defs": self._named}, decoded)

    def _without_reference(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Returns a schema with what it refers to in its place."""
        for _ in range(_DEPTH):
            if "$ref" not in schema or not isinstance(target := self._named_by(schema["$ref"]), dict):
                break
            beside = {keyword: each for keyword, each in schema.items() if keyword != "$ref"}
            schema = {**cast("dict[str, Any]", target), **beside}
        return schema

    def _named_by(self, reference: Any) -> Any:
        """Returns the schema a reference leads to; True, which takes everything, where it leads nowhere."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return True
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - how a pointer writes them (RFC 6901)
            at = cast("dict[str, Any] | list[Any]", found)
            found = at[int(step)] if isinstance(at, list) else at.get(step, True)
        return found


_HOLDING = frozenset(("properties", "patternProperties", "additionalProperties", "items", "prefixItems"))


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    return [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _of_items(schema: Mapping[str, Any], count: int) -> list[Any]:
    """Returns the schema of each item of a list, in either way in which a schema may say it."""
    items = schema.get("items", True)
    if isinstance(items, list):  # as before 2020: the first ones here, the others aside
        places, rest = cast("list[Any]", items), schema.get("additionalItems", True)
    else:
        places, rest = cast("list[Any]", schema.get("prefixItems", [])), items
    return [*places[:count], *([rest] * (count - len(places)))]


def _of_field(schema: Mapping[str, Any], name: str) -> list[Any]:
    """Returns the schemas of a property: its own and those whose pattern its name matches, or that of all others."""
    known: Mapping[str, Any] = schema.get("properties", {})
    patterns: Mapping[str, Any] = schema.get("patternProperties", {})
    own = [known[name]] if name in known else []
    own += [each for pattern, each in patterns.items() if re.search(pattern, name)]
    return own or [schema.get("additionalProperties", True)]
