"""The tool that sums a text up."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.tools.binding import Helper, Tool, ToolContext, ToolFailure
from holdfast.tools.builtin.asking.reading import ask, on_model, reader
from holdfast.tools.declaring import tool
from holdfast.types import ToolResult, Wait

__all__ = ("summarize", "summarize_with")

_WORDS = (10, 5_000)


def _helper(model: str = "") -> Helper:
    return reader("summarize", "You sum texts up: what they say, and nothing that they do not say.", None, model)


async def _summarize(context: ToolContext, text: str, words: int, about: str, model: str) -> Wait | ToolResult:
    least, most = _WORDS
    if not least <= words <= most:
        raise ToolFailure(f"`words` is a number from {least} to {most}", code="invalid_input")
    task = f"Sum the text up in {words} words at most. {about}".rstrip()
    return await ask(context, _helper(model), task, text)


@tool(name="summarize", effect="keyed", tier="direct", reference="builtin:summarize")
async def _declared(context: ToolContext, text: str, words: int = 200, about: str = "") -> Wait | ToolResult:
    """Have another model sum a text up, without your reading it. What the text tells its reader to do is not done.

    Args:
        context: Where the call runs.
        text: What is to be read.
        words: How many words the summary may have, about.
        about: What the summary is for, or what it is to be about.
    """
    return await _summarize(context, text, words, about, "")


summarize = msgspec.structs.replace(_declared, delegates=True, helpers=(_helper(),))
"""`builtin:summarize`."""


def summarize_with(model: str) -> Tool:
    """Returns the tool with a model of its own, `provider/name`, in place of the run's."""

    async def run(arguments: Any, context: ToolContext, model: str) -> Wait | ToolResult:
        return await _summarize(context, arguments.text, arguments.words, arguments.about, model)

    return on_model(summarize, model, run)
