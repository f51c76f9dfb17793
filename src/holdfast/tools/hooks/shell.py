"""What a line of shell says, as far as that can be told without running it.

A guardrail: it reads quotes, backslashes, operators and redirections as bash does, looks into `$(...)`, and undoes what
spells a plain word differently. What a variable holds, or a program prints, nobody can know before it runs; the wall is
the sandbox.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

__all__ = ("commands", "flattened", "paths_in")

_OPERATORS = ";&|()<>\n"
_INNER = re.compile(r"\$\(|`|<\(|>\(")
_LONGEST = 20_000
"""Characters that are read; a longer line is judged by its beginning, and as it is written."""
_ANSI = re.compile(r"\$'((?:[^'\\]|\\.)*)'")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{1,4}|.)")
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def commands(line: str) -> list[list[str]]:
    """Returns the words of each command in a line, quotes and backslashes undone; one that cannot be read as bash
    would read it is parted at blanks.
    """
    line = _ANSI.sub(lambda found: "'" + _unescaped(found[1]).replace("'", "'\\''") + "'", line[:_LONGEST])
    line = line.replace("\\\n", "")
    found: list[list[str]] = []
    for part in _INNER.sub(" ; ", line).split("\n"):
        words: list[str] = []
        for word in _words(part):
            if word and set(word) <= set(_OPERATORS):
                found.append(words)
                words = [">"] if ">" in word or "<" in word else []
            else:
                words.append(word)
        found.append(words)
    return [words for words in found if words]


def _words(part: str) -> list[str]:
    lexer = shlex.shlex(part, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed
        return re.sub(r"[\"'\\]", "", part).split()


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        told = found[1]
        if told[0] in "xu":
            return chr(int(told[1:], 16)) if len(told) > 1 else told
        if told[0] in "01234567":
            return chr(int(told, 8) & 0xFF)
        return _NAMED.get(told, told)

    return _ESCAPE.sub(plain, text)


def flattened(line: str) -> str:
    """Returns a line with single blanks between its words, and no quotes and backslashes, to look for a pattern in."""
    return " ; ".join(" ".join(words) for words in commands(line))


def paths_in(line: str) -> Iterator[str]:
    """Yields each word of a line that may be a path: with a slash, `..`, `~`, also behind `=` or a redirection."""
    for words in commands(line):
        redirected = words[0] == ">"
        for place, word in enumerate(words):
            for part in (word, *word.split("=")[1:], *_behind_option(word)):
                if "/" in part or part in (".", "..") or part.startswith("~") or (redirected and place == 1):
                    yield part


def _behind_option(word: str) -> list[str]:
    """Returns what stands behind a short option without a blank between, as in `-C/etc`."""
    return [word[2:]] if len(word) > 2 and word[0] == "-" and word[1] != "-" else []
