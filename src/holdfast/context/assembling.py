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
    )
