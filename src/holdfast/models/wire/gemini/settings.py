"""What a request says besides the conversation: how long, how much thinking, which tools, in which form.

Thinking is said in the way a model takes: a level since Gemini 3, a budget of tokens before (`models/thinking.py`), and
nothing to those that do not think. The shortest answer to `off` is what the model takes: some cannot be kept from
thinking, and get the least there is. Thoughts are asked for with every other level; unless a level is said, nothing is.

Not here: whether a model has a level (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal

from holdfast.models.port import ModelRequest
from holdfast.models.thinking import allot
from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.gemini.shapes import Declaration
from holdfast.models.wire.naming import Names
from holdfast.models.wire.shaping import shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import ProviderTool, ThinkingLevel, ToolSpec

__all__ = ("ThinkingKind", "declared", "provided", "tail", "thinking_kind")

ThinkingKind = Literal["level", "budget", "none"]
"""How a model is told how much to think."""

_CORE: AbstractSet[str] = frozenset(("contents", "systemInstruction", "system_instruction", "tools", "tool_config"))
_VERSION: Final = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?![\w])")
_LEAST_BUDGET = 128
"""Tokens that the models think at least that cannot be kept from it."""
_LEVELS: Mapping[ThinkingLevel, str] = {"medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH"}


def thinking_kind(model: str) -> ThinkingKind:
    """Returns how a model is told how much to think, by its name."""
    if found := _VERSION.search(model):
        version = (int(found[1]), int(found[2] or 0))
        return "level" if version >= (3, 0) else "budget" if version == (2, 5) else "none"
    return "level" if "gemini" in model else "none"  # `gemini-flash-latest` and its like are new


def tail(request: ModelRequest, model: str, kind: ThinkingKind, names: Names, longest: int | None) -> bytes:
    """Returns the fields after the tools, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    config: dict[str, Any] = {}
    cap = request.max_output_tokens
    if request.thinking is not None and kind != "none":
        cap = _think(config, request.thinking, model, kind, cap, longest)
    if cap is not None:
        config["maxOutputTokens"] = cap
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.output is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = shape_for(request.output.schema, "gemini")
    own: dict[str, Any] = {}
    if config:
        own["generationConfig"] = config
    if choice := _choice(request, kind, names):
        own["toolConfig"] = choice
    return fields_of(own, request.options, _CORE) + b"}"


def declared(tools: tuple[ToolSpec, ...], names: Names) -> bytes:
    """Returns the entry that offers tools of ours; nothing for none."""
    if not tools:
        return b""
    all = [Declaration(names.sent(t.name), t.description, shape_for(t.parameters, "gemini")) for t in tools]
    return bytes_of({"functionDeclarations": all})


def provided(tools: tuple[ProviderTool, ...]) -> list[bytes]:
    """Returns the entries that offer tools of the provider, for example `google_search` or `codeExecution`."""
    return [bytes_of({_camel(tool.type): tool.settings}) for tool in tools]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join([word[:1].upper() + word[1:] for word in others])


def _think(
    config: dict[str, Any],
    level: ThinkingLevel,
    model: str,
    kind: ThinkingKind,
    cap: int | None,
    longest: int | None,
) -> int | None:
    """Says how much to think, and returns how long the answer may be with it."""
    said: dict[str, Any]
    if kind == "level":
        least = "MINIMAL" if "flash" in model and level in ("off", "minimal") else "LOW"
        said = {"thinkingLevel": _LEVELS.get(level, least)}
    else:
        shared = allot(level, longest, cap)
        cap = None if cap is None else shared.max_tokens
        said = {"thinkingBudget": max(shared.budget, _LEAST_BUDGET) if "pro" in model else shared.budget}
    config["thinkingConfig"] = said | {"includeThoughts": level != "off"}
    return cap


def _choice(request: ModelRequest, kind: ThinkingKind, names: Names) -> dict[str, Any]:
    choice: dict[str, Any] = {}
    if request.tools:
        if not request.may_call:
            choice["functionCallingConfig"] = {"mode": "NONE"}
        elif request.must_call is not None:
            only = {"allowedFunctionNames": [names.sent(request.must_call)]} if request.must_call else {}
            choice["functionCallingConfig"] = {"mode": "ANY", **only}
        if request.provider_tools and request.may_call and kind == "level":
            # Only so may the provider's tools stand beside ours, and what they said is given back.
            choice["includeServerSideToolInvocations"] = True
    return choice
