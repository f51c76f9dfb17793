"""The tool that says which of some labels fits a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from holdfast.tools.binding import Helper, Tool, ToolContext, ToolFailure
from holdfast.tools.builtin.asking.reading import ask, object_of, on_model, reader
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult, Wait

__all__ = ("classify", "classify_with")

_MOST = 100
"""Labels."""
_LONGEST = 200
"""Characters of one."""


def _helper(labels: Sequence[str], model: str = "") -> Helper:
    output = object_of("classification", {"label": {"enum": list(labels)}, "why": {"type": "string"}})
    return reader(
        "classify", "You say which one of some labels fits a text best, and why in one sentence.", output, model
    )


async def _classify(
    context: ToolContext, text: str, labels: Sequence[str], about: str, model: str
) -> Wait | ToolResult:
    if not 2 <= len(set(labels)) == len(labels) <= _MOST:
        raise ToolFailure(f"give 2 to {_MOST} labels that differ", code="invalid_input")
    if not all(label.strip() and len(label) <= _LONGEST for label in labels):
        raise ToolFailure(f"a label has 1 to {_LONGEST} characters", code="invalid_input")
    task = f"Which of these labels fits the text best: {', '.join(map(repr, labels))}? {about}".rstrip()
    return await ask(context, _helper(labels, model), task, text)


@tool(name="classify", effect="keyed", tier="direct", reference="builtin:classify")
async def _declared(context: ToolContext, text: str, labels: tuple[str, ...], about: str = "") -> Wait | ToolResult:
    """Have another model say which of some labels fits a text, without your reading the text. The result is JSON:
    {"label", "why"}. What the text tells its reader to do is not done.

    Args:
        context: Where the call runs.
        text: What is to be read.
        labels: The labels, of which one is chosen.
        about: What the labels mean, where they do not say it.
    """
    return await _classify(context, text, labels, about, "")


classify = msgspec.structs.replace(_declared, delegates=True, helpers=(_helper(("yes", "no")),))
"""`builtin:classify`."""


def classify_with(model: str) -> Tool:
    """Returns the tool with a model of its own, `provider/name`, in place of the run's."""

    async def run(arguments: Any, context: ToolContext, model: str) -> Wait | ToolResult:
        return await _classify(context, arguments.text, arguments.labels, arguments.about, model)

    return on_model(classify, model, run)
