"""An error as one line of text, which other programs read, too, and the reader of such lines.

    tool_status=error tool_code=timeout tool_reason=tool_execution_timeout retryable=true message=too slow host=a1

The details stand behind the message, in the order of their names (source: Orloj 3.1). A value stands as it is where
it is words with single spaces between them; one that could be taken for something else is written as a JSON string, and
so is a name. So whatever a peer says, the line is read back as what was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast.types import ToolError

__all__ = ("Told", "shortened", "told", "told_in")

_SHOWN: Final = 400
"""Characters of a message or a detail."""
_DETAILS: Final = 20
_NAME: Final = re.compile(r"[\w.-]+")
_BARE: Final = re.compile(r'[^\s"=]+(?: [^\s"=]+)*')
_KEY: Final = r'(?:[\w.-]+|"(?:[^"\\]|\\.)*")='
_PAIR: Final = re.compile(rf'({_KEY})("(?:[^"\\]|\\.)*"|[^\s"=]+(?: (?!{_KEY})[^\s"=]+)*)(?: |$)')
_BEGINS: Final = re.compile(r"\btool_status=(?:error|denied) ")


class Told(msgspec.Struct, frozen=True):
    """What a line says."""

    error: ToolError
    message: str = ""
    details: dict[str, str] = {}


def told(
    error: ToolError, message: str = "", details: Mapping[str, Any] | None = None, hide: Callable[[str], str] = str
) -> str:
    """Returns an error in one line; `hide` takes secrets out of its texts before they are cut."""
    shown = shortened(error, message, details or {}, hide)
    pairs = {
        "tool_status": shown.error.status,
        "tool_code": shown.error.code,
        "tool_reason": shown.error.reason,
        "retryable": str(shown.error.retryable).lower(),
        "message": shown.message,
    }
    words = [f"{name}={_value(value)}" for name, value in pairs.items()]
    return " ".join([*words, *(f"{_name(name)}={_value(value)}" for name, value in shown.details.items())])


def told_in(text: str) -> Told | None:
    """Returns what a line says that stands in a text, up to the text's end; None where there is none."""
    found = _BEGINS.search(text)
    if found is None:
        return None
    pairs, place = list[tuple[str, str]](), found.start()
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return None
        pairs.append((_read(pair[1][:-1]), _read(pair[2])))
        place = pair.end()
    head, details = dict(pairs[:5]), dict(pairs[5:])
    status = head.get("tool_status")
    if list(head) != ["tool_status", "tool_code", "tool_reason", "retryable", "message"]:
        return None
    kind: Literal["error", "denied"] = "denied" if status == "denied" else "error"
    error = ToolError(head["tool_code"], head["tool_reason"], kind, retryable=head["retryable"] == "true")
    return Told(error, head["message"], details)


def shortened(error: ToolError, message: str, details: Mapping[str, Any], hide: Callable[[str], str] = str) -> Told:
    """Returns as much of an error as a line holds."""

    def clean(value: object) -> str:
        return _clean(hide(value if isinstance(value, str) else _as_text(value)))

    names = sorted(details)[:_DETAILS]
    return Told(
        ToolError(clean(error.code), clean(error.reason), error.status, retryable=error.retryable),
        clean(message),
        {clean(name): clean(details[name]) for name in names},
    )


def _clean(text: str) -> str:
    return text[:_SHOWN].encode("utf-8", "replace").decode()  # half a character cannot be written down


def _as_text(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return repr(value)


def _value(text: str) -> str:
    return text if _BARE.fullmatch(text) else msgspec.json.encode(text).decode()


def _name(text: str) -> str:
    return text if _NAME.fullmatch(text) else msgspec.json.encode(text).decode()


def _read(text: str) -> str:
    return msgspec.json.decode(text, type=str) if text.startswith('"') else text
