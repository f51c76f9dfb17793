"""Reads an answer that has to be data: finds the JSON in it, and says what about it does not fit.

An answer fits as its type takes it, where the type is at hand, and as its schema says otherwise: a run that is gone on
with in another process has only the schema. What fits is handed on as the model wrote it, the JSON alone.

Not here: what is done about an answer that does not fit.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast, final

import msgspec

from holdfast.tools.repairing import repair_json
from holdfast.tools.schema.fitting import misfit
from holdfast.tools.typed.describing import BROKEN, Decode
from holdfast.tools.typed.finding import candidates
from holdfast.types import OutputShape

__all__ = ("INSIDE", "AnswerReader", "Reading")

INSIDE = "answer"
"""The one property of the object around an answer that is no object itself: providers hold only objects."""
_WHY = 2_000
"""Characters of a reason."""
_SCHEMA = 20_000
"""Characters of a schema that is said to the model again."""
_AT_ONCE = 100_000
"""Characters of an answer that is read in the event loop; a longer one would hold others up."""
_MENDED = 1_000_000
"""Characters of damaged JSON that are looked at one by one."""
_VISITS = 200_000
"""Places of an answer that are looked at for nulls, each once for each schema it may have."""
_DEEP = "it is nested too deeply to be read"

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What an answer came to."""

    output: str = ""
    """The JSON that fits."""
    why: str = ""
    """What does not fit; empty when it does."""
    json: bool = True
    """Whether it is JSON at all."""
    begins: bool = True
    """Whether it at least begins as if it were."""


@final
class AnswerReader:
    """Reads answers of one shape."""

    def __init__(self, shape: OutputShape, decode: Decode | None = None) -> None:
        """`decode` makes a value of an answer's JSON, where this process has the type."""
        self._shape = shape
        self._decode = decode
        self._schema = inner_schema(shape)

    async def read(self, text: str) -> Reading:
        """Returns what an answer's text comes to; a long one is read in a thread."""
        return await asyncio.to_thread(self.read_now, text) if len(text) > _AT_ONCE else self.read_now(text)

    def read_now(self, text: str) -> Reading:
        """Returns what an answer's text comes to."""
        groups = candidates(text)
        reading = self._read(groups, mend=False)
        return reading if reading.json else self._read(groups, mend=True)

    def _read(self, groups: list[list[str]], *, mend: bool) -> Reading:
        why, json = "", False
        for group in groups:
            readings = [self._try(each, mend=mend) for each in group]
            outputs = list(dict.fromkeys(each.output for each in readings if not each.why))
            if len(outputs) == 1:
                return Reading(outputs[0])
            if outputs:
                return Reading(why=f"it holds {len(outputs)} values that would fit, and one is wanted")
            json = json or any(each.json for each in readings)
            said = [each.why for each in readings if each.json or (not json and each.begins)]
            why = said[-1] if said else why
        return Reading(why=why[:_WHY] or "it holds no JSON", json=json)

    def value(self, output: str) -> Any:
        """Returns the value that an answer's JSON stands for: of the type, or plain data without it; None when the
        type does not take it.
        """
        try:
            data = output.encode()
            return msgspec.json.decode(data) if self._decode is None else self._decode(data)
        except BROKEN:
            return None

    def again(self, why: str) -> str:
        """Returns what a model is told whose answer does not fit."""
        schema = msgspec.json.encode(self._shape.schema).decode()
        said = f":\n{schema}" if len(schema) <= _SCHEMA else "."
        return (
            f"Your answer is not what was asked for: {why}. Answer once more, with nothing but one JSON value that "
            f"fits this JSON Schema, without a code fence and without words around it{said}"
        )

    def _try(self, text: str, *, mend: bool) -> Reading:
        """Returns whether one stretch of text is the answer."""
        # What is missing at the end is not made up: it may have been cut off.
        mended = repair_json(text, cut=True) if mend and len(text) <= _MENDED else None
        text = text if mended is None else mended
        try:
            data: Any = msgspec.json.decode(text)
        except RecursionError:
            return Reading(why=_DEEP)
        except (msgspec.DecodeError, UnicodeError) as error:
            return Reading(why=f"it is no JSON ({error})", json=False, begins=text.startswith(("{", "[")))
        if self._shape.wrapped and isinstance(data, dict):
            inside = cast(dict[str, Any], data)
            if list(inside) == [INSIDE]:
                text, data = bytes(_raw.decode(text)[INSIDE]).decode(), inside[INSIDE]
        return self._fitted(text, data)

    def _fitted(self, text: str, data: Any) -> Reading:
        why = self._misfit(text, data)
        if not why:
            return Reading(text)
        try:
            bare = without_nulls(self._schema, data)
            if bare == data:
                return Reading(why=why)
            text = msgspec.json.encode(bare).decode()
        except RecursionError:
            return Reading(why=why)
        return Reading(text) if not self._misfit(text, bare) else Reading(why=why)

    def _misfit(self, text: str, data: Any) -> str:
        try:
            if self._decode is None:
                return misfit(self._schema, data)
            self._decode(text.encode())
        except RecursionError:
            return _DEEP
        except BROKEN as error:
            return str(error) or type(error).__name__
        return ""


def inner_schema(shape: OutputShape) -> dict[str, Any]:
    """Returns the schema of the answer itself, without the object around it."""
    if not shape.wrapped:
        return shape.schema
    inner: dict[str, Any] = shape.schema["properties"][INSIDE]
    return {**inner, "$defs": shape.schema["$defs"]} if "$defs" in shape.schema else inner


def without_nulls(schema: dict[str, Any], value: Any) -> Any:
    """Returns an answer without the properties that are null and stand for being left out.

    A provider may want every property to be there (OpenAI, strict), so that one that need not be is null.
    """
    return _Baring(schema).bare(schema, value)


class _Baring:
    """One walk over an answer, which ends however its schema leads back to itself."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._named = cast(dict[str, Any], schema.get("$defs", {}))
        self._visits = 0

    def bare(self, schema: Any, value: Any) -> Any:
        self._visits += 1
        if self._visits > _VISITS:
            raise RecursionError
        if not isinstance(schema, dict) or not isinstance(value, dict | list):
            return value
        node = cast(dict[str, Any], schema)
        if (reference := node.get("$ref")) is not None:
            return self.bare(self._named.get(str(reference).removeprefix("#/$defs/")), value)
        for keyword in ("anyOf", "oneOf", "allOf"):
            for each in cast(list[Any], node.get(keyword, ())):
                value = self.bare(each, value)
        if isinstance(value, list):
            return [self.bare(node.get("items"), each) for each in cast(list[Any], value)]
        known: dict[str, Any] = node.get("properties", {})
        required: list[str] = node.get("required", [])
        return {
            name: self.bare(known.get(name), each)
            for name, each in cast(dict[str, Any], value).items()
            if each is not None or name not in known or name in required or self._takes_null(known[name])
        }

    def _takes_null(self, schema: Any) -> bool:
        return isinstance(schema, bool) or not misfit({**schema, "$defs": self._named}, None)
