"""The JSON of generateContent as typed structs, one decode for each event, one encode for each part of a request.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or send
as null is optional; zero and empty are left out, as everywhere in Google's JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = (
    "STEPS",
    "Blob",
    "CallPart",
    "CalledFunction",
    "Candidate",
    "Chunk",
    "CitedSources",
    "Declaration",
    "Failure",
    "FunctionResult",
    "Grounding",
    "InlinePart",
    "InputContent",
    "InputPart",
    "InputTool",
    "Place",
    "RequestBody",
    "ResultPart",
    "SaidCall",
    "SaidPart",
    "TextPart",
    "Tokens",
)

STEPS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
"""The parts in which the provider says what it did itself, by the name of their one field."""


# ---- answers: what a server sends -----------------------------------------------------------------------------


class SaidCall(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A function the model wants called."""

    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    will_continue: bool | None = None
    """Whether the arguments come in pieces, which only other doors of Google do, and only when asked."""


class SaidPart(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A piece of an answer; one of its fields says what it is."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: SaidCall | None = None
    executable_code: msgspec.Raw = msgspec.Raw()
    code_execution_result: msgspec.Raw = msgspec.Raw()
    tool_call: msgspec.Raw = msgspec.Raw()
    tool_response: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct, frozen=True, gc=False):
    parts: list[SaidPart] | None = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where words come from."""

    uri: str | None = None
    title: str | None = None
    text: str | None = None


class _Source(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    web: Place | None = None
    retrieved_context: Place | None = None
    maps: Place | None = None

    @property
    def place(self) -> Place | None:
        """Whichever it is."""
        return self.web or self.retrieved_context or self.maps


class Grounding(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What an answer rests on."""

    grounding_chunks: list[_Source] | None = None
    web_search_queries: list[str] | None = None


class CitedSources(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What an answer quotes at length."""

    citation_sources: list[Place] | None = None
    citations: list[Place] | None = None


class Candidate(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One of the answers; without an index the first."""

    content: _Said | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: Grounding | None = None
    citation_metadata: CitedSources | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What an answer used so far; what is left out is none."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class _Feedback(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    block_reason: str | None = None


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error object."""

    code: int | str | None = None
    message: str | None = None
    status: str | None = None


class Chunk(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One event of a stream, or a whole answer."""

    candidates: list[Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Tokens | None = None
    error: Failure | str | None = None


# ---- requests: what a client sends ----------------------------------------------------------------------------


class TextPart(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """Words, or thoughts."""

    text: str
    thought: bool = False
    thought_signature: str = ""


class Blob(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Bytes, in base64."""

    mime_type: str
    data: bytes


class InlinePart(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A picture or a document."""

    inline_data: Blob


class CalledFunction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call, given back."""

    name: str
    args: msgspec.Raw
    id: str = ""


class CallPart(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """A call, given back with what the provider wants with it."""

    function_call: CalledFunction
    thought_signature: str = ""


class FunctionResult(msgspec.Struct, frozen=True, gc=False):
    """What a call came to, under `output` or `error`."""

    id: str
    name: str
    response: dict[str, str]


class ResultPart(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a call came to."""

    function_response: FunctionResult


class Declaration(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A tool on offer."""

    name: str
    description: str
    parameters_json_schema: dict[str, Any]


# ---- requests: what a server hears ----------------------------------------------------------------------------


class _InputBlob(msgspec.Struct, frozen=True, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _InputCall(msgspec.Struct, frozen=True):
    name: str
    id: str = ""
    args: msgspec.Raw = msgspec.Raw()


class _InputResult(msgspec.Struct, frozen=True):
    name: str = ""
    id: str = ""
    response: dict[str, Any] | None = None


class InputPart(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a message, as a client may write it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: _InputBlob | None = None
    function_call: _InputCall | None = None
    function_response: _InputResult | None = None
    executable_code: msgspec.Raw = msgspec.Raw()
    code_execution_result: msgspec.Raw = msgspec.Raw()
    tool_call: msgspec.Raw = msgspec.Raw()
    tool_response: msgspec.Raw = msgspec.Raw()


class InputContent(msgspec.Struct, frozen=True):
    """A message, as a client may write it."""

    parts: list[InputPart] = []
    role: Literal["user", "model", "function"] | None = None


class _InputDeclaration(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class InputTool(msgspec.Struct, frozen=True, rename="camel"):
    """Tools, as a client may offer them."""

    function_declarations: list[_InputDeclaration] | None = None
    google_search: dict[str, Any] | None = None
    code_execution: dict[str, Any] | None = None
    url_context: dict[str, Any] | None = None


class _CallingConfig(msgspec.Struct, frozen=True, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class _ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    function_calling_config: _CallingConfig | None = None


class _GenerationConfig(msgspec.Struct, frozen=True, rename="camel"):
    max_output_tokens: int | None = None
    temperature: float | None = None


class RequestBody(msgspec.Struct, frozen=True, rename="camel"):
    """A whole request."""

    contents: list[InputContent]
    system_instruction: InputContent | None = None
    tools: list[InputTool] | None = None
    tool_config: _ToolConfig | None = None
    generation_config: _GenerationConfig | None = None
