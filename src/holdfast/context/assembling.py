"""Makes the request of a model call.

A request is a pure function of the log: the same conversation and spec give the same bytes, in this process or
after a crash in another. Nothing is copied; the messages list is handed on as it is, so that an adapter sees
that it only grew.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models.port import ModelRequest
from holdfast.types import AgentSpec, Message

__all__ = ("assemble",)


def assemble(spec: AgentSpec, messages: Sequence[Message], *, last: bool = False) -> ModelRequest:
    """Returns what to ask the model; the `last` time it knows its tools and may call none."""
    return ModelRequest(
        instructions=spec.instructions,
        messages=messages,
        tools=spec.tools,
        may_call=not last,
        max_output_tokens=spec.max_output_tokens,
        temperature=spec.temperature,
        thinking=spec.thinking,
        provider_tools=spec.provider_tools,
        options=spec.options,
        output=spec.output if spec.output_mode == "native" and not last else None,
        must_call=None if last or spec.output_mode != "tool" else _must_call(spec),
    )


def _must_call(spec: AgentSpec) -> str | None:
    """Returns what has to be called where the answer is a call itself: nothing else would end the run.

    A model that thinks is left free: providers refuse to force a call on it (Anthropic).
    """
    if spec.thinking not in (None, "off"):
        return None
    return spec.tools[0].name if len(spec.tools) == 1 and not spec.provider_tools else ""
