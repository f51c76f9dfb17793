"""What people, models and tools say: parts, messages, tool calls and their results.

Provider-neutral. A wire adapter translates to and from these and nothing else; images and documents join the
parts when a wire carries them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.types.ids import CallId
from holdfast.types.usage import Usage

__all__ = (
    "AssistantMessage",
    "Message",
    "Part",
    "StopReason",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolError",
    "ToolMessage",
    "ToolResult",
    "UserMessage",
)

StopReason = Literal["stop", "length", "tool_calls", "refusal"]
"""Why a model stopped: it was done, ran into its output cap, wants tools, or declined."""


class Text(msgspec.Struct, frozen=True, gc=False, tag="text"):
    """Words."""

    text: str


class Thinking(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="thinking"):
    """A model's reasoning, where the server shows it."""

    text: str
    signature: str = ""
    """What the provider wants back verbatim; empty when it wants nothing."""


class ToolCall(msgspec.Struct, frozen=True, gc=False, tag="tool_call"):
    """A model's wish to run a tool."""

    id: CallId
    name: str
    arguments: str
    """The JSON text exactly as the model wrote it, damaged or not."""


Part = Text | Thinking | ToolCall


class UserMessage(msgspec.Struct, frozen=True, gc=False, tag="user"):
    """What a person (or a program in a person's place) said."""

    parts: tuple[Text, ...]

    @property
    def text(self) -> str:
        """All its words."""
        return self.parts[0].text if len(self.parts) == 1 else "".join([part.text for part in self.parts])


class AssistantMessage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="assistant"):
    """One whole answer of a model."""

    parts: tuple[Part, ...]
    model: str
    """The model that gave it, as `provider/name`."""
    stop: StopReason = "stop"
    usage: Usage = Usage()

    @property
    def text(self) -> str:
        """Its words, without thinking and calls."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools it wants, in its order."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])


class ToolError(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a call failed, in the one taxonomy of tool errors (source: Orloj 3.2)."""

    code: str
    """For example `invalid_input`, `unsupported_tool`, `timeout`, `canceled`, `execution_failed`."""
    reason: str
    """The finer class, for example `tool_execution_timeout`."""
    status: Literal["error", "denied"] = "error"
    retryable: bool = False


class ToolResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a call came to; every call id gets exactly one."""

    content: str
    """What the model reads, already bounded."""
    error: ToolError | None = None
    metadata: dict[str, Any] = {}
    """For people's screens, never for the model; `ui` names a card."""


class ToolMessage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="tool"):
    """A result, as the model reads it."""

    call_id: CallId
    name: str
    content: str
    is_error: bool = False


Message = UserMessage | AssistantMessage | ToolMessage
