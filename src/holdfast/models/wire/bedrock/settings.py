"""What a request says besides the conversation: how long, how much thinking, which tools, in which form.

Converse has no word of its own for thinking: it goes as fields of the model behind it (Claude, Nova or gpt-oss), by
the model's name; others are told nothing. A model that is told to think takes no temperature, and no tool can be forced
on Claude then: where one is, nothing is said of its thinking.

Not here: whether a model has a level (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal

import msgspec

from holdfast.models.port import ModelRequest, default_output
from holdfast.models.thinking import allot
from holdfast.models.wire.claude import efforts_of, version_of
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.naming import Names
from holdfast.models.wire.shaping import holds, shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import ThinkingLevel, ToolSpec

__all__ = ("CACHE_POINT", "Behind", "behind", "offered", "tail")

CACHE_POINT: Final = b'{"cachePoint":{"type":"default"}}'
"""The block that marks all before it for the cache."""

_CORE: AbstractSet[str] = frozenset(("modelId", "messages", "system", "toolConfig"))
_OSS_EFFORTS: Mapping[ThinkingLevel, str] = {"medium": "medium", "high": "high", "xhigh": "high"}
"""Those that are not `low`."""


class Behind(msgspec.Struct, frozen=True):
    """What the model behind the door takes."""

    thinking: Literal["effort", "budget", "nova", "oss", "none"] = "none"
    """How it is told how much to think."""
    efforts: Mapping[ThinkingLevel, str] = {}
    """What it calls levels, where it is told an effort."""
    caches: bool = False
    """Whether places may be marked for the cache."""
    caches_tools: bool = False
    """Whether the tools may be."""


def behind(model: str) -> Behind:
    """Returns what is known of a model by its name; of a profile that tells nothing of its model, nothing is."""
    if (version := version_of(model)) is not None:
        caches = version >= (3, 7) or "3-5-haiku" in model
        efforts = efforts_of(version)
        thinking = "effort" if efforts else "budget" if version >= (3, 7) else "none"
        return Behind(thinking, efforts, caches, caches)
    if "amazon.nova" in model:
        return Behind("nova" if "nova-2" in model else "none", caches=True)
    return Behind("oss") if "openai.gpt-oss" in model else Behind()


def tail(request: ModelRequest, model: Behind, longest: int | None) -> bytes:
    """Returns the fields after the tools, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    cap = default_output(longest) if request.max_output_tokens is None else request.max_output_tokens
    fields: dict[str, Any] = {}
    forced = request.must_call is not None and request.may_call and model.thinking in ("effort", "budget")
    if request.thinking is not None and not forced:
        cap = _think(fields, request.thinking, model, cap, longest)
    config: dict[str, Any] = {"maxTokens": cap}
    thinks = fields.get("thinking", {"type": "disabled"})["type"] != "disabled"
    if request.temperature is not None and not thinks:
        config["temperature"] = request.temperature
    own: dict[str, Any] = {"inferenceConfig": config}
    if fields:
        own["additionalModelRequestFields"] = fields
    if request.output is not None and holds(request.output.schema, "bedrock"):
        schema = bytes_of(shape_for(request.output.schema, "bedrock")).decode()
        shape = {"jsonSchema": {"schema": schema, "name": request.output.name}}
        own["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": shape}}
    return fields_of(own, request.options, _CORE) + b"}"


def offered(tool: ToolSpec, names: Names) -> bytes:
    """Returns a tool as it is offered."""
    said: dict[str, Any] = {"name": names.sent(tool.name), "inputSchema": {"json": tool.parameters}}
    if tool.description:
        said["description"] = tool.description
    return bytes_of({"toolSpec": said})


def _think(fields: dict[str, Any], level: ThinkingLevel, model: Behind, cap: int, longest: int | None) -> int:
    """Says how much to think, and returns how long the answer may be with it."""
    on = level != "off"
    match model.thinking:
        case "effort" | "budget" if not on:
            fields["thinking"] = {"type": "disabled"}
        case "effort":
            fields["thinking"] = {"type": "adaptive"}
            fields["output_config"] = {"effort": model.efforts[level]}
        case "budget":
            shared = allot(level, longest, cap)
            cap = shared.max_tokens
            if shared.budget:
                fields["thinking"] = {"type": "enabled", "budget_tokens": shared.budget}
        case "nova" if on:
            # At its highest effort it takes no length, and one without a bound is never asked for.
            effort = "low" if level in ("minimal", "low") else "medium"
            fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort}
        case "nova":
            fields["reasoningConfig"] = {"type": "disabled"}
        case "oss":
            fields["reasoning_effort"] = _OSS_EFFORTS.get(level, "low")
        case "none":
            pass
    return cap
