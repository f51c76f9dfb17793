"""What people, models and tools say: parts, messages, tool calls and their results.

Provider-neutral. A wire adapter translates to and from these and nothing else. Images and documents are bytes, not
addresses: the log must hold all that a model was shown.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from holdfast.errors import InputTooLarge, UsageError
from holdfast.types.attachments import Attachment
from holdfast.types.ids import CallId, Digest
from holdfast.types.usage import Usage

__all__ = (
    "DOCUMENT_BYTES",
    "IMAGE_BYTES",
    "AssistantMessage",
    "Citation",
    "Document",
    "DocumentType",
    "Image",
    "ImageType",
    "Message",
    "Part",
    "ProviderStep",
    "StopReason",
    "Text",
    "Thinking",
    "ToolCall",
    "ToolError",
    "ToolMessage",
    "ToolResult",
    "UserMessage",
    "UserPart",
)

StopReason = Literal["stop", "length", "tool_calls", "refusal"]
"""Why a model stopped: it was done, ran into its output cap, wants tools, or declined."""


ImageType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
"""The kinds of image that models read."""
DocumentType = Literal["application/pdf", "text/plain"]
"""The kinds of document that models read."""

IMAGE_BYTES = 5 * 1024 * 1024 * 3 // 4
"""The largest image: in base64, as it is sent, it has 5 MiB, which is where Anthropic refuses it."""
DOCUMENT_BYTES = 16 * 1024 * 1024
"""The largest document; requests of 32 MB are refused, and base64 makes it a third longer."""


class Citation(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where words of an answer come from, as the provider says it."""

    source: str
    """An address, or what the provider calls the document."""
    title: str = ""
    quote: str = ""
    """The words of the source that are meant."""


class Text(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="text"):
    """Words."""

    text: str
    signature: str = ""
    """What the provider wants back with these words verbatim; empty when it wants nothing."""
    citations: tuple[Citation, ...] = ()


class Thinking(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="thinking"):
    """A model's reasoning, where the server shows it."""

    text: str
    signature: str = ""
    """What the provider wants back verbatim; empty when it wants nothing."""
    redacted: str = ""
    """In place of text and signature: reasoning that only the provider can read, for it to have back verbatim."""


class Image(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="image"):
    """A picture."""

    media_type: ImageType
    data: bytes
    """The file's bytes; base64 in JSON."""
    name: str = ""
    """What people call it, for example its file name."""

    def check(self) -> None:
        """Raises when no model would take it; what is in a log already is never judged again.

        Raises:
            UsageError: it is of a kind models do not read, empty, or too large.
        """
        _check("image", self.media_type, get_args(ImageType), self.data, IMAGE_BYTES, "make it smaller")


class Document(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="document"):
    """Something to read: pages, or plain text."""

    media_type: DocumentType
    data: bytes
    """The file's bytes; base64 in JSON."""
    name: str = ""
    """What people call it, for example its file name."""

    def check(self) -> None:
        """Raises when no model would take it; what is in a log already is never judged again.

        Raises:
            UsageError: it is of a kind models do not read, empty, too large, or plain text that is not UTF-8.
        """
        _check("document", self.media_type, get_args(DocumentType), self.data, DOCUMENT_BYTES, "split it")
        if self.media_type == "text/plain":
            try:
                self.data.decode()
            except UnicodeDecodeError as error:
                raise UsageError(
                    f"a document of type 'text/plain' is not UTF-8 (byte {error.start}): save it as UTF-8"
                ) from None

    @property
    def text(self) -> str:
        """The words of plain text; empty for anything else."""
        return self.data.decode("utf-8", "replace") if self.media_type == "text/plain" else ""


def _check(what: str, kind: str, kinds: tuple[str, ...], data: bytes, limit: int, step: str) -> None:
    if kind not in kinds:
        *others, last = map(repr, kinds)
        raise UsageError(f"no {what} is of the type {kind!r}: convert it to {', '.join(others)} or {last}")
    if not data:
        raise UsageError(f"a {what} has no bytes: check the file it is from")
    if len(data) > limit:
        raise InputTooLarge(f"a {what} has {len(data):,} bytes and {limit:,} are allowed: {step}")


class ToolCall(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="tool_call"):
    """A model's wish to run a tool."""

    id: CallId
    name: str
    arguments: str
    """The JSON text exactly as the model wrote it, damaged or not."""
    signature: str = ""
    """What the provider wants back with this call verbatim; empty when it wants nothing."""


class ProviderStep(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="provider_step"):
    """Something the provider did itself on the way to its answer, such as a search: it ran there, and is over."""

    name: str
    """What was done, in the provider's word, for example `web_search`."""
    data: str
    """The JSON in which the provider said it, and wants it back."""
    text: str = ""
    """What of it people may want to see, for example what was searched for."""


Part = Text | Thinking | ToolCall | ProviderStep
"""What an answer is made of."""
UserPart = Text | Image | Document
"""What a prompt is made of."""


class UserMessage(msgspec.Struct, frozen=True, gc=False, tag="user"):
    """What a person (or a program in a person's place) said."""

    parts: tuple[UserPart, ...]

    @property
    def text(self) -> str:
        """All its words, without images and documents."""
        if len(self.parts) == 1 and isinstance(only := self.parts[0], Text):
            return only.text
        return "".join([part.text for part in self.parts if isinstance(part, Text)])


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
        parts = self.parts
        if len(parts) == 1:  # as most are
            only = parts[0]
            return only.text if isinstance(only, Text) else ""
        return "".join([part.text for part in parts if isinstance(part, Text)])

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools it wants, in its order."""
        parts = self.parts
        if len(parts) == 1:
            only = parts[0]
            return (only,) if type(only) is ToolCall else ()  # `isinstance` asks the metaclass what it is not
        return tuple([part for part in parts if isinstance(part, ToolCall)])


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
    stored: Digest = Digest("")
    """Where all of the output is kept, as a blob, when `content` is not all of it; empty when it is."""
    attachments: tuple[Attachment, ...] = ()
    """Files the call made for whoever the run is for; the model is not shown them."""


class ToolMessage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="tool"):
    """A result, as the model reads it."""

    call_id: CallId
    name: str
    content: str
    is_error: bool = False


Message = UserMessage | AssistantMessage | ToolMessage
