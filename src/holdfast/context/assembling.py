"""Makes the request of a model call.

A request is a pure function of the log: the same conversation and spec give the same bytes, in this process or
after a crash in another. Nothing is copied; the messages list is handed on as it is, so that an adapter sees
that it only grew.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models.port import ModelRequest
from holdfast.types import AgentSpec, Message, ToolSpec, UserMessage

__all__ = ("assemble", "newest")


def assemble(
    spec: AgentSpec, messages: Sequence[Message], *, last: bool = False, tools: tuple[ToolSpec, ...] | None = None
) -> ModelRequest:
    """Returns what to ask the model; the `last` time it knows its tools and may call none.

    `tools` are those that it is shown of very many (`showing.py`); None for all.
    """
    return ModelRequest(
        instructions=spec.instructions,
        messages=messages if spec.messages_shown is None else newest(messages, spec.messages_shown),
        tools=spec.tools if tools is None else tools,
        may_call=spec.may_call and not last,
        max_output_tokens=spec.max_output_tokens,
        temperature=spec.temperature,
        thinking=spec.thinking,
        provider_tools=spec.provider_tools,
        options=spec.options,
        output=spec.output if spec.output_mode == "native" and not last else None,
        must_call=None if last or not spec.may_call else _must_call(spec),
    )


def newest(messages: Sequence[Message], most: int) -> Sequence[Message]:
    """Returns the newest messages, so many at most, from one on in which somebody spoke: no result is there without its
    call. A turn that is longer than that is there as a whole.
    """
    first = len(messages) - most
    if first <= 0:
        return messages
    for at in (*range(first, len(messages)), *range(first - 1, -1, -1)):
        if isinstance(messages[at], UserMessage):
            return messages[at:]
    return messages


def _must_call(spec: AgentSpec) -> str | None:
    """Returns what has to be called because the agent says so, or the answer is a call itself: nothing else would end
    the run.

    A model that thinks is left free: providers refuse to force a call on it (Anthropic).
    """
    if spec.must_call is not None or spec.output_mode != "tool":
        return spec.must_call
    if spec.thinking not in (None, "off"):
        return None
    return spec.tools[0].name if len(spec.tools) == 1 and not spec.provider_tools else ""
