"""What a request says besides the conversation: how long, how much thinking, which tools, in which form.

Thinking is said in the way a model takes (`wire/claude.py`): an effort, or a budget by the arithmetic of
`models/thinking.py`. A model that is told to
think takes no temperature, and no tool can be forced on it: where one is, nothing is said of thinking.

Not here: whether a model has a level (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from holdfast.models.port import ModelRequest, default_output
from holdfast.models.thinking import allot
from holdfast.models.wire.naming import Names
from holdfast.models.wire.shaping import holds, shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import ProviderTool, ThinkingLevel

__all__ = ("offered", "tail")

_CORE: AbstractSet[str] = frozenset(
    ("model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "temperature")
)


def tail(request: ModelRequest, names: Names, longest: int | None, efforts: Mapping[ThinkingLevel, str]) -> bytes:
    """Returns the fields after the conversation, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    cap = default_output(longest) if request.max_output_tokens is None else request.max_output_tokens
    own: dict[str, Any] = {}
    forced = request.must_call is not None and request.may_call and bool(request.tools)
    if request.thinking is not None and not forced:
        cap = _think(own, request.thinking, cap, longest, efforts)
    own = {"max_tokens": cap, **own}
    if request.temperature is not None and own.get("thinking", {}).get("type") in (None, "disabled"):
        own["temperature"] = request.temperature
    if request.output is not None and holds(request.output.schema, "anthropic"):
        schema = shape_for(request.output.schema, "anthropic")
        own.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
    if request.tools or request.provider_tools:
        if not request.may_call:
            own["tool_choice"] = {"type": "none"}
        elif forced:
            name = request.must_call or ""
            own["tool_choice"] = {"type": "tool", "name": names.sent(name)} if name else {"type": "any"}
    return fields_of(own, request.options, _CORE) + b"}"


def offered(tool: ProviderTool) -> dict[str, Any]:
    """Returns a tool of the provider as it is offered; its name is its type without the day it is from."""
    return {"type": tool.type, "name": re.sub(r"_\d{8}$", "", tool.type), **tool.settings}


def _think(
    own: dict[str, Any], level: ThinkingLevel, cap: int, longest: int | None, efforts: Mapping[ThinkingLevel, str]
) -> int:
    """Says how much to think, and returns how long the answer may be with it."""
    if level == "off":
        own["thinking"] = {"type": "disabled"}
    elif efforts:
        own["thinking"] = {"type": "adaptive", "display": "summarized"}
        own["output_config"] = {"effort": efforts[level]}
    else:
        found = allot(level, longest, cap)
        cap = found.max_tokens
        if found.budget:
            own["thinking"] = {"type": "enabled", "budget_tokens": found.budget}
    return cap
