"""What an agent gets that is to answer with data: a shape, a way to ask for it, and what reads the answer.

Not here: who keeps the shape, and when an answer is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec

from holdfast.errors import UsageError
from holdfast.models.wire.shaping import shape_for
from holdfast.tools.binding import Tool, ToolContext, ToolFailure
from holdfast.tools.schema.coercing import coerced
from holdfast.tools.typed.checking import checked_schema
from holdfast.tools.typed.choosing import choose
from holdfast.tools.typed.describing import Decode, describe_type
from holdfast.tools.typed.reading import INSIDE, AnswerReader
from holdfast.types import Effect, OutputMode, OutputShape, ToolSpec

__all__ = ("REFERENCE", "UNFIT", "Answers", "answer_tool", "answers_of")

REFERENCE = "answer:"
"""The reference of the tool that takes an answer: it is made again from the agent's spec."""
UNFIT = "output_unfit"
"""The code of its failure."""
_TOOL = "final_answer"
_UNBOUNDED = 2**31
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Answers(msgspec.Struct, frozen=True):
    """What an agent is given for its answers; nothing where they are text."""

    shape: OutputShape | None = None
    mode: OutputMode = "auto"
    reader: AnswerReader | None = None
    tools: tuple[Tool, ...] = ()
    """The tool that takes the answer, where it is asked for by one."""
    instructions: str = ""
    """What the model is told; empty where the provider tells it."""


def answers_of(output: Any, mode: OutputMode, model: str, names: Collection[str]) -> Answers:
    """Returns what an agent of that model, with tools of those names, needs to answer with `output`: a type, or a JSON
    Schema as a dict; None for text.

    Raises:
        UsageError: the type cannot be described, the schema is none, or the mode is none for it.
    """
    if output is None:
        return Answers()
    shape, decode = _shape(output)
    chosen = choose(mode, model, shape.schema, tools=bool(names))
    reader = AnswerReader(shape, decode)
    if chosen != "tool":
        return Answers(shape, chosen, reader, (), _in_words(shape) if chosen == "text" else "")
    name = next(each for each in (_TOOL, *(f"{_TOOL}_{n}" for n in range(2, len(names) + 3))) if each not in names)
    told = f"When you have the answer, hand it in by calling the tool `{name}`, once; nothing else counts as an answer."
    return Answers(shape, chosen, reader, (answer_tool(_spec(name, shape), reader),), told)


def answer_tool(spec: ToolSpec, reader: AnswerReader) -> Tool:
    """Returns the tool whose call is the answer, and ends the run."""

    async def hand_in(arguments: Any, context: ToolContext) -> str:
        reading = await reader.read(cast(bytes, arguments).decode("utf-8", "replace"))
        if reading.why and (read := coerced(spec.parameters, cast(bytes, arguments))) is not None:
            again = await reader.read(read.decode())
            reading = again if not again.why else reading
        if reading.why:
            text = f"Not taken: {reading.why}. Call {spec.name!r} once more, with what its schema asks for."
            raise ToolFailure(text, metadata={"why": reading.why}, code=UNFIT)
        return reading.output

    return Tool(spec=spec, parse=_as_it_is, run=hand_in, tier="direct")


def _as_it_is(data: bytes) -> bytes:
    """Lets everything through: what does not fit counts as an answer, too."""
    return data


def _spec(name: str, shape: OutputShape) -> ToolSpec:
    return ToolSpec(
        name=name,
        description="Takes the final answer. Call it once, when there is nothing left to do.",
        parameters=shape.schema,
        effect=Effect(outside="none"),
        reference=f"{REFERENCE}{name}",
        max_output=_UNBOUNDED,
        terminal=True,
    )


def _shape(output: Any) -> tuple[OutputShape, Decode | None]:
    if isinstance(output, Mapping):
        schema = checked_schema(cast("Mapping[str, Any]", output))
        return _wrapped(str(schema.get("title") or ""), schema), None
    if isinstance(output, str):
        raise UsageError(f"output={output!r} is no type: give the type itself, or a JSON Schema as a dict")
    described = describe_type(output)
    return _wrapped(described.name, described.schema), described.decode


def _wrapped(name: str, schema: dict[str, Any]) -> OutputShape:
    """Returns the shape of an answer, in an object of its own where it is none."""
    name = _NAME.sub("_", name).strip("_")[:64] or INSIDE
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    if shape_for(schema, "ollama").get("type") == "object":
        return OutputShape(name, _with(schema, definitions))
    bare = {keyword: each for keyword, each in schema.items() if keyword not in ("$defs", "definitions", "$schema")}
    around = {"type": "object", "properties": {INSIDE: bare}, "required": [INSIDE], "additionalProperties": False}
    return OutputShape(name, _with(around, definitions), wrapped=True)


def _with(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Returns an object's schema with its definitions; one that only refers to another is that other one."""
    root = {keyword: each for keyword, each in schema.items() if keyword not in ("$defs", "definitions")}
    while "$ref" in root and root.get("type") is None:
        beside = {keyword: each for keyword, each in root.items() if keyword != "$ref"}
        root = {**definitions[root["$ref"].split("/", 2)[2]], **beside}
    return {**root, "$defs": definitions} if definitions else root


def _in_words(shape: OutputShape) -> str:
    schema = msgspec.json.encode(shape.schema).decode()
    return (
        "Your final answer has to be one JSON value that fits the JSON Schema below, without a code fence and without "
        f"words around it.\n{schema}"
    )
