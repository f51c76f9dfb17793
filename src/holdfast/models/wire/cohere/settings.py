"""What a request says besides the conversation: how long, how much thinking, which tools, in which form.

Cohere's models think unless told not to, and are told a number of tokens, by the arithmetic of `models/thinking.py`.
What there is no room for is switched off. Without a cap none is sent: the server takes the model's own.

Not here: whether a model has a level (`providers/talking.py` clamps it before).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from holdfast.errors import InvalidRequest
from holdfast.models.port import ModelRequest
from holdfast.models.thinking import allot
from holdfast.models.wire.shaping import holds, shape_for
from holdfast.models.wire.turns import fields_of
from holdfast.types import ThinkingLevel

__all__ = ("is_free", "offered", "tail")

_CORE: AbstractSet[str] = frozenset(
    ("model", "messages", "tools", "tool_choice", "max_tokens", "stream", "temperature")
)


def is_free(request: ModelRequest) -> bool:
    """Returns whether neither tools nor a form of the answer stand in the way of documents to cite."""
    return not request.tools and request.output is None


def offered(request: ModelRequest, tools: Mapping[str, bytes]) -> Sequence[bytes]:
    """Returns those of the encoded tools that are on offer: all of them, or the one that must be called.

    Raises:
        InvalidRequest: that one is not among them, or the provider is to run tools, of which it has none.
    """
    if request.provider_tools:
        kinds = ", ".join(repr(tool.type) for tool in request.provider_tools)
        raise InvalidRequest(f"Cohere's Chat runs no tools of its own, so not {kinds}: leave them out for its models")
    if not request.must_call or not request.may_call:
        return tuple(tools.values())
    if request.must_call not in tools:
        raise InvalidRequest(f"the tool {request.must_call!r} has to be called and is not on offer: offer it")
    return (tools[request.must_call],)


def tail(request: ModelRequest, longest: int | None, documents: Sequence[bytes]) -> bytes:
    """Returns the fields after conversation and tools, and the last brace.

    Raises:
        InvalidRequest: an option is a field that is said here already.
    """
    own: dict[str, Any] = {}
    cap = request.max_output_tokens
    if request.thinking is not None:
        cap = _think(own, request.thinking, cap, longest)
    if cap is not None:
        own["max_tokens"] = cap
    if request.temperature is not None:
        own["temperature"] = request.temperature
    if request.tools and not request.may_call:
        own["tool_choice"] = "NONE"
    elif request.tools and request.must_call is not None:
        own["tool_choice"] = "REQUIRED"
    if documents:
        own["documents"] = [msgspec.Raw(document) for document in documents]
    shape = request.output
    if shape is not None and not request.tools and holds(shape.schema, "cohere"):
        own["response_format"] = {"type": "json_object", "json_schema": shape_for(shape.schema, "cohere")}
    if not own and not request.options:
        return b"}"
    return fields_of(own, request.options, _CORE) + b"}"


def _think(own: dict[str, Any], level: ThinkingLevel, cap: int | None, longest: int | None) -> int | None:
    """Says how much to think, and returns how long the answer may be with it."""
    share = allot(level, longest, cap)
    if not share.budget:
        own["thinking"] = {"type": "disabled"}
        return cap
    own["thinking"] = {"type": "enabled", "token_budget": share.budget}
    return None if cap is None else share.max_tokens
