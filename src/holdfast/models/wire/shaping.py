"""Cuts a JSON Schema down to what a family of providers takes where it holds an answer, or a call, to it.

Every provider reads a subset of its own, and refuses the whole request over a keyword outside it. What is cut off is
said in the description, for the model to keep to; whether the answer keeps to it is checked against the whole schema
where it arrives. Pure functions over plain data.

Sources: the providers' pages on structured output, and what their own clients send. Not here: which field of a request
a shaped schema goes into, and what becomes of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeGuard, cast

import msgspec

__all__ = ("Family", "holds", "shape_for")

Family = Literal["openai", "anthropic", "gemini", "bedrock", "cohere", "ollama"]
"""Whose subset: OpenAI's is that of whoever speaks its protocols, Bedrock's that of Converse."""

Schema = dict[str, Any]

_STRUCTURE = ("type", "properties", "required", "items", "anyOf", "enum", "const", "title", "description")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SIZES = ("minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "minProperties", "maxProperties")
_TOLD = (*_BOUNDS, *_SIZES, "pattern", "format", "enum", "const")
"""What goes into the description where it cannot stay."""
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
_LOCAL = ("#/$defs/", "#/definitions/")
_KEYWORDS = frozenset(("type", "properties", "items", "prefixItems", "enum", "const", "additionalProperties"))
"""Without any of which, a union or a reference a schema takes whatever there is."""


class _Subset(msgspec.Struct, frozen=True, kw_only=True):
    """What a family takes."""

    keeps: frozenset[str]
    """Keywords beyond the structure."""
    formats: frozenset[str] | None = None
    """Formats of texts; None for any."""
    closed: bool = True
    """Whether an object may have no other properties than those it names."""
    all_required: bool = False
    """Whether each property has to be required; one that may be missing is null instead."""
    recursion: Literal["any", "optional", "none"] = "any"
    """Where an object may contain itself: `optional` is in properties that may be missing."""
    some_required: bool = False
    """Whether an object needs at least one property that is required."""
    constants: bool = True
    least_items: int | None = None
    """The highest `minItems`; None for any."""


_ANTHROPIC = _Subset(
    keeps=frozenset(("format", "minItems")), formats=_FORMATS | {"uri"}, recursion="none", least_items=1
)
_SUBSETS: Mapping[Family, _Subset] = {
    "openai": _Subset(
        keeps=frozenset((*_BOUNDS, "pattern", "format", "minItems", "maxItems")), formats=_FORMATS, all_required=True
    ),
    "anthropic": _ANTHROPIC,
    "bedrock": _ANTHROPIC,
    "gemini": _Subset(
        keeps=frozenset(("minimum", "maximum", "minItems", "maxItems", "format", "prefixItems")),
        formats=frozenset(("date-time", "date", "time")),
        closed=False,
        constants=False,
        recursion="optional",
    ),
    "cohere": _Subset(
        keeps=frozenset(("pattern", "format")),
        formats=frozenset(("date-time", "date", "time", "uuid")),
        some_required=True,
    ),
    "ollama": _Subset(
        keeps=frozenset((*_BOUNDS, *_SIZES, "pattern", "format", "prefixItems", "default")), closed=False
    ),
}


def shape_for(schema: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Returns the schema as the family takes it, in a copy; the same schema gives the same bytes.

    Everything that fits the whole schema fits what is returned, once a property is null that OpenAI's subset wants to
    be there and the answer leaves out. Of a schema that the family cannot be held to (`holds` says so) the parts it
    cannot take stay as they are: send it where nothing is enforced, such as `strict: false`.
    """
    subset = _SUBSETS[family] if holds(schema, family) else _SUBSETS["ollama"]
    definitions = _definitions(schema)
    shaping = _Shaping(subset, definitions)
    shaped = shaping.shape(_rooted(schema, definitions))
    named = {name: shaping.shape(part) for name, part in definitions.items()}
    if used := _reached(shaped, named):
        shaped["$defs"] = {name: named[name] for name in named if name in used}
    return shaped


def holds(schema: Mapping[str, Any], family: Family) -> bool:
    """Returns whether the family can hold an answer to a schema: some take no free objects, none that contain
    themselves, or nothing but an object.
    """
    subset = _SUBSETS[family]
    definitions = _definitions(schema)
    root = _rooted(schema, definitions)
    if not subset.closed:
        return True
    if root.get("type") != "object" or (subset.recursion == "none" and _recursive(root, definitions)):
        return False
    named = _reached(root, definitions)
    return all(_closable(part) for each in (root, *(definitions[name] for name in named)) for part in _parts(each))


