"""The JSON of Cohere's Chat as typed structs, one decode or encode for each event or turn.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or
send as null is optional.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = (
    "PLAN",
    "Answer",
    "AssistantTurn",
    "Cited",
    "Event",
    "FunctionTool",
    "Hull",
    "InputCall",
    "InputDocument",
    "InputPart",
    "InputTool",
    "InputTurn",
    "Kind",
    "Piece",
    "RequestBody",
    "SentDocument",
    "Source",
    "SystemTurn",
    "TextPart",
    "ThinkingPart",
    "Tokens",
    "ToolFunction",
    "ToolTurn",
    "TurnCall",
    "TurnFunction",
    "TurnImage",
    "UserTurn",
    "WholeCall",
)

PLAN = "tool_plan"
"""The signature of thinking that came as a plan."""


# ---- answers: what a server sends -----------------------------------------------------------------------------


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Some words, or reasoning."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class WholeCall(msgspec.Struct, frozen=True, gc=False):
    """A call, whole or as it begins, or more of its arguments."""

    id: str | None = None
    function: _Function | None = None


class Source(msgspec.Struct, frozen=True, gc=False):
    """A document, or what a tool said."""

    type: str | None = None
    id: str | None = None
    document: dict[str, Any] | None = None
    tool_output: dict[str, Any] | None = None


class Cited(msgspec.Struct, frozen=True, gc=False):
    """Which words come from where."""

    text: str | None = None
    sources: list[Source] | None = None
    content_index: int | None = None
    type: str | None = None


class _Said(msgspec.Struct, frozen=True, gc=False):
    # The message a stream begins with has empty lists in place of the pieces.
    content: Piece | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: WholeCall | list[Any] | None = None
    citations: Cited | list[Any] | None = None


class _Count(msgspec.Struct, frozen=True, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What an answer used."""

    billed_units: _Count | None = None
    tokens: _Count | None = None
    cached_tokens: float | None = None


class _Delta(msgspec.Struct, frozen=True, gc=False):
    message: _Said | None = None
    finish_reason: str | None = None
    usage: Tokens | None = None
    error: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream, or an error in its place."""

    type: str = ""
    index: int | None = None
    delta: _Delta | None = None
    message: str | None = None
    error: str | None = None


class Kind(msgspec.Struct, frozen=True, gc=False):
    """Only what an object says it is."""

    type: str | None = None


class _HullMessage(msgspec.Struct, frozen=True, gc=False):
    content: Kind | None = None


class _HullDelta(msgspec.Struct, frozen=True, gc=False):
    message: _HullMessage | None = None


class Hull(msgspec.Struct, frozen=True, gc=False):
    """Only what an event says it is, and what it is about."""

    type: str = ""
    index: int | None = None
    delta: _HullDelta | None = None


class _Whole(msgspec.Struct, frozen=True, gc=False):
    content: list[msgspec.Raw] | None = None
    tool_plan: str | None = None
    tool_calls: list[WholeCall] | None = None
    citations: list[Cited] | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer, or an error in its place."""

    message: _Whole | str | None = None
    finish_reason: str | None = None
    usage: Tokens | None = None
    error: str | None = None


# ---- requests: what a client sends ----------------------------------------------------------------------------


class TextPart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Words."""

    text: str


class ThinkingPart(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="thinking"):
    """Reasoning, given back."""

    thinking: str


class TurnImage(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="image_url"):
    """A picture, as a data URL."""

    image_url: dict[str, str]


class SystemTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="system"):
    """The instructions."""

    content: str


class UserTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="user"):
    """What a person said."""

    content: str | list[TextPart | TurnImage]


class TurnFunction(msgspec.Struct, frozen=True, gc=False):
    """What is called, with what."""

    name: str
    arguments: str


class TurnCall(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="function"):
    """An earlier call."""

    id: str
    function: TurnFunction


class AssistantTurn(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | list[TextPart | ThinkingPart] = ""
    tool_plan: str = ""
    tool_calls: list[TurnCall] = []


class ToolTurn(msgspec.Struct, frozen=True, gc=False, tag_field="role", tag="tool"):
    """A call's result."""

    tool_call_id: str
    content: str


class ToolFunction(msgspec.Struct, frozen=True):
    """What a tool is called, and takes."""

    name: str
    description: str
    parameters: dict[str, Any]


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A tool, offered."""

    function: ToolFunction


class SentDocument(msgspec.Struct, frozen=True, gc=False):
    """Something to read, and to cite."""

    id: str
    data: dict[str, str]


# ---- requests, as a server reads them -------------------------------------------------------------------------


class InputDocument(msgspec.Struct, frozen=True, gc=False):
    """A document, as a client may write it."""

    data: dict[str, Any] | str | None = None
    id: str | None = None


class InputPart(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message, as a client may write it."""

    type: str
    text: str | None = None
    thinking: str | None = None
    image_url: dict[str, Any] | None = None
    document: InputDocument | None = None


class InputCall(msgspec.Struct, frozen=True, gc=False):
    """An earlier call, as a client may write it."""

    id: str | None = None
    function: _Function | None = None


class InputTurn(msgspec.Struct, frozen=True, gc=False):
    """A message, as a client may write it."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str | list[InputPart] | None = None
    tool_plan: str | None = None
    tool_calls: list[InputCall] | None = None
    tool_call_id: str | None = None


class _InputFunction(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}


class InputTool(msgspec.Struct, frozen=True):
    """A tool, as a client may offer it."""

    function: _InputFunction
    type: str = "function"


class RequestBody(msgspec.Struct, frozen=True):
    """A whole request."""

    model: str
    messages: list[InputTurn]
    stream: bool | None = None
    tools: list[InputTool] | None = None
    tool_choice: str | None = None
    documents: list[str | InputDocument] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
