"""From a type to the JSON Schema of an answer, and to what decodes one.

msgspec describes and decodes structs, dataclasses, TypedDicts, and lists, dicts, unions and scalars of them; a pydantic
model, where the user has imported pydantic, brings its own schema. What msgspec cannot tell apart, such as two structs
without tags, is tried one after another here: of those that fit, the one counts that leaves the fewest fields over.

Not here: what the answer of a model is, and schemas without a type.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.schema.pydantic_models import decode_model, describe_model, hoist_definitions

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Value = TypeVar("Value", default=Any)
    """What an agent answers with; anything, where no single type says it."""
else:
    Value = typing.TypeVar("Value")  # the default is for type checkers, and Python has it from 3.13 on

__all__ = ("BROKEN", "Decode", "Described", "Value", "describe_type")

Decode = Callable[[bytes], Any]
"""Turns an answer's JSON into a value; raises one of `BROKEN` when it does not fit."""

BROKEN = (
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    NotImplementedError,
)
"""What decoding may raise: a type's author may check more than its fields, and how that fails is theirs."""

_REFERENCES = "#/$defs/{name}"
_STEP = (
    "use a msgspec Struct, a dataclass, a TypedDict, a pydantic model, or str, int, float, bool, Literal, an Enum, "
    "lists, dicts and unions of those; or give a JSON Schema as a dict"
)


class Described(msgspec.Struct, frozen=True):
    """What a type came to."""

    name: str
    schema: dict[str, Any]
    decode: Decode


def describe_type(kind: Any) -> Described:
    """Describes a type.

    Raises:
        UsageError: it has no JSON Schema; names the type and what to do.
    """
    definitions: dict[str, Any] = {}
    try:
        schema, decode = _described(kind, definitions)
    except (TypeError, NameError, NotImplementedError, RecursionError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["it cannot be described"])[-1]
        raise UsageError(f"output={_name(kind)!r} has no JSON Schema ({reason}): {_STEP}") from None
    if not schema:
        raise UsageError(f"output={_name(kind)!r} takes whatever there is, and so asks for nothing: {_STEP}")
    for part in (schema, *list(definitions.values())):
        hoist_definitions(part, definitions)
    return Described(_name(kind), {**schema, "$defs": definitions} if definitions else schema, decode)


def _described(kind: Any, definitions: dict[str, Any]) -> tuple[dict[str, Any], Decode]:
    try:
        (schema,), components = msgspec.json.schema_components(
            (kind,), schema_hook=describe_model, ref_template=_REFERENCES
        )
        decode = msgspec.json.Decoder(kind, dec_hook=decode_model).decode
    except (TypeError, NotImplementedError):
        parts = typing.get_args(kind)
        match typing.get_origin(kind):
            case typing.Union | types.UnionType:
                return _union([_described(each, definitions) for each in parts], [_name(each) for each in parts])
            case origin if origin is list:
                return _list(*_described(parts[0], definitions))
            case _:
                raise
    definitions.update(components)
    return schema, decode


def _union(choices: Sequence[tuple[dict[str, Any], Decode]], names: Sequence[str]) -> tuple[dict[str, Any], Decode]:
    def decode(data: bytes) -> Any:
        found: list[Any] = []
        why: list[str] = []
        for name, (_, try_out) in zip(names, choices, strict=True):
            try:
                found.append(try_out(data))
            except BROKEN as error:
                why.append(f"as {name}: {error}")
        if not found:
            raise msgspec.ValidationError("it fits none of the choices: " + "; ".join(why))
        return found[0] if len(found) == 1 else min(found, key=lambda value: _left_over(value, data))

    return {"anyOf": [schema for schema, _ in choices]}, decode


def _list(schema: dict[str, Any], decode: Decode) -> tuple[dict[str, Any], Decode]:
    places = msgspec.json.Decoder(list[msgspec.Raw])

    def decode_all(data: bytes) -> list[Any]:
        values: list[Any] = []
        for place, each in enumerate(places.decode(data)):
            try:
                values.append(decode(bytes(each)))
            except BROKEN as error:
                raise msgspec.ValidationError(f"{error} - at `$[{place}]`") from None
        return values

    return {"type": "array", "items": schema}, decode_all


def _left_over(value: Any, data: bytes) -> int:
    """Returns how many fields of a JSON object a value has no place for; those of other values count as none."""
    kind = cast("object", type(value))
    names = ("__struct_encode_fields__", "__dataclass_fields__", "model_fields")
    known = next((found for name in names if (found := getattr(kind, name, None)) is not None), None)
    said = msgspec.json.decode(data)
    if known is None or not isinstance(said, dict):
        return 0
    return len(cast("Mapping[str, Any]", said).keys() - set(cast("Sequence[str]", known)))


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "") or kind)