class _Shaping:
    """One pass over a schema."""

    def __init__(self, subset: _Subset, definitions: Mapping[str, Schema]) -> None:
        self._subset = subset
        self._definitions = definitions

    def shape(self, given: object) -> Schema:
        """Returns a part of the schema in the subset's terms."""
        part = _plain(given, self._definitions)
        if (reference := part.get("$ref")) is not None:
            pure = {"$ref": "#/$defs/" + _name_of(reference)} if _is_local(reference) else {"$ref": reference}
            # Nothing may stand beside a reference.
            return _told({"anyOf": [pure], **_words(part)}) if _words(part) else pure
        kept: Schema = {}
        cut: dict[str, Any] = {}
        for keyword, value in part.items():
            if keyword in _STRUCTURE or keyword in self._subset.keeps:
                self._keep(keyword, value, kept, cut)
            elif keyword in _TOLD:
                cut[keyword] = value
        self._lists(part, kept)
        if kept.get("type") == "object":
            self._object(part, kept)
        return _told(kept, cut)

    def _keep(self, keyword: str, value: Any, kept: Schema, cut: dict[str, Any]) -> None:
        subset = self._subset
        match keyword:
            case "anyOf":
                kept["anyOf"] = [self.shape(each) for each in value]
            case "const" if not subset.constants:
                self._keep("enum", [value], kept, cut)
            case "enum" if not subset.constants and not all(_is_text_or_number(each) for each in value):
                cut["enum"] = value
            case "enum" | "const" if subset.closed and any(isinstance(each, dict | list) for each in _several(value)):
                cut[keyword] = value
            case "format" if subset.formats is not None and value not in subset.formats:
                cut["format"] = value
            case "minItems" if subset.least_items is not None and value > subset.least_items:
                cut["minItems"] = value
            case "properties" | "required" | "items" | "prefixItems":
                pass  # they go together
            case _:
                kept[keyword] = value

    def _lists(self, part: Schema, kept: Schema) -> None:
        """What a list holds; one whose places differ holds any of their kinds, where places cannot be told apart."""
        places, items = part.get("prefixItems"), part.get("items")
        if isinstance(items, dict):
            kept["items"] = self.shape(cast(Schema, items))
        if not places:
            return
        shaped = [self.shape(each) for each in places]
        if "prefixItems" in self._subset.keeps:
            kept["prefixItems"] = shaped
            return
        kinds = [each for place, each in enumerate(shaped) if each not in shaped[:place]]
        if isinstance(items, dict) and kept["items"] not in kinds:
            kinds.append(kept["items"])
        kept["items"] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}

    def _object(self, part: Schema, kept: Schema) -> None:
        properties = cast(dict[str, Any], part.get("properties", {}))
        required = [name for name in part.get("required", ()) if name in properties]
        shaped = {name: self.shape(each) for name, each in properties.items()}
        if self._subset.all_required:
            shaped = {name: each if name in required else _or_null(each) for name, each in shaped.items()}
            required = list(shaped)
        elif self._subset.recursion == "optional":
            required = [name for name in required if not _leads_back(properties[name], self._definitions)]
        if self._subset.some_required and shaped and not required:
            required = list(shaped)[:1]
            shaped[required[0]] = _or_null(shaped[required[0]])
        if shaped or self._subset.closed:
            kept["properties"] = shaped
        if required or self._subset.all_required:
            kept["required"] = required
        others = part.get("additionalProperties", not self._subset.closed)
        if self._subset.closed:
            kept["additionalProperties"] = False
        elif isinstance(others, dict):
            kept["additionalProperties"] = self.shape(cast(Schema, others))
        elif others is False:
            kept["additionalProperties"] = False


def _plain(given: object, definitions: Mapping[str, Schema]) -> Schema:
    """Returns a part in which unions are `anyOf`, and each has one type."""
    part = dict(cast(Schema, given)) if isinstance(given, dict) else {}
    for several in cast(list[object], part.pop("allOf", [])):
        part = _joined(part, _plain(_followed(several, definitions), definitions))
    if (choices := part.pop("oneOf", None)) is not None:
        part.setdefault("anyOf", choices)
    kinds = part.get("type")
    if isinstance(kinds, list):
        return _by_kind(part, cast(list[str], kinds))
    if kinds is None and "properties" in part:
        part["type"] = "object"
    elif kinds is None and ("enum" in part or "const" in part):  # some want the type beside the values
        values = _several(part.get("enum", [part.get("const")]))
        return _by_kind(part, list(dict.fromkeys(_kind_of(value) for value in values)))
    return part


def _by_kind(part: Schema, kinds: list[str]) -> Schema:
    """Returns a union of one schema for each type."""
    words, rest = _words(part), {name: each for name, each in part.items() if name not in ("title", "description")}
    if len(kinds) == 1:
        return {**part, "type": kinds[0]}
    choices: list[Schema] = []
    for kind in kinds:
        one = {**rest, "type": kind}
        if "enum" in rest:
            one["enum"] = [value for value in rest["enum"] if _is_of(kind, value)]
            if not one["enum"]:
                continue
        choices.append({"type": "null"} if kind == "null" else one)
    return {**words, "anyOf": choices}


