"""Takes secrets out of text before it is written down, shown, or read by a model.

Two kinds. What looks like a secret: the word behind `Bearer`, `password=` and the like, and keys that begin with
`sk-` (source: Orloj 3.10). And what is known to be one: every value that was resolved for an authenticated call, as it
is, and as it is written in JSON, in HTML, in a URL, as base64, also within something longer, and in hexadecimal.

Not here: who resolves secrets (`secrets/`), and where text leaves the process.
Invariants: what is clean comes back as the very same object; a text that was redacted stays as it is when it is
redacted again; nothing is ever longer than it was by more than the marks.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, cast, final
from urllib.parse import quote, quote_plus

import msgspec

__all__ = ("MARK", "Redactor")

MARK: Final = "[REDACTED]"
_SHORTEST = 6
"""Characters of a value that is looked for: a shorter one would be found in words that have nothing to do with it."""
_PART = 3
"""Bytes of the beginning or the end of a value that are taken for it where an output is cut."""
_HINTS = ("bearer ", "authorization", "api-key", "api_key", "secret", "password", "token", "sk-")
"""What a text holds, in small letters, in which one of the patterns can be found."""
_WORD = r"[^\s\"'\\,;&<>{}()\[\]]+"
_LOOKS = (
    rf"(\bauthorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|api-?key)\s+)?+|\bbearer\s+"
    rf"|\bx-api-key[\"']?\s*[:=]\s*[\"']?|\bapi[_-]key[\"']?\s*[:=]\s*[\"']?"
    rf"|\b\w*(?:secret|password|token)(?:=[\"']?|[\"']\s*:\s*[\"']))(?!\[REDACTED\]){_WORD}|\bsk-[A-Za-z0-9_-]{{10,}}"
)

_DEEP: Final = 2
"""How often JSON text that holds a value may stand in JSON text again."""
_PERCENT: Final = re.compile("%[0-9A-F]{2}")
_GO: Final = {"&": "\\u0026", "<": "\\u003c", ">": "\\u003e"}
"""How the JSON of Go has what means something in HTML."""
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}


@cache
def _looks() -> re.Pattern[str]:
    return re.compile(_LOOKS, re.IGNORECASE)  # when something is redacted first: it takes a millisecond


@final
class Redactor:
    """Knows the secret values of a process. Tasks may share it; values are only added."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._known: dict[str, None] = {}
        self.learn(*values)

    def learn(self, *values: str) -> None:
        """Takes these values out of every text from now on; one that is shorter than six characters is passed over."""
        for value in values:
            if len(value) >= _SHORTEST and value not in self._known:
                self._known.update(dict.fromkeys(_spellings(value)))

    @property
    def knows(self) -> bool:
        """Whether there is any value that it knows."""
        return bool(self._known)

    def hide(self, text: str) -> str:
        """Returns a text with a mark in the place of each value that is known, and whatever else it holds."""
        # One search for each, and no expression of all: that would take longer to make than most texts to search.
        found = [value for value in tuple(self._known) if value in text]
        return _without(text, found) if found else text

    def spans(self, data: bytes, *, begun: bool = False) -> list[tuple[int, int]]:
        """Returns where known values stand in a part of an output, in order. Where that had `begun` before the part,
        what may be the rest of a value counts, too, if it is three bytes or more.
        """
        found: list[tuple[int, int]] = []
        for value in self._in_bytes():
            at = data.find(value)
            while at >= 0:
                found.append((at, at + len(value)))
                at = data.find(value, at + len(value))
            parts = range(min(len(value) - 1, len(data)), _PART - 1, -1) if begun else ()
            if rest := next((n for n in parts if data.startswith(value[-n:])), 0):
                found.append((0, rest))
        return sorted(found)

    def beginning(self, data: bytes) -> int:
        """Returns how many bytes at the end of a part of an output may become a known value; 0 for less than three."""
        most = 0
        for value in self._in_bytes():
            parts = range(min(len(value) - 1, len(data)), max(most, _PART - 1), -1)
            most = next((n for n in parts if data.endswith(value[:n])), most)
        return most

    def _in_bytes(self) -> list[bytes]:
        return [each.encode("utf-8", "replace") for each in tuple(self._known)]

    @property
    def longest(self) -> int:
        """Bytes of the longest of the values that it knows, in any form."""
        return max(map(len, self._in_bytes()), default=0)

    def clean(self, text: str) -> str:
        """Returns a text with a mark in the place of each secret, known or by its looks."""
        text = self.hide(text)
        lowered = text.lower()
        for hint in _HINTS:
            if hint in lowered:
                return _looks().sub(_marked, text)
        return text

    def clean_data(self, data: Any) -> Any:
        """Returns what JSON can hold with every text in it redacted, the names of its members too."""
        return _mapped(data, self.clean)

    def hide_data(self, data: Any) -> Any:
        """Returns what JSON can hold with every known value in it hidden, in the names of its members too."""
        return _mapped(data, self.hide)


