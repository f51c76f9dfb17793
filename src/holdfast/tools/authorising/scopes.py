"""Scopes: which arguments a tool may be called with.

A scope is about one argument, found by its dotted name: `url`, `target.host`, `files.*.path`, where `*` is each item
of a list. Its value has to be among what `allow` says, where that says anything, and among nothing that `deny` says.
Where the argument is missing, is none of the tool's, is of another type, or cannot be read in one way only, the call is
denied: who cannot tell what a call does cannot say yes to it.

    kind       what it reads                                   a pattern                        see
    url        http and https, in one spelling                 https://*.example.com/v1         matching/urls.py
    path       relative to the workspace, or absolute          src/**                           matching/paths.py
    text       the very text                                   release-*                        matching/texts.py
    number     as written; no text with a number in it         1..10                            matching/texts.py
    command    one program and its words, nothing of a shell   git log *                        matching/commands.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal, NoReturn, cast

import msgspec

from holdfast.tools.authorising.decision import Check, Objection
from holdfast.tools.authorising.parameters import unknown_argument

__all__ = ("ArgumentScope", "Kind", "arguments_of", "compile_scope", "scope_faults")

Kind = Literal["url", "path", "text", "number", "command"]

_SHOWN: Final = 120
"""Characters of a value that a refusal shows."""
_MOST_SHOWN: Final = 5
_MOST_PATTERNS: Final = 1000


@cache
def _kinds() -> Mapping[str, tuple[Callable[[object, str], Any], Callable[..., Callable[[Any], bool]]]]:
    """Returns how an argument of each kind is read, and a pattern compiled; without a policy none is loaded."""
    from holdfast.tools.authorising.matching import commands, paths, texts, urls  # noqa: PLC0415 - with the first

    return {
        "url": (urls.url_of, urls.compile_url),
        "path": (paths.path_of, paths.compile_path),
        "text": (texts.text_of, texts.compile_text),
        "number": (texts.number_of, texts.compile_number),
        "command": (commands.command_of, commands.compile_command),
    }


class ArgumentScope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one argument of a tool may be."""

    argument: str = ""
    """Its dotted name; `*` stands for each item of a list."""
    kind: Kind = "text"
    allow: tuple[str, ...] = ()
    """Patterns, one of which it has to fit; empty for anything that is not denied."""
    deny: tuple[str, ...] = ()
    """Patterns of which it may fit none."""
    verdict: Literal["deny", "approval_required"] = "deny"
    """What becomes of a call whose argument is outside."""


def scope_faults(scope: ArgumentScope) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yields what is wrong with a scope: where, and what to do."""
    if not scope.argument or not all(scope.argument.split(".")):
        yield ("argument",), "it names no argument: write one like `url`, `target.host` or `files.*.path`"
    if scope.kind not in _kinds():
        yield ("kind",), f"there is no kind {scope.kind!r}: write {', '.join(_kinds())}"
        return
    if not scope.allow and not scope.deny:
        yield (), "it allows and denies nothing: write patterns after `allow` or `deny`"
    elif scope.kind == "command" and not scope.allow:
        yield ("deny",), "a list of commands that may not be run stops nobody: name those that may be run in `allow`"
    if len(scope.allow) + len(scope.deny) > _MOST_PATTERNS:
        yield (), f"it has more than {_MOST_PATTERNS:,} patterns: write what they have in common"
    if scope.verdict not in ("deny", "approval_required"):
        yield ("verdict",), "what is outside is denied or asked about: write deny or approval_required"
    compiled = _kinds()[scope.kind][1]
    for name, patterns in (("allow", scope.allow), ("deny", scope.deny)):
        for at, pattern in enumerate(patterns):
            try:
                compiled(pattern, denies=name == "deny")
            except ValueError as error:
                yield (name, at), str(error)


class _Unreadable(Exception):
    """The arguments are not what a scope needs to judge them."""


def compile_scope(scope: ArgumentScope, tool: str, parameters: Mapping[str, Any] | None = None) -> Check:
    """Returns what looks at the arguments of each call of that tool. Where its `parameters`, a JSON Schema, have no
    such argument, it denies them all: what a call says under that name is not what the tool will read.

    Raises:
        ValueError: the scope has a fault (`scope_faults`).
    """
    read, compiled = _kinds()[scope.kind]
    allow = [compiled(each, denies=False) for each in scope.allow]
    deny = [(each, compiled(each, denies=True)) for each in scope.deny]
    path, name = tuple(scope.argument.split(".")), f"the {scope.kind} {scope.argument!r} of {tool!r}"
    allowed = _listed(scope.allow)
    if wrong := unknown_argument(parameters or {}, scope.argument):
        never = Objection("deny", f"{name}: {wrong}", "have the scope name an argument of the tool")
        return lambda arguments, root: never

    def check(arguments: object, root: str) -> Objection | None:
        try:
            for value in _reached(arguments, path):
                seen = _read(read, value, root)
                said = next((pattern for pattern, fits in deny if fits(seen)), None)
                if said is None and (not allow or any(fits(seen) for fits in allow)):
                    continue
                why = f"is not among {allowed}" if said is None else f"is what {said!r} denies"
                advice = f"call it with one of {allowed}" if said is None else "call it with another one"
                return Objection(scope.verdict, f"{name}, {_shown(scope.kind, value, seen)}, {why}", advice)
        except _Unreadable as error:
            # Of a command that is no plain one a person can say something; of the others they see what we cannot read.
            judged = scope.kind == "command" and not error.args[1:]
            return Objection(scope.verdict if judged else "deny", f"{name}: {error.args[0]}", "call it without that")
        return None

    return check


def arguments_of(arguments: object) -> object:
    """Returns the arguments of a call as scopes read them: text is read as JSON, with numbers as they are written.

    None where it is no JSON that everybody reads alike: a name that stands twice is read by some as its first value and
    by others as its last.
    """
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}", object_pairs_hook=_once, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _read(read: Callable[[object, str], Any], value: object, root: str) -> Any:
    try:
        return read(value, root)
    except TypeError as error:
        raise _Unreadable(f"it is not {error}", "type") from None
    except ValueError as error:
        raise _Unreadable(str(error)) from None


def _reached(value: object, path: tuple[str, ...], at: int = 0) -> Iterator[object]:
    """Yields the values that a dotted name leads to; at least one."""
    if at == len(path):
        yield value
        return
    part, before = path[at], ".".join(path[:at]) or "the arguments"
    if part == "*":
        if not isinstance(value, list | tuple):
            raise _Unreadable(f"{before} is not a list", "type")
        items = cast("list[object]", value)
        if not items:
            raise _Unreadable(f"{before} is empty", "missing")
        for each in items:
            yield from _reached(each, path, at + 1)
        return
    if not isinstance(value, Mapping):
        raise _Unreadable(f"{before} cannot be read: it is no object, or a name stands twice in it", "type")
    known = cast("Mapping[str, object]", value)
    if part not in known:
        raise _Unreadable(f"{'.'.join(path[: at + 1])} is missing", "missing")
    yield from _reached(known[part], path, at + 1)


def _listed(patterns: tuple[str, ...]) -> str:
    left = len(patterns) - _MOST_SHOWN
    return ", ".join(patterns[:_MOST_SHOWN]) + (f" and {left} more" if left > 0 else "")


def _shown(kind: str, value: object, seen: object) -> str:
    """Returns a value for the eye; of a URL without its query, which may hold a key."""
    text = str(seen) if kind in ("url", "number") else value if isinstance(value, str) else json.dumps(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
