"""A request as a server hears it, whatever protocol it came in.

The scripted model server and server doors work with this and nothing of a protocol. Not here: answers, HTTP.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from holdfast.errors import InvalidRequest, UsageError
from holdfast.types import Document, Image, Message, ToolSpec, UserPart

__all__ = ("ServedRequest", "attachment", "bare_name", "pieces", "refusal")


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
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None


def refusal(message: str, protocol: str) -> InvalidRequest:
    """Returns the error of a request that is none of the protocol."""
    return InvalidRequest(f"{message}; send what the {protocol} protocol says", status=400)


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


def bare_name(model: str) -> str:
    """Returns the provider's own name of a model."""
    return model.partition("/")[2] or model


def pieces(text: str, chunk: int | None) -> list[str]:
    """Returns a text in pieces of at most `chunk` characters; nothing for no text."""
    if not chunk or len(text) <= chunk:
        return [text] if text else []
    return [text[start : start + chunk] for start in range(0, len(text), chunk)]
