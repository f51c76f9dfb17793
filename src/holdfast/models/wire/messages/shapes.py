"""The JSON of Messages as typed structs, one decode or encode for each block or event.

Not here: any meaning. Fields nobody reads are not declared, so the decoder skips them. What servers leave out or
send as null is optional.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.types import Citation

__all__ = (
    "Answer",
    "Base64Source",
    "Block",
    "BlockDelta",
    "CitedPlace",
    "DocumentBlock",
    "Event",
    "Failure",
    "ImageBlock",
    "InputBlock",
    "InputSource",
    "InputTool",
    "InputMessage",
    "Kind",
    "OfferedTool",
    "RedactedBlock",
    "RequestBody",
    "TextBlock",
    "TextSource",
    "ThinkingBlock",
    "Tokens",
    "ToolResultBlock",
    "ToolUseBlock",
    "cited",
)


# ---- answers: what a server sends -----------------------------------------------------------------------------


class Kind(msgspec.Struct, frozen=True, gc=False):
    """Only what an object says it is."""

    type: str


class CitedPlace(msgspec.Struct, frozen=True, gc=False):
    """Where words come from: an address, a place in a document, or a result of a search."""

    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None
    document_index: int | None = None
    cited_text: str | None = None


def cited(place: CitedPlace) -> Citation | None:
    """Returns it in our own words; None where it names no place."""
    title = place.title or place.document_title or ""
    number = "" if place.document_index is None else f"document {place.document_index}"
    source = place.url or place.source or title or number
    return Citation(source, title, place.cited_text or "") if source else None


class Block(msgspec.Struct, frozen=True, gc=False):
    """A piece of an answer, whole or as it begins."""

    type: str
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    citations: list[CitedPlace] | None = None


class BlockDelta(msgspec.Struct, frozen=True, gc=False):
    """More of a block, or how the answer ended."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: CitedPlace | None = None
    stop_reason: str | None = None


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    thinking_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What an answer used so far; what is left out is as it was said before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error object."""

    message: str | None = None
    type: str | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer, an error in its place, or what a stream begins with."""

    type: str = ""
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    usage: Tokens | None = None
    error: Failure | str | None = None


class _Begun(msgspec.Struct, frozen=True, gc=False):
    usage: Tokens | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream."""

    type: str
    index: int = 0
    delta: BlockDelta | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    message: _Begun | None = None
    usage: Tokens | None = None
    error: Failure | str | None = None


# ---- requests: what a client sends ----------------------------------------------------------------------------


class TextBlock(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Words."""

    text: str


class Base64Source(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="base64"):
    """Bytes, in base64."""

    media_type: str
    data: bytes


class TextSource(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """Plain text to read."""

    data: str
    media_type: str = "text/plain"


class ImageBlock(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source


class DocumentBlock(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="document"):
    """A document."""

    source: Base64Source | TextSource
    title: str = ""


class ThinkingBlock(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="thinking"):
    """Reasoning, given back."""

    thinking: str
    signature: str


class RedactedBlock(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="redacted_thinking"):
    """Reasoning that nobody can read, given back."""

    data: str


class ToolUseBlock(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="tool_use"):
    """An earlier call."""

    id: str
    name: str
    input: msgspec.Raw


class ToolResultBlock(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="tool_result"):
    """A call's result."""

    tool_use_id: str
    content: str = ""
    is_error: bool = False


class OfferedTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool, offered."""

    name: str
    input_schema: dict[str, Any]
    description: str = ""


class InputSource(msgspec.Struct, frozen=True, gc=False):
    """Where an attached file comes from, as a client may write it."""

    type: str
    media_type: str | None = None
    data: str | None = None


class InputBlock(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message, as a client may write it."""

    type: str
    text: str | None = None
    source: InputSource | None = None
    title: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    tool_use_id: str | None = None
    content: str | list[InputBlock] | None = None
    is_error: bool | None = None


class InputMessage(msgspec.Struct, frozen=True, gc=False):
    """A message, as a client may write it."""

    role: Literal["user", "assistant", "system"]
    content: str | list[InputBlock]


class InputTool(msgspec.Struct, frozen=True):
    """A tool, as a client may offer it; one that the provider runs itself has settings of its own beside these."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools may, or must, be called."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct, frozen=True):
    """Whether and how much to think."""

    type: str
    budget_tokens: int | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """What an answer has to look like."""

    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct, frozen=True):
    """How an answer is given."""

    effort: str | None = None
    format: OutputFormat | None = None


class RequestBody(msgspec.Struct, frozen=True):
    """A whole request."""

    model: str
    messages: list[InputMessage]
    max_tokens: int | None = None
    system: str | list[InputBlock] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    stream: bool | None = None
    temperature: float | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    top_p: Any = None
    top_k: Any = None
    stop_sequences: Any = None
    mcp_servers: Any = None
    container: Any = None
    context_management: Any = None
    metadata: Any = None
    service_tier: Any = None
    cache_control: Any = None
