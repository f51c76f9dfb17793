"""What a model wants back of its own answers, and what of them people may want to see.

Reasoning goes back as the whole item: what the provider encrypted is bound to the item's id. It is kept as JSON in
`Thinking.signature`. Reasoning that holds nothing but a summary cannot go back, because a server that stores nothing
would look for its id and not find it.

Not here: which answers are whose (`requests.py`).
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from holdfast.models.wire.encoding import bytes_of
from holdfast.models.wire.responses.shapes import Kind, ReasoningItem, StepItem, Words

__all__ = ("GivenReasoning", "is_for_us", "reasoning_in", "signature_of", "step_in", "step_name", "step_words")

_FOR_US = frozenset(
    (
        "apply_patch_call",
        "computer_call",
        "custom_tool_call",
        "local_shell_call",
        "mcp_approval_request",
    )
)
"""Kinds of items that wait for an answer which only a client with such a tool can give."""
_WORDS = ("query", "queries", "url", "pattern", "code", "revised_prompt", "arguments")
"""What of a step people want to see, the first that is there."""


class GivenReasoning(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type", tag="reasoning"
):
    """Reasoning as it is given back."""

    id: str
    summary: list[Words]
    content: list[Words] = []
    encrypted_content: str = ""


_reasoning = msgspec.json.Decoder(GivenReasoning)
_kind = msgspec.json.Decoder(Kind)


def signature_of(item: ReasoningItem) -> str:
    """Returns what has to be kept to give reasoning back; empty where it cannot go back."""
    content, secret = item.content or [], item.encrypted_content or ""
    if not item.id or not (content or secret):
        return ""
    given = GivenReasoning(id=item.id, summary=item.summary or [], content=content, encrypted_content=secret)
    return bytes_of(given).decode()


def reasoning_in(signature: str) -> GivenReasoning | None:
    """Returns the reasoning that a signature stands for; None for a signature of another protocol."""
    try:
        return _reasoning.decode(signature)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def step_in(data: str) -> bytes:
    """Returns something the provider did as it is given back; empty where it is no item of this protocol."""
    try:
        sent = data.encode()
        return sent if _kind.decode(sent).type else b""
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return b""


def is_for_us(kind: str) -> bool:
    """Whether items of a kind have to be answered before the conversation can go on."""
    return kind in _FOR_US


def step_name(step: StepItem) -> str:
    """Returns what was done: the kind of the call, or the name of a tool on a remote server."""
    return step.name if isinstance(step.name, str) and step.name else step.type.removesuffix("_call")


def step_words(step: StepItem) -> str:
    """Returns what people may want to see of it."""
    action: Any = step.action
    inner = cast("dict[str, Any]", action) if isinstance(action, dict) else {}
    for word in _WORDS:
        value = getattr(step, word, None) or inner.get(word)
        if isinstance(value, list):
            value = ", ".join([each for each in cast("list[Any]", value) if isinstance(each, str)])
        if isinstance(value, str) and value:
            return value
    return ""
