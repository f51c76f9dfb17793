"""Mends damaged JSON of tool arguments, where there is only one thing it can have meant.

Mended: a byte order mark; a code fence or a sentence around the one object; commas before a closing bracket;
strings in single quotes and `True`, `False`, `None`, as Python writes them; raw control characters in strings;
closing brackets that are missing at the very end.

Never mended, because something would have to be made up: a string that is cut off (a `write` of half a file must
not run), a number at the very end (its digits may be missing), a missing value, key, quote, colon or comma,
unquoted words, comments, a key twice. The answer is then None and the model is told that its JSON is damaged.
"""

from __future__ import annotations

import json
import re

import msgspec

__all__ = ("repair_json",)

_DEPTH = 100
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])", re.ASCII)
_WORD = re.compile(r"(?:true|false|null|True|False|None)(?!\w)")
_WORDS = {"True": "true", "False": "false", "None": "null"}
_STRING = {
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
}
_ESCAPES = {
    # What JSON and Python both read alike; `\'` is not JSON, but nothing else can be meant by it.
    '"': re.compile(r"(?:[^\\]++|\\(?:[\"\\/bfnrt']|u[0-9a-fA-F]{4}))*+", re.DOTALL),
    "'": re.compile(
        r"(?:[^\\]++|\\(?:[\"\\bfnrt']|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U(?:000[0-9a-fA-F]|0010)[0-9a-fA-F]{4}))*+",
        re.DOTALL,
    ),
}
_SPECIAL = re.compile(r'\\(?:x(..)|U(.{8})|.)|"', re.DOTALL)
_CONTROLS = {code: json.dumps(chr(code))[1:-1] for code in range(32)}
_AROUND = re.compile(r'[{}\[\]"]')
"""What text beside the object may not hold: it could be a part of the object, or another one."""

_check = msgspec.json.Decoder(dict[str, object])


class _Unsure(Exception):
    pass


def repair_json(text: str, *, cut: bool = False) -> str | None:
    """Returns the JSON object that the text was meant to be, or None when that is not certain.

    A whole object comes back as it is. With `cut` the answer is known to have been cut off, and nothing that is
    missing at its end is added.
    """
    if _is_object(text):
        return text
    body = text.removeprefix("\ufeff")
    start = body.find("{")
    if start < 0 or _AROUND.search(body, 0, start):
        return None
    try:
        mended = _Mender(body, start, cut=cut).run()
    except _Unsure:
        return None
    return mended if _is_object(mended) else None


def _is_object(text: str) -> bool:
    try:
        _check.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return False
    return True


class _Mender:
    """Reads one object and writes it again as JSON."""

    def __init__(self, text: str, start: int, *, cut: bool) -> None:
        self.text = text
        self.at = start
        self.cut = cut
        self.out: list[str] = []
        self.open: list[str] = []
        """The brackets that would close what is open, outermost first."""
        self.keys: list[set[str]] = []

    def run(self) -> str:
        self._value()
        while self.open:
            if self._ends():
                self._close_rest()
                return "".join(self.out)
            self._next()
        if _AROUND.search(self.text, self.at):
            raise _Unsure
        return "".join(self.out)

    def _ends(self) -> bool:
        """Skips space and tells whether that was all."""
        self.at = self._skip()
        return self.at == len(self.text)

    def _skip(self) -> int:
        match = _SPACE.match(self.text, self.at)
        return match.end() if match else self.at

    def _close_rest(self) -> None:
        if self.cut or self.out[-1][-1] not in '"}]el':
            raise _Unsure
        self.out.extend(reversed(self.open))

    def _next(self) -> None:
        """Reads what may follow inside a bracket: its end, or one more entry."""
        closing = self.open[-1]
        fresh = self.out[-1] in "{["
        if self.text[self.at] == closing:
            self._close(closing)
            return
        if not fresh:
            if self.text[self.at] != ",":
                raise _Unsure
            self.at += 1
            if self._ends():
                raise _Unsure
            if self.text[self.at] == closing:
                self._close(closing)
                return
            self.out.append(",")
        if closing == "}":
            self._key()
        self._value()

    def _close(self, closing: str) -> None:
        self.at += 1
        self.open.pop()
        self.keys.pop()
        self.out.append(closing)

    def _key(self) -> None:
        if self.text[self.at] not in "\"'":
            raise _Unsure
        key = self._string()
        name = json.loads(key)
        if name in self.keys[-1] or self._ends() or self.text[self.at] != ":":
            raise _Unsure
        self.keys[-1].add(name)
        self.at += 1
        self.out += (key, ":")

    def _value(self) -> None:
        if self._ends():
            raise _Unsure
        first = self.text[self.at]
        if first in "{[":
            if len(self.open) >= _DEPTH:
                raise _Unsure
            self.at += 1
            self.open.append("}" if first == "{" else "]")
            self.keys.append(set())
            self.out.append(first)
        elif first in "\"'":
            self.out.append(self._string())
        else:
            match = _WORD.match(self.text, self.at) or _NUMBER.match(self.text, self.at)
            if not match:
                raise _Unsure
            self.at = match.end()
            self.out.append(_WORDS.get(match[0], match[0]))

    def _string(self) -> str:
        quote = self.text[self.at]
        match = _STRING[quote].match(self.text, self.at)
        if match is None or not _ESCAPES[quote].fullmatch(match[1]):
            raise _Unsure
        self.at = match.end()
        body = match[1].translate(_CONTROLS)
        if "\\'" in body or quote == "'":
            body = _SPECIAL.sub(_as_json, body)
        return f'"{body}"'


def _as_json(match: re.Match[str]) -> str:
    """Returns how JSON writes an escape, or a bare double quote, of a string in single quotes."""
    if match[0] == '"':
        return '\\"'
    if match[0] == "\\'":
        return "'"
    code = match[1] or match[2]
    return json.dumps(chr(int(code, 16)))[1:-1] if code else match[0]
