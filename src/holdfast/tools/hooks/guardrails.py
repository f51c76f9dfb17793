"""Hooks of rules: commands that must not be, paths that may be, tools that are audited (source: AgentOps 3.8).

They stop what is careless, not what is cunning: see `shell.py`. Each refusal is noted under `security`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, cast, final

import msgspec

from holdfast.errors import UsageError
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling
from holdfast.tools.hooks.shell import commands, flattened, paths_in
from holdfast.types import ToolResult

__all__ = ("AllowedPaths", "AuditTools", "BlockedCommands")

_COMMAND = ("command", "cmd", "script")
"""Parameters that hold a line of shell."""
_PATH = re.compile(
    r"(?:.*_)?(?:path|paths|file|files|filename|folder|directory|dir|cwd|root|source|target|destination)"
)
"""Parameters that hold a path, by their names, in small letters with `_` between words."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_AS_FILE = re.compile(r"file:(?://[^/]*)?(?=/)", re.IGNORECASE)
_SHOWN = 500


@final
class BlockedCommands:
    """Refuses lines of shell that hold a pattern, however they are spelled.

    A pattern is a command with the words that make it bad, as `rm -rf` or `git push --force`: the same program, under
    whatever path, with at least these options, in one word or in several, in any order. Besides, any line that holds
    the pattern as a text is refused.
    """

    def __init__(self, *patterns: str) -> None:
        """Takes patterns.

        Raises:
            UsageError: there is none, or one is empty.
        """
        if not patterns or not all(each.strip() for each in patterns):
            raise UsageError("BlockedCommands wants patterns such as 'rm -rf': give at least one, and none empty")
        self._patterns = [(each, commands(each)) for each in patterns]

    def __call__(self, calling: Calling) -> Ruling | None:
        """Returns a refusal of a call whose command holds a pattern."""
        for line in _lines(calling.arguments):
            read, flat = commands(line), flattened(line)
            for pattern, wanted in self._patterns:
                if pattern in line or pattern in flat or any(_matches(words, wanted) for words in read):
                    note = Note("security", "security/blocked_command", f"{pattern}: {line[:_SHOWN]}", (calling.tool,))
                    return Ruling(verdict="deny", reason=f"Blocked command pattern: {pattern}", notes=(note,))
        return None


def _matches(words: list[str], wanted: list[list[str]]) -> bool:
    """Whether a command is one of a pattern: its program somewhere, and behind it all that makes it bad."""
    if len(wanted) != 1:
        return False
    program, *rest = wanted[0]
    for place, word in enumerate(words):
        if PurePosixPath(word).name == program and _covers(words[place + 1 :], rest):
            return bool(rest) or place == 0 or words[place - 1] in _RUNNERS
    return False


_RUNNERS = ("sudo", "env", "exec", "command", "nohup", "xargs", "time", "then", "do", "else", "!", "{")
"""Words behind which a program stands."""


def _covers(words: list[str], wanted: list[str]) -> bool:
    letters = {letter for word in words if _is_short(word) for letter in word[1:]}
    return all(set(each[1:]) <= letters if _is_short(each) else each in words for each in wanted)


def _is_short(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and word[1] != "-"


@final
class AllowedPaths:
    """Refuses calls that name a path outside of some folders: in any argument that is one by its name, however deep it
    lies in others, and in lines of shell, whatever they do with it. Relative paths, and folders, are those of the
    workspace.
    """

    def __init__(self, *folders: str, also: Iterable[str] = ()) -> None:
        """Takes folders, and names of further parameters that hold paths.

        Raises:
            UsageError: there is no folder.
        """
        if not folders or not all(folders):
            raise UsageError("AllowedPaths wants folders: give at least one, for example 'src'")
        self._folders = folders
        self._also = frozenset(also)

    def __call__(self, calling: Calling) -> Ruling | None:
        """Returns a refusal of a call that names a path outside."""
        base = calling.workspace or "/"
        allowed = [os.path.normpath(f"{base}/{each}" if not each.startswith("/") else each) for each in self._folders]
        for path in self._named(calling.arguments):
            if path.startswith("blob:sha256:") and "/" not in path:
                continue  # an output of this session, no file
            whole = _absolute(path, base)
            if not any(whole == each or whole.startswith(each.rstrip("/") + "/") for each in allowed):
                note = Note("security", "security/path_denied", path[:_SHOWN], (calling.tool,))
                return Ruling(verdict="deny", reason=f"Path not in allowed list: {path[:_SHOWN]}", notes=(note,))
        return None

    def _named(self, arguments: dict[str, Any]) -> Iterator[str]:
        for name, text in _named_texts(arguments):
            if _AS_FILE.match(text) or _PATH.fullmatch(_HUMP.sub("_", name).lower()) or name in self._also:
                yield _AS_FILE.sub("", text, count=1)
        for line in _lines(arguments):
            words = (_AS_FILE.sub("", each, count=1) for each in paths_in(line))
            yield from (each for each in words if not _NOT_A_PATH.match(each))


_NOT_A_PATH = re.compile(r"[a-z][a-z0-9+.-]*://|s/|-+[a-z-]*$", re.IGNORECASE)
"""Addresses, substitutions of `sed`, and bare options: not paths, whatever slashes they hold."""


def _absolute(path: str, base: str) -> str:
    if path.startswith("~"):
        return os.path.normpath("/home/~" + path[1:])  # no folder of anybody's is within a workspace
    path = path.replace("\0", "")
    return os.path.normpath(path if path.startswith("/") else f"{base}/{path}")


@final
class AuditTools:
    """Notes each call of some tools with what came of it, under `audit/<tool>`; without names, of all tools."""

    def __init__(self, *tools: str) -> None:
        self._tools = frozenset(tools)

    def __call__(self, calling: Calling, result: ToolResult) -> Finding | None:
        """Returns the note."""
        if self._tools and calling.tool not in self._tools:
            return None
        came = "ok" if result.error is None else f"{result.error.status} ({result.error.code})"
        arguments = msgspec.json.encode(calling.arguments).decode()
        text = f"{calling.agent}: {calling.tool} {arguments[:2_000]} -> {came}"
        return Finding(notes=(Note("audit", f"audit/{calling.tool}", text, (calling.tool,)),))


def _lines(arguments: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of shell that a call holds; a command that is a list of words as the line it would be."""
    work: list[Any] = [arguments]
    while work:
        value = work.pop()
        for name, inner in cast("dict[str, Any]", value).items() if isinstance(value, dict) else ():
            if name.lower() in _COMMAND:
                yield from _commands(inner)
        work += _inside(value)


def _commands(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        words = [each for each in cast("list[Any]", value) if isinstance(each, str)]
        yield from words
        yield shlex.join(words)


def _named_texts(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields each text of a call with the name of the argument that it is, or that it is in a list of."""
    work: list[tuple[str, Any]] = [("", arguments)]
    while work:
        name, value = work.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            work += cast("dict[str, Any]", value).items()
        else:
            work += [(name, each) for each in _inside(value)]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []
