"""What a request says besides the conversation: tools, which of them must be called, how much thinking, which form.

A tool is offered strictly, so that its arguments are held to its schema, only where the schema can be sent as it is:
whatever would have to be changed for that could make the model give arguments the schema itself refuses.

Not here: whether a model has a level of thinking (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.naming import LONGEST_NAME, Names
from holdfast.models.wire.shaping import holds, shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import OutputShape, ProviderTool, ThinkingLevel, ToolSpec

__all__ = ("offer", "tail")

_CORE: AbstractSet[str] = frozenset(
    (
        "background",
        "conversation",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "previous_response_id",
        "store",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "truncation",
    )
)
"""Fields that are ours to write, or that would make an answer depend on what a server kept of earlier ones."""
_REASONING = "reasoning.encrypted_content"
_EFFORTS: Mapping[ThinkingLevel, str] = {"off": "none"}
"""What the protocol calls a level by another name."""


def offer(tools: tuple[ToolSpec, ...], provided: tuple[ProviderTool, ...], names: Names) -> bytes:
    """Returns the field that offers tools, ours and the provider's; nothing where there are none."""
    all: list[dict[str, Any]] = [
        {
            "type": "function",
            "name": names.sent(tool.name),
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": _is_strict(tool.parameters),
        }
        for tool in tools
    ]
    all += [{"type": tool.type, **tool.settings} for tool in provided]
    return b',"tools":' + bytes_of(all) if all else b""


def tail(request: ModelRequest, names: Names, *, thinks: bool) -> bytes:
    """Returns the fields after the conversation, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already, or none that could be.
    """
    own: dict[str, Any] = {}
    if request.max_output_tokens is not None:
        own["max_output_tokens"] = request.max_output_tokens
    if request.temperature is not None:
        own["temperature"] = request.temperature
    if request.thinking is not None:
        own["reasoning"] = _reasoning(request.thinking, request.options)
    if request.output is not None:
        own["text"] = {"format": _form(request.output)}
    if request.tools or request.provider_tools:
        if not request.may_call:
            own["tool_choice"] = "none"
        elif request.must_call is not None:
            name = request.must_call
            own["tool_choice"] = {"type": "function", "name": names.sent(name)} if name else "required"
    options = dict(request.options)
    if include := _include(options.pop("include", None), thinks=thinks):
        own["include"] = include
    return fields_of(own, options, _CORE) + b"}"


def _include(wanted: Any, *, thinks: bool) -> list[Any]:
    """Returns what else an answer is to hold: what a person wants, and what reasoning needs to be given back.

    Raises:
        InvalidRequest: what a person wants is no list.
    """
    own = [_REASONING] if thinks else []
    if wanted is None:
        return own
    if not isinstance(wanted, list | tuple):
        raise InvalidRequest(
            f"the option 'include' is no list but {wanted!r}: write the names of what it includes in one"
        )
    return [*own, *(each for each in cast("list[Any]", wanted) if each not in own)]


def _reasoning(level: ThinkingLevel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how much to think, and that people want to see a summary; an option may ask for another one."""
    effort = {"effort": _EFFORTS.get(level, level)}
    given: Any = options.get("reasoning")
    if level == "off" or (isinstance(given, dict) and "summary" in given):
        return effort
    return {**effort, "summary": "auto"}


def _form(output: OutputShape) -> dict[str, Any]:
    name = re.sub(r"[^a-zA-Z0-9_-]+", "_", output.name).strip("_")[:LONGEST_NAME] or "answer"
    strict = holds(output.schema, "openai")
    return {"type": "json_schema", "name": name, "schema": shape_for(output.schema, "openai"), "strict": strict}


def _is_strict(parameters: dict[str, Any]) -> bool:
    return holds(parameters, "openai") and shape_for(parameters, "openai") == parameters
