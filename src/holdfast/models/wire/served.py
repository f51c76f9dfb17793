"""A request as a server hears it, whatever protocol it came in.

The scripted model server and server doors work with this and nothing of a protocol. Not here: answers, HTTP.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from holdfast.errors import InvalidRequest, UsageError
from holdfast.models.wire.encoding import bytes_of
from holdfast.types import Document, Image, Message, ProviderTool, ToolSpec, UserPart

__all__ = ("ServedRequest", "attachment", "bare_name", "guess_tokens", "pieces", "provided", "refusal")

_REFUSAL_CHARS = 400
"""How much a refusal repeats of what a client sent, at most."""
_BYTES_PER_TOKEN = 4


class ServedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request in our own words."""

    model: str
    """As sent, without a provider."""
    instructions: str = ""
    """All instructions, joined by empty lines."""
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True
    """Whether the model may call them."""
    must_call: str | None = None
    """The one it must call; empty for any."""
    provider_tools: tuple[ProviderTool, ...] = ()
    """What the provider may run itself."""
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None


def refusal(message: str, protocol: str) -> InvalidRequest:
    """Returns the error of a request that is none of the protocol, in one printable line."""
    said = " ".join("".join([char if char.isprintable() else " " for char in message[:_REFUSAL_CHARS]]).split())
    said += "…" if len(message) > _REFUSAL_CHARS else ""
    return InvalidRequest(f"{said}; send what the {protocol} protocol says", status=400)


def provided(type: str, settings: dict[str, Any], protocol: str) -> ProviderTool:
    """Returns a tool that the provider runs itself.

    Raises:
        InvalidRequest: it has no type.
    """
    if not type.strip():
        raise refusal("a tool has no type", protocol)
    return ProviderTool(type, settings)


def attachment(media_type: str, data: str, name: str, protocol: str) -> UserPart:
    """Returns the image or document that base64 stands for.

    Raises:
        InvalidRequest: it is none that can be read.
    """
    try:
        content = base64.b64decode(data, validate=True)
        kind = Image if media_type.startswith("image/") else Document
        part = msgspec.convert({"media_type": media_type, "data": content, "name": name}, kind)
        part.check()
    except (binascii.Error, ValueError, msgspec.ValidationError, UsageError) as error:
        raise refusal(f"an attached file of type {media_type[:80]!r} cannot be read ({error})", protocol) from None
    return part


def guess_tokens(request: ServedRequest) -> int:
    """Returns a guess of a request's tokens from the length of what is asked, images by their bytes."""
    size = len(bytes_of([request.instructions, request.messages, [tool.parameters for tool in request.tools]]))
    return -(-size // _BYTES_PER_TOKEN)


def bare_name(model: str) -> str:
    """Returns the provider's own name of a model."""
    return model.partition("/")[2] or model


def pieces(text: str, chunk: int | None) -> list[str]:
    """Returns a text in pieces of at most `chunk` characters; nothing for no text."""
    if not chunk or len(text) <= chunk:
        return [text] if text else []
    return [text[start : start + chunk] for start in range(0, len(text), chunk)]
