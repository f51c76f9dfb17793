"""A request as a server hears it, whatever protocol it came in.

The scripted model server and server doors work with this and nothing of a protocol. Not here: answers, HTTP.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

from holdfast.errors import InvalidRequest, UsageError
from holdfast.models.wire.encoding import bytes_of
from holdfast.types import Document, Image, Message, OutputShape, ProviderTool, ThinkingLevel, ToolSpec, UserPart

__all__ = (
    "ANY_OBJECT",
    "USUAL_TIERS",
    "ServedRequest",
    "attachment",
    "bare_name",
    "guess_tokens",
    "level_named",
    "pieces",
    "provided",
    "refusal",
    "said",
    "shape_named",
)

_REFUSAL_CHARS = 400
"""How much a refusal repeats of what a client sent, at most."""
_BYTES_PER_TOKEN = 4
_EFFORTS: Final[Mapping[str, ThinkingLevel]] = {
    "none": "off",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "xhigh",
}
ANY_OBJECT: Final = OutputShape("answer", {"type": "object"})
"""What an answer looks like that has to be JSON and nothing else."""
USUAL_TIERS: Final = (None, "auto", "default")
"""Tiers of service that ask for nothing special, as OpenAI names them."""


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
    thinking: ThinkingLevel | None = None
    """How much the model is to think; None where nothing is said."""
    output: OutputShape | None = None
    """What the answer has to look like."""
    options: Mapping[str, Any] = {}
    """What else is said of how to answer, in the protocol's own words: another protocol has none, or others."""
    unheard: tuple[str, ...] = ()
    """What is asked for and no server door does."""


def level_named(effort: object, protocol: str) -> ThinkingLevel | None:
    """Returns how much thinking a word stands for; None for none.

    Raises:
        InvalidRequest: it is no such word.
    """
    if effort is None:
        return None
    found = _EFFORTS.get(effort) if isinstance(effort, str) else None
    if found is None:
        raise refusal(f"there is no effort {effort!r}: there is {', '.join(_EFFORTS)}", protocol)
    return found


def shape_named(name: object, schema: object, protocol: str) -> OutputShape:
    """Returns what an answer has to look like.

    Raises:
        InvalidRequest: there is no schema.
    """
    if not isinstance(schema, dict):
        raise refusal("an answer is to fit a schema, and there is none", protocol)
    return OutputShape(name if isinstance(name, str) and name else "answer", cast("dict[str, Any]", schema))


def said(request: object, names: Iterable[str]) -> dict[str, Any]:
    """Returns which of these fields of a request say something."""
    return {name: value for name in names if (value := getattr(request, name)) is not None}


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
