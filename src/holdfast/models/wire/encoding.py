"""What every wire needs to write JSON that servers take.

Not here: any protocol.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

__all__ = ("bytes_of", "object_text")

_json = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def bytes_of(value: object) -> bytes:
    """Returns a value as JSON; half surrogates, which no JSON can carry, become question marks."""
    try:
        return _json.encode(value)
    except UnicodeEncodeError:
        return _json.encode(_without_surrogates(msgspec.to_builtins(value)))


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


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in cast("list[Any]", value)]
    return value
