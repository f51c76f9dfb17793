"""Which commands are Python snippets, and what of them is run: everything else is refused in words.

There is no shell, so a line is taken only where a shell would do nothing with it but take the quotes off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from holdfast.errors import SandboxError

__all__ = ("WRAPPER", "Snippet", "snippet_of")

_PIECE = r"""'[^']*'|"[^"$`\\]*"|[\w@%+=:,./-]"""
_QUOTED = re.compile(r"'[^']*'" + r'|"[^"]*"')
_WORD = re.compile(f"(?:{_PIECE})++")
_PLAIN = re.compile(f"(?:{_PIECE}|[ \\t])++")
"""Nothing is tried twice: the time it takes grows no faster than the line."""
_PYTHON = re.compile(r"(?:[^\0]*/)?python(?:3(?:\.\d+)?)?")
_MEANINGLESS = frozenset(("-B", "-E", "-I", "-P", "-S", "-q", "-s", "-u"))
"""Options of Python about what is not there: files to write, variables, folders to import from."""
_REFUSED = "the wasm backend runs Python snippets only: python -c '...' or python file.py; use native for programs"

WRAPPER: Final = """
import linecache, os, sys, traceback


class _Nowhere(type(sys.stdout)):
    def write(self, text):
        return len(text)


def _run(code, name, argv, env, errors):
    sys.argv = argv
    os.environ.clear()
    os.environ.update(env)
    if not errors:
        sys.stderr = _Nowhere(lambda text: None)
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return (left.code or 0) & 0xFF
        print(left.code, file=sys.stderr)
        return 1
    except MemoryError:
        raise
    except BaseException as error:
        trace = error.__traceback__.tb_next
        traceback.print_exception(type(error), error, trace)
        return 1
    finally:
        sys.stdout.flush()
    return 0


result = _run(**inputs)
"""
"""What runs one in the interpreter as `python` would: with arguments, variables, an exit code, and errors printed."""


class Snippet(msgspec.Struct, frozen=True):
    """A Python program."""

    argv: tuple[str, ...]
    """What it finds in `sys.argv`."""
    code: str | None = None
    """None where it is the content of the file that `argv` begins with."""

    def inputs(self, code: str, env: Mapping[str, str], *, errors: bool) -> dict[str, Any]:
        """Returns what `WRAPPER` gets."""
        name = "<string>" if self.code is not None else self.argv[0]
        return {"code": code, "name": name, "argv": list(self.argv), "env": dict(env), "errors": errors}


def snippet_of(command: str | Sequence[str]) -> Snippet:
    """Returns what of a command is to be run.

    Raises:
        SandboxError: it is something else than a Python program in one piece.
    """
    if isinstance(command, str) and not _PLAIN.fullmatch(command := command.rstrip()):
        raise SandboxError(f"{_REFUSED} (there is no shell in it: quote the code in '...', and do nothing else)")
    words = _split(command) if isinstance(command, str) else list(command)
    if not words or not _PYTHON.fullmatch(words[0]):
        raise SandboxError(f"{_REFUSED} (this is {words[0]!r})" if words else _REFUSED)
    at = 1
    while at < len(words) and words[at] in _MEANINGLESS:
        at += 1
    rest = words[at:]
    if len(rest) >= 2 and rest[0] == "-c":
        return Snippet(("-c", *rest[2:]), rest[1])
    if not rest or rest[0].startswith("-"):
        what = rest[0] if rest else "nothing to run: standard input is empty"
        raise SandboxError(f"{_REFUSED} (it was given {what!r})")
    return Snippet(tuple(rest))


def _split(line: str) -> list[str]:
    """Returns the words of a line of plain ones, without their quotes; `shlex` takes a minute for a long word."""
    return [_QUOTED.sub(lambda found: found[0][1:-1], word) for word in _WORD.findall(line)]
