"""Arguments of a command, each written as a template over the JSON input of a call. One template is one argument.

    {path}              the value, or nothing where there is none
    {a.b[0].c}          what lies in it
    --depth={n?}        left out as a whole where `n` is nothing
    {flags!}            may begin with a dash
    {{ and }}           a brace

Text stands as it is, numbers and the rest as JSON. An argument that comes out empty is left out. What a model fills in
must not become an option of the program: where an argument begins with a dash, and the dash is a value's, it is refused
unless the template says `!`. There is no shell, so nothing else in a value means anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.binding import ToolFailure

__all__ = ("LONGEST", "Template", "argv_of")

LONGEST: Final = 4096
"""Bytes of a whole command line, with the end of each argument (source: Orloj 3.4)."""

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_PLACE = re.compile(rf"\{{({_NAME}(?:\.{_NAME}|\[[0-9]{{1,6}}\])*)(\?!|!\?|\?|!|)\}}")
_STEP = re.compile(rf"{_NAME}|[0-9]+")


class _Value(msgspec.Struct, frozen=True, gc=False):
    """What is put in from the input."""

    path: str
    steps: tuple[str | int, ...]
    may_be_option: bool
    required: bool

    def of(self, data: Mapping[str, Any]) -> str:
        found: Any = data
        for step in self.steps:
            found = _inside(found, step)
        if found is None:
            return ""
        if isinstance(found, str):
            return found
        try:
            return msgspec.json.encode(found).decode()
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise _refused(f"{self.path!r} cannot be written as text") from None


class Template(msgspec.Struct, frozen=True, gc=False):
    """One argument."""

    pieces: tuple[str | _Value, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """Returns what a text means.

        Raises:
            UsageError: it is no template; says where.
        """
        pieces: list[str | _Value] = []
        plain, at = "", 0
        while at < len(text):
            if text[at : at + 2] in ("{{", "}}"):
                plain, at = plain + text[at], at + 2
            elif text[at] not in "{}":
                plain, at = plain + text[at], at + 1
            elif (found := _PLACE.match(text, at)) is not None:
                pieces += [plain] if plain else []
                pieces.append(_value(found[1], found[2]))
                plain, at = "", found.end()
            else:
                raise UsageError(
                    f"the argument {text[:80]!r} has a brace at {at} that begins no value: write {{name}}, "
                    "{name.part[0]}, with ? or ! before the last brace, or two braces for one"
                )
        if "\0" in text:
            raise UsageError("an argument holds NUL, which no program can be given")
        return cls((*pieces, plain) if plain else tuple(pieces))

    def fill(self, data: Mapping[str, Any]) -> str | None:
        """Returns the argument; None where it is left out.

        Raises:
            ToolFailure: a value may not, or cannot, be passed on.
        """
        text, suspect = "", ""
        for piece in self.pieces:
            if isinstance(piece, str):
                part = piece
            else:
                part = piece.of(data)
                if not part and piece.required:
                    return None
                if "\0" in part:
                    raise _refused(f"{piece.path!r} holds NUL, which no program can be given")
                if not text and not piece.may_be_option:
                    suspect = suspect or piece.path  # also where it is empty, and what comes after it is first then
            if not text and part.startswith("-") and suspect:
                raise _refused(
                    f"with this {suspect!r} the argument begins with a dash, and the program would take it for an "
                    "option: write it another way, such as ./-name for a file"
                )
            text += part
        return text or None


def _refused(why: str) -> ToolFailure:
    return ToolFailure(why, code="invalid_input")


def _value(path: str, marks: str) -> _Value:
    steps = tuple(int(each) if each.isdigit() else each for each in _STEP.findall(path))
    return _Value(path, steps, "!" in marks, "?" in marks)


def _inside(found: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return cast("Mapping[str, Any]", found).get(step) if isinstance(found, Mapping) else None
    if isinstance(found, list | tuple):
        items = cast("Sequence[Any]", found)
        return items[step] if step < len(items) else None
    return None


def argv_of(program: str, templates: Sequence[Template], data: Mapping[str, Any]) -> list[str]:
    """Returns the command line of a call.

    Raises:
        ToolFailure: a value may not, or cannot, be passed on, or it is too long as a whole.
    """
    argv, left = [program], LONGEST - len(program.encode()) - 1  # an image may have a program of its own: ''
    for template in templates:
        if (argument := template.fill(data)) is None:
            continue
        try:
            left -= len(argument.encode()) + 1
        except UnicodeEncodeError:
            raise _refused("a value holds half a character, which is no text") from None
        if left < 0:
            raise _refused(f"the command would have more than {LONGEST:,} bytes: give it less, or as a file")
        argv.append(argument)
    return argv
