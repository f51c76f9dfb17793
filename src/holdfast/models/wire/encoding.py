"""What every wire needs to write JSON that servers take.

Not here: any protocol.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

import msgspec

from holdfast.types import Document, Image

__all__ = ("bytes_of", "data_url", "document_text", "object_text")

_json = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def bytes_of(value: object) -> bytes:
    """Returns a value as JSON; half surrogates, which no JSON can carry, become question marks."""
    try:
        return _json.encode(value)
    except UnicodeEncodeError:
        return _json.encode(_without_surrogates(msgspec.to_builtins(value, enc_hook=_read)))


def object_text(arguments: str) -> str:
    """Returns the JSON object that a call's arguments are sent as.

    A whole object is sent as the model wrote it, no arguments at all are `{}`, and what is no object becomes
    `{"invalid_arguments": "<the text>"}`: servers that parse the history would otherwise refuse the whole
    conversation, and the model still sees what it wrote.
    """
    try:
        _object.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return bytes_of({"invalid_arguments": arguments}).decode() if arguments.strip() else "{}"
    return arguments


def document_text(document: Document) -> str:
    """Returns a plain text document as words between tags, where a protocol has no place for documents."""
    name = f" name={bytes_of(document.name).decode()}" if document.name else ""
    return f"<document{name}>\n{document.text}\n</document>"


def data_url(part: Image | Document) -> str:
    """Returns a file as the address that holds all of it."""
    return f"data:{part.media_type};base64,{b64encode(part.data).decode()}"


def _read(value: Any) -> Any:
    """Returns what JSON says that is kept as it is."""
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise NotImplementedError(f"no JSON is made of {type(value).__name__!r}")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in cast("list[Any]", value)]
    return value
