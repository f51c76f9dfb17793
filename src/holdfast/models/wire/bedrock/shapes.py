"""The JSON of Converse as typed structs, one decode for each event, one encode for each block of a request.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or send
as null is optional. Of the fields of a union one is there.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.types import Citation

__all__ = (
    "Answer",
    "Block",
    "Cited",
    "Delta",
    "Event",
    "Input",
    "InputBlock",
    "InputTurn",
    "RequestBody",
    "Reasoning",
    "Reasoned",
    "Said",
    "ServerResult",
    "Start",
    "StartedTool",
    "Tokens",
    "cited",
)


# ---- answers: what a server sends -----------------------------------------------------------------------------


class Said(msgspec.Struct, frozen=True, gc=False):
    """Words, or what stands in their place."""

    text: str | None = None


class _Place(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    url: str | None = None
    document_index: int | None = None


class _Location(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    web: _Place | None = None
    document_char: _Place | None = None
    document_page: _Place | None = None
    document_chunk: _Place | None = None


class Cited(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Where words come from."""

    title: str | None = None
    source: str | None = None
    source_content: list[Said] | None = None
    location: _Location | None = None


def cited(place: Cited) -> Citation:
    """Returns it in our own words."""
    where, title = place.location or _Location(), place.title or ""
    document = where.document_char or where.document_page or where.document_chunk
    number = "" if document is None or document.document_index is None else f"document {document.document_index}"
    url = where.web.url if where.web else None
    quote = "".join([said.text or "" for said in place.source_content or ()])
    return Citation(url or place.source or title or number, title, quote)


class StartedTool(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A call, ours to make or the provider's own."""

    tool_use_id: str = ""
    name: str = ""
    type: str | None = None


class ServerResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """What the provider's own call came to."""

    tool_use_id: str = ""
    type: str | None = None
    status: str | None = None


class Start(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a block begins with; words and reasoning begin with their first piece."""

    tool_use: StartedTool | None = None
    tool_result: ServerResult | None = None


class Input(msgspec.Struct, frozen=True, gc=False):
    """A piece of a call's arguments."""

    input: str = ""


class Reasoning(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A piece of reasoning, or what belongs to it."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class Delta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """More of a block."""

    text: str | None = None
    tool_use: Input | None = None
    reasoning_content: Reasoning | None = None
    citation: Cited | None = None
    tool_result: list[msgspec.Raw] | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What an answer used; what the cache gave or took is not among the input."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _BlockStart(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    content_block_index: int = 0
    start: Start | None = None


class _BlockDelta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    content_block_index: int = 0
    delta: Delta | None = None


class _BlockStop(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    content_block_index: int = 0


class _Stop(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    stop_reason: str | None = None


class _Metadata(msgspec.Struct, frozen=True, gc=False):
    usage: Tokens | None = None


class _Words(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    message: str | None = None
    original_status_code: int | None = None
    original_message: str | None = None


class _Exception(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    said: _Words | None = None


class _Error(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    message: str = ""


class Event(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One event of a stream."""

    content_block_start: _BlockStart | None = None
    content_block_delta: _BlockDelta | None = None
    content_block_stop: _BlockStop | None = None
    message_stop: _Stop | None = None
    metadata: _Metadata | None = None
    exception: _Exception | None = None
    error: _Error | None = None


class Reasoned(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Reasoning, whole."""

    reasoning_text: Reasoning | None = None
    redacted_content: str | None = None


class _WholeCall(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    type: str | None = None


class _WholeCitations(msgspec.Struct, frozen=True, gc=False):
    content: list[Said] | None = None
    citations: list[Cited] | None = None


class Block(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A block of an answer that was not streamed."""

    text: str | None = None
    tool_use: _WholeCall | None = None
    reasoning_content: Reasoned | None = None
    citations_content: _WholeCitations | None = None
    tool_result: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: list[Block] | None = None


class _Output(msgspec.Struct, frozen=True, gc=False):
    message: _Message | None = None


class Answer(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A whole answer, or an error in its place."""

    output: _Output | None = None
    stop_reason: str | None = None
    usage: Tokens | None = None
    message: str | None = None


# ---- requests: what a server hears ----------------------------------------------------------------------------


class _Source(msgspec.Struct, frozen=True):
    bytes: str | None = None
    text: str | None = None


class _Attached(msgspec.Struct, frozen=True):
    format: str = "txt"
    name: str = ""
    source: _Source = _Source()


class _Result(msgspec.Struct, frozen=True, rename="camel"):
    tool_use_id: str
    content: list[dict[str, Any]] = []
    status: str | None = None
    type: str | None = None


class InputBlock(msgspec.Struct, frozen=True, rename="camel"):
    """A block of a message, as a client may write it."""

    text: str | None = None
    image: _Attached | None = None
    document: _Attached | None = None
    tool_use: _WholeCall | None = None
    tool_result: _Result | None = None
    reasoning_content: Reasoned | None = None
    citations_content: _WholeCitations | None = None
    cache_point: dict[str, Any] | None = None


class InputTurn(msgspec.Struct, frozen=True):
    """A message, as a client may write it."""

    role: Literal["user", "assistant", "system"]
    content: list[InputBlock]


class _Schema(msgspec.Struct, frozen=True):
    json: dict[str, Any] = {}


class _ToolSpec(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    description: str | None = None
    input_schema: _Schema = _Schema()


class _SystemTool(msgspec.Struct, frozen=True):
    name: str


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    tool_spec: _ToolSpec | None = None
    system_tool: _SystemTool | None = None


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Choice(msgspec.Struct, frozen=True):
    any: _Named | None = None
    tool: _Named | None = None


class _ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    tools: list[_Tool] = []
    tool_choice: _Choice | None = None


class _Inference(msgspec.Struct, frozen=True, rename="camel"):
    max_tokens: int | None = None
    temperature: float | None = None


class RequestBody(msgspec.Struct, frozen=True, rename="camel"):
    """A whole request."""

    messages: list[InputTurn] = []
    system: list[InputBlock] | None = None
    tool_config: _ToolConfig | None = None
    inference_config: _Inference | None = None
