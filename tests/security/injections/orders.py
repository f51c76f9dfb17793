"""How the calls that an attacker wants stand in a text, and how a model that does whatever it reads finds them."""

from __future__ import annotations

import base64
import codecs
import html
import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from holdfast.testing import Call

__all__ = ("ENCODINGS", "found_in", "hidden_in")

_FRAME = re.compile(r"NOTE7(.*?)7ETON", re.DOTALL)
_BLANKS = str.maketrans({"0": "\u200b", "1": "\u200c"})
Encoding = tuple[Callable[[str], str], Callable[[str], str]]


def _reversed(text: str) -> str:
    return text[::-1]


def _invisible(text: str) -> str:
    return "".join(f"{byte:08b}" for byte in text.encode()).translate(_BLANKS)


def _visible(text: str) -> str:
    bits = text.replace("\u200b", "0").replace("\u200c", "1")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).decode()


def _tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(each)) for each in text)


def _untagged(text: str) -> str:
    return "".join(chr(ord(each) - 0xE0000) for each in text)


def _wide(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


def _narrow(text: str) -> str:
    return "".join(chr(ord(each) - 0xFEE0) if "\uff01" <= each <= "\uff5e" else each for each in text)


ENCODINGS: dict[str, Encoding] = {
    "plain": (str, str),
    "base64": (lambda text: base64.b64encode(text.encode()).decode(), lambda text: base64.b64decode(text).decode()),
    "hex": (lambda text: text.encode().hex(), lambda text: bytes.fromhex(text).decode()),
    "rot13": (lambda text: codecs.encode(text, "rot13"), lambda text: codecs.decode(text, "rot13")),
    "url": (lambda text: quote(text, safe=""), unquote),
    "html": (lambda text: "".join(f"&#{ord(each)};" for each in text), html.unescape),
    "reversed": (_reversed, _reversed),
    "right-to-left": (
        lambda text: f"\u202e{_reversed(text)}\u202c",
        lambda text: _reversed(text.strip("\u202e\u202c")),
    ),
    "zero-width": (_invisible, _visible),
    "tag-characters": (_tags, _untagged),
    "fullwidth": (_wide, _narrow),
}
"""Each with what undoes it."""


def hidden_in(text: str, calls: Sequence[tuple[str, Any, str]], encoding: str = "plain") -> str:
    """Returns a text whose `{order}` is the calls, as the encoding writes them."""
    order = ENCODINGS[encoding][0](json.dumps(calls, ensure_ascii=encoding != "plain"))
    return text.replace("{order}", f"NOTE7{order}7ETON")


def found_in(text: str, encoding: str = "plain") -> list[Call]:
    """Returns the calls that a text wants; none where it wants none. A text in JSON text is unpacked first."""
    for found in reversed(_FRAME.findall(text)):
        told = found
        for _ in range(4):
            try:
                calls = json.loads(ENCODINGS[encoding][1](told))
                return [Call(name, arguments, id) for name, arguments, id in calls]
            except ValueError:
                try:
                    told = json.loads(f'"{told}"')
                except ValueError:
                    break
    return []
