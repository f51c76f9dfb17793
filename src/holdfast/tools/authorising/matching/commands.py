"""Commands as words, and patterns of them.

Only a plain command can be told from its text: one program with its words. Whatever makes a shell do more than that is
refused to be read, also inside double quotes: several commands, redirections, variables, other commands' output,
wildcards, escapes. Where a tool takes a list of words there is no shell, and the words are what they are.

A pattern is words, too: `*` and `?` in one stand for anything but a slash, and never for `..`; a `*` alone as the last
word is any number of words more. There is no list of what may not be run without one of what may: a shell has too
many names for everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from holdfast.tools.authorising.matching.texts import LONGEST, expression_of

__all__ = ("Words", "command_of", "compile_command")

Words = tuple[str, ...]

_MOST: Final = 4096
_OPEN: Final = frozenset(";&|<>()$`\\*?[]{}!#~^")
"""What means something to some shell where it stands without quotes."""
_DOUBLE: Final = frozenset("$`\\!")
"""What means something inside double quotes."""


def command_of(value: object, root: str = "") -> Words:
    """Returns the words of a command, from its text or its list.

    Raises:
        TypeError: it is neither.
        ValueError: a shell would do more with it than run one program; says what to do.
    """
    if isinstance(value, list):
        words = tuple(cast("list[object]", value))
        if not all(isinstance(each, str) for each in words):
            raise TypeError("a command as text, or as a list of words")
        found = cast("Words", words)
    elif isinstance(value, str):
        if len(value) > LONGEST:
            raise ValueError(f"it has {len(value):,} characters, and {LONGEST:,} are the most of a command")
        found = _split(value)
        if found and "=" in found[0]:
            raise ValueError("it begins by setting a variable: run the program alone")
    else:
        raise TypeError("a command as text, or as a list of words")
    if not found or not found[0]:
        raise ValueError("it names no program")
    if len(found) > _MOST or any("\0" in each for each in found):
        raise ValueError(f"it has more than {_MOST:,} words, or a zero byte in one")
    return found


def compile_command(pattern: str, *, denies: bool) -> Callable[[Words], bool]:
    """Returns whether a command is among those that a pattern means; where that denies, the folder of the program does
    not count.

    Raises:
        ValueError: it is no pattern; says what to write.
    """
    words = pattern.split()
    if not words or words[0] == "*":
        raise ValueError("a pattern of commands begins with a program: write one like `git status` or `ls *`")
    more = words[-1] == "*"
    wanted = [_word(each) for each in (words[:-1] if more else words)]

    def fits(command: Words) -> bool:
        if len(command) < len(wanted) or (len(command) > len(wanted) and not more):
            return False
        given = (command[0].rpartition("/")[2], *command[1:]) if denies else command
        return all(fit(word) for fit, word in zip(wanted, given, strict=False))

    return fits


def _word(pattern: str) -> Callable[[str], bool]:
    if not any(sign in pattern for sign in "*?"):
        return lambda word: word == pattern
    found = expression_of(pattern, "[^/]")
    return lambda word: ".." not in word.split("/") and found.fullmatch(word) is not None


def _split(text: str) -> Words:
    """Returns the words of a command as every shell reads them.

    Raises:
        ValueError: shells do more with it than reading words.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    for sign in text:
        if quote:
            if sign == quote:
                quote = ""
            else:
                _check(sign, _DOUBLE if quote == '"' else frozenset())
                cast("list[str]", word).append(sign)
        elif sign in "'\"":
            quote, word = sign, [] if word is None else word
        elif sign in " \t":
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            _check(sign, _OPEN)
            word = [] if word is None else word
            word.append(sign)
    if quote:
        raise ValueError("a quote in it is not closed")
    return tuple(words) if word is None else (*words, "".join(word))


def _check(sign: str, special: frozenset[str]) -> None:
    if sign in special or not sign.isprintable():
        raise ValueError(f"a shell does more with {sign!r} than run one program: run it alone, or quote with '…'")
