"""What a request says besides the conversation: how long, how much thinking, which tools, in which form.

Not here: whether a model has a level of thinking (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from holdfast.models.port import ModelRequest
from holdfast.models.wire.chat.compat import Compat
from holdfast.models.wire.chat.shapes import FunctionTool, ToolFunction
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.naming import Names
from holdfast.models.wire.shaping import holds, shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import AssistantMessage, OutputShape, ProviderTool, ThinkingLevel, ToolSpec

__all__ = ("offer", "tail")

_CORE: AbstractSet[str] = frozenset(
    ("model", "messages", "tools", "tool_choice", "max_completion_tokens", "max_tokens", "stream", "temperature")
)


def tail(request: ModelRequest, names: Names, compat: Compat) -> bytes:
    """Returns the fields after the tools, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    own: dict[str, Any] = {}
    if request.tools or request.provider_tools:
        _choose(own, request, names, compat)
    if request.max_output_tokens is not None:
        own[compat.max_tokens_field] = request.max_output_tokens
    if request.temperature is not None:
        own["temperature"] = request.temperature
    if request.thinking is not None:
        _think(own, request.thinking, compat)
    if request.output is not None and compat.output != "none":
        own["response_format"] = _format(request.output, compat)
    if compat.store is not None:
        own["store"] = compat.store
    if compat.prefill == "template" and request.messages and isinstance(request.messages[-1], AssistantMessage):
        own |= {"continue_final_message": True, "add_generation_prompt": False}
    return fields_of(own, request.options, _CORE) + b"}"


def offer(tools: tuple[ToolSpec, ...], provided: tuple[ProviderTool, ...], names: Names, compat: Compat) -> bytes:
    """Returns the field that offers tools, those of the provider last; nothing for none."""
    if not tools and not provided:
        return b""
    offered: list[Any] = []
    for tool in tools:
        strict = compat.strict_tools and holds(tool.parameters, "openai")
        schema = shape_for(tool.parameters, "openai") if strict else tool.parameters
        function = ToolFunction(names.sent(tool.name), tool.description, schema, True if strict else None)
        offered.append(FunctionTool(function))
    offered += [{"type": each.type, **each.settings} for each in provided]
    return b',"tools":' + bytes_of(offered)


def _choose(own: dict[str, Any], request: ModelRequest, names: Names, compat: Compat) -> None:
    if compat.parallel_calls is not None:
        own["parallel_tool_calls"] = compat.parallel_calls
    if not request.may_call:
        own["tool_choice"] = "none"
    elif request.must_call:
        own["tool_choice"] = {"type": "function", "function": {"name": names.sent(request.must_call)}}
    elif request.must_call is not None:
        own["tool_choice"] = "required"


def _think(own: dict[str, Any], level: ThinkingLevel, compat: Compat) -> None:
    effort = compat.efforts.get(level) or ("none" if level == "off" else level)
    on = level != "off"
    match compat.thinking:
        case "effort":
            own["reasoning_effort"] = effort
        case "openrouter":
            own["reasoning"] = {"effort": effort}
        case "zai":
            own["thinking"] = {"type": "enabled" if on else "disabled"}
        case "qwen":
            own["enable_thinking"] = on
        case "template":
            own["chat_template_kwargs"] = {"enable_thinking": on}
        case "none":
            pass


def _format(output: OutputShape, compat: Compat) -> dict[str, Any]:
    if compat.output == "object":
        return {"type": "json_object"}
    strict = holds(output.schema, "openai")
    schema = shape_for(output.schema, "openai")
    return {"type": "json_schema", "json_schema": {"name": output.name, "schema": schema, "strict": strict}}
