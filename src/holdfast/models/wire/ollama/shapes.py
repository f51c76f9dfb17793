"""The JSON of Ollama's chat as typed structs, one decode or encode for each line or turn.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or
send as null is optional.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = (
    "AnsweredCall",
    "AssistantTurn",
    "Chunk",
    "FunctionTool",
    "InputTurn",
    "RequestBody",
    "Said",
    "SystemTurn",
    "ToolFunction",
    "ToolTurn",
    "TurnCall",
    "TurnFunction",
    "UserTurn",
)


# ---- answers: what a server sends -----------------------------------------------------------------------------


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class AnsweredCall(msgspec.Struct, frozen=True, gc=False):
    """A call, which comes whole; servers before 2026 give it no id."""

    function: _Function | None = None
    id: str | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """More of an answer."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[AnsweredCall] | None = None


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One line of a stream, a whole answer, or an error in its place."""

    message: Said | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: str | dict[str, Any] | None = None


# ---- requests: what a client sends ----------------------------------------------------------------------------


class SystemTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="system"):
    """The instructions."""

    content: str


class UserTurn(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="role", tag="user"):
    """What a person said."""

    content: str
    images: list[bytes] = []
    """Base64 in JSON."""


class TurnFunction(msgspec.Struct, frozen=True, gc=False):
    """What is called, with what."""

    name: str
    arguments: msgspec.Raw


class TurnCall(msgspec.Struct, frozen=True, gc=False):
    """An earlier call."""

    function: TurnFunction


class AssistantTurn(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str
    thinking: str = ""
    tool_calls: list[TurnCall] = []


class ToolTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="tool"):
    """A call's result."""

    tool_name: str
    content: str


class ToolFunction(msgspec.Struct, frozen=True):
    """What a tool is called, and takes."""

    name: str
    description: str
    parameters: dict[str, Any]


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A tool, offered."""

    function: ToolFunction


# ---- requests, as a server reads them -------------------------------------------------------------------------


class _InputCall(msgspec.Struct, frozen=True, gc=False):
    function: _Function | None = None
    id: str | None = None


class InputTurn(msgspec.Struct, frozen=True, gc=False):
    """A message, as a client may write it."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_InputCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _InputFunction(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _InputTool(msgspec.Struct, frozen=True):
    function: _InputFunction
    type: str | None = None


class _Options(msgspec.Struct, frozen=True):
    num_predict: int | None = None
    temperature: float | None = None


class RequestBody(msgspec.Struct, frozen=True):
    """A whole request."""

    model: str
    messages: list[InputTurn]
    stream: bool | None = None
    tools: list[_InputTool] | None = None
    options: _Options | None = None
