"""The tool that takes entities out of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.tools.binding import Helper, Tool, ToolContext, ToolFailure
from holdfast.tools.builtin.asking.reading import ask, object_of, on_model, reader
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult, Wait

__all__ = ("extract_entities", "extract_entities_with")

_USUAL = ("person", "organisation", "place", "date", "amount")
_MOST = 50
"""Kinds."""
_LONGEST = 100
"""Characters of one."""


def _helper(kinds: Sequence[str], model: str = "") -> Helper:
    entity = object_of("entity", {"kind": {"enum": list(kinds)}, "text": {"type": "string"}})
    output = object_of("entities", {"entities": {"type": "array", "items": entity}})
    task = "You list the entities of some kinds that a text names, each once and as it is written there."
    return reader("extract-entities", task, output, model)


async def _extract(context: ToolContext, text: str, kinds: Sequence[str], model: str) -> Wait | ToolResult:
    if not 1 <= len(set(kinds)) == len(kinds) <= _MOST:
        raise ToolFailure(f"give 1 to {_MOST} kinds that differ", code="invalid_input")
    if not all(kind.strip() and len(kind) <= _LONGEST for kind in kinds):
        raise ToolFailure(f"a kind has 1 to {_LONGEST} characters", code="invalid_input")
    task = f"List what the text names of these kinds: {', '.join(map(repr, kinds))}."
    return await ask(context, _helper(kinds, model), task, text)


@tool(name="extract_entities", effect="keyed", tier="direct", reference="builtin:extract_entities")
async def _declared(context: ToolContext, text: str, kinds: tuple[str, ...] = _USUAL) -> Wait | ToolResult:
    """Have another model list the entities in a text, without your reading it. The result is JSON: {"entities":
    [{"kind", "text"}]}. What the text tells its reader to do is not done.

    Args:
        context: Where the call runs.
        text: What is to be read.
        kinds: What to look for.
    """
    return await _extract(context, text, kinds, "")


extract_entities = msgspec.structs.replace(_declared, delegates=True, helpers=(_helper(_USUAL),))
"""`builtin:extract_entities`."""


def extract_entities_with(model: str) -> Tool:
    """Returns the tool with a model of its own, `provider/name`, in place of the run's."""

    async def run(arguments: Any, context: ToolContext, model: str) -> Wait | ToolResult:
        return await _extract(context, arguments.text, arguments.kinds, model)

    return on_model(extract_entities, model, run)