def _joined(part: Schema, more: Schema) -> Schema:
    """Returns what both say: fields of both, and of all else what was said first."""
    both = {**more, **part}
    if "properties" in part and "properties" in more:
        both["properties"] = {**part["properties"], **more["properties"], **part["properties"]}
    if required := [*part.get("required", ()), *more.get("required", ())]:
        both["required"] = list(dict.fromkeys(required))
    return both


def _or_null(part: Schema) -> Schema:
    """Returns a schema that takes null, too."""
    null: Schema = {"type": "null"}
    if part.get("type") == "null" or null in part.get("anyOf", ()):
        return part
    words = _words(part)
    if "anyOf" in part:
        return {**part, "anyOf": [*part["anyOf"], null]}
    return {**words, "anyOf": [{name: each for name, each in part.items() if name not in words}, null]}


def _told(kept: Schema, cut: Mapping[str, Any] | None = None) -> Schema:
    """Returns the schema with what was cut off in its description."""
    if cut:
        said = ", ".join(f"{keyword}: {msgspec.json.encode(value).decode()}" for keyword, value in cut.items())
        kept["description"] = f"{kept['description']} ({said})" if kept.get("description") else said
    return kept


def _words(part: Mapping[str, Any]) -> Schema:
    return {name: part[name] for name in ("title", "description") if name in part}


def _definitions(schema: Mapping[str, Any]) -> dict[str, Schema]:
    return {**schema.get("definitions", {}), **schema.get("$defs", {})}


def _rooted(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Returns the schema without its definitions; one that is only a reference is what that refers to."""
    root = {name: each for name, each in schema.items() if name not in ("$defs", "definitions")}
    return _plain(_followed(root, definitions), definitions)


def _followed(part: object, definitions: Mapping[str, Schema]) -> Schema:
    """Returns what a reference refers to, with what stands beside it."""
    seen: set[str] = set()
    found = dict(cast(Schema, part)) if isinstance(part, dict) else {}
    while _is_local(reference := found.get("$ref")) and (name := _name_of(reference)) in definitions:
        beside = {keyword: each for keyword, each in found.items() if keyword != "$ref"}
        if name in seen:
            return beside
        seen.add(name)
        found = {**definitions[name], **beside}
    return found


def _is_local(reference: object) -> TypeGuard[str]:
    return isinstance(reference, str) and reference.startswith(_LOCAL)


def _name_of(reference: str) -> str:
    return reference.split("/", 2)[2].replace("~1", "/").replace("~0", "~")


def _is_text_or_number(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _several(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else [value]


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    kinds = (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list))
    return next((name for name, kind in kinds if isinstance(value, kind)), "object")


def _is_of(kind: str, value: object) -> bool:
    return _kind_of(value) == kind or (kind == "number" and _kind_of(value) == "integer")


def _parts(part: object) -> Iterator[Any]:
    """Yields a schema and every schema in it; references are not followed."""
    yield part
    if not isinstance(part, dict):
        return
    node = cast(Schema, part)
    for each in cast(dict[str, Any], node.get("properties", {})).values():
        yield from _parts(each)
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for each in cast(list[Any], node.get(keyword, ())):
            yield from _parts(each)
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            yield from _parts(node[keyword])


def _closable(part: object) -> bool:
    """Whether a schema says what there may be: neither anything at all, nor an object of whatever properties."""
    if not isinstance(part, dict):
        return False
    node = cast(Schema, part)
    if (reference := node.get("$ref")) is not None:
        return _is_local(reference)
    if not (_KEYWORDS | {"anyOf", "oneOf", "allOf"}) & node.keys():
        return False
    kinds = _several(node.get("type"))
    if "array" in kinds and not isinstance(node.get("items"), dict) and not node.get("prefixItems"):
        return False
    if "object" not in kinds:
        return True
    return node.get("additionalProperties", False) is False and ("properties" in node or "allOf" in node)


def _references(part: object) -> set[str]:
    nodes = (cast(Schema, each) for each in _parts(part) if isinstance(each, dict))
    found = (node.get("$ref") for node in nodes)
    return {_name_of(reference) for reference in found if _is_local(reference)}


def _reached(part: object, definitions: Mapping[str, Schema]) -> set[str]:
    """Returns the names of the definitions that a schema needs."""
    found: set[str] = set()
    ahead = _references(part)
    while ahead:
        name = ahead.pop()
        if name in definitions and name not in found:
            found.add(name)
            ahead |= _references(definitions[name])
    return found


def _recursive(root: Schema, definitions: Mapping[str, Schema]) -> bool:
    return any(name in _reached(definitions[name], definitions) for name in _reached(root, definitions))


def _leads_back(part: object, definitions: Mapping[str, Schema]) -> bool:
    """Whether a schema leads to a definition that contains itself."""
    return any(name in _reached(definitions[name], definitions) for name in _reached(part, definitions))