def _without(text: str, values: list[str]) -> str:
    """Returns a text without these: where one begins in another, nothing of either stays."""
    spans: list[tuple[int, int]] = []
    for value in values:
        at = text.find(value)
        while at >= 0:
            spans.append((at, at + len(value)))
            at = text.find(value, at + len(value))
    pieces: list[str] = []
    done = 0
    for start, end in sorted(spans):
        if start >= done:
            pieces += (text[done:start], MARK)
        done = max(done, end)
    return "".join((*pieces, text[done:]))


def _mapped(data: Any, change: Callable[[str], str]) -> Any:
    """Returns data with its texts changed; this does not call itself, so data may nest as deep as it likes."""
    whole: list[Any] = [data]
    work: list[tuple[Any, Any]] = [(whole, 0)]
    while work:
        holder, at = work.pop()
        found: Any = holder[at]
        if isinstance(found, str):
            holder[at] = change(found)
        elif isinstance(found, dict):
            named = {change(str(name)): value for name, value in cast("dict[Any, Any]", found).items()}
            holder[at] = named
            work += [(named, name) for name in named]
        elif isinstance(found, list | tuple):
            items = list(cast("list[Any]", found))
            holder[at] = items
            work += [(items, place) for place in range(len(items))]
        elif isinstance(found, int | float) and change(shown := str(found)) != shown:
            holder[at] = MARK  # a number may be a secret, too
    return whole[0]


def _marked(found: re.Match[str]) -> str:
    return f"{found[1] or ''}{MARK}"


def _spellings(value: str) -> list[str]:
    """Returns a value in the forms in which it travels."""
    import json  # noqa: PLC0415 - when something is learned first

    plain = value.encode("utf-8", "replace").decode()  # half a character is written down so
    in_json = [msgspec.json.encode(plain).decode()[1:-1], json.dumps(plain)[1:-1]]
    in_json += [each.replace("/", "\\/") for each in in_json]  # as PHP writes it
    for _ in range(_DEEP):  # JSON text in JSON text
        in_json += [each.replace("\\", "\\\\").replace('"', '\\"') for each in in_json if "\\" in each]
    forms = [value, plain, *in_json, _replaced(in_json[0], _GO), _replaced(plain, _HTML)]
    in_urls = [quote(plain), quote(plain, safe=""), quote_plus(plain)]
    forms += [*in_urls, *(_PERCENT.sub(lambda found: found[0].lower(), each) for each in in_urls)]
    whole = base64.b64encode(plain.encode()).decode()
    forms += [whole, whole.rstrip("="), whole.rstrip("=").replace("+", "-").replace("/", "_")]
    forms += [form for at in range(3) for form in _within_base64(plain.encode(), at)]
    forms += [plain.encode().hex(), plain.encode().hex().upper()]
    return [form for form in dict.fromkeys(forms) if len(form) >= _SHORTEST and form not in MARK]


def _within_base64(value: bytes, at: int) -> tuple[str, str]:
    """Returns what tells of a value in the base64 of something longer in which it begins at 3 n + `at`."""
    whole = base64.b64encode(bytes(at) + value).decode()[(0, 2, 3)[at] : (at + len(value)) * 8 // 6]
    return whole, whole.replace("+", "-").replace("/", "_")


def _replaced(text: str, signs: Mapping[str, str]) -> str:
    for sign, instead in signs.items():
        text = text.replace(sign, instead)
    return text
