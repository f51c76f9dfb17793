"""The program around a snippet, and what it says of it: the same without system calls and in a sandbox.

It is no part of the isolation. A snippet may change anything of it, and gains a wrong answer about itself: whoever
reads that answer here takes it for a stranger's.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ("DRIVER", "LONGEST_VALUE", "SCRIPT", "Said", "said_of")

LONGEST_VALUE: Final = 10_000
"""Characters of a value, or of a traceback, that are kept."""

DRIVER: Final = """
import ast, json, linecache, sys, traceback


def _run(code, longest):
    name = "<python>"
    names = {"__name__": "__main__", "__builtins__": __builtins__}
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    value, error, out = None, "", sys.stdout
    try:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        said = "" if value is None else repr(value)
    except SystemExit as left:
        said = ""
        error = "" if left.code in (None, 0) else f"SystemExit: {left.code}"
    except MemoryError:
        names.clear()
        raise
    except BaseException as raised:
        said = ""
        trace = raised.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != name:
            trace = trace.tb_next
        error = "".join(traceback.format_exception(type(raised), raised, trace))
    out.flush()
    kept = {"value": said if len(said) <= longest else said[:longest] + "…", "error": error[-longest:]}
    return {key: text.encode("utf-8", "backslashreplace").decode() for key, text in kept.items()}
"""
SCRIPT: Final = (
    DRIVER
    + """
import os, resource

_code, _longest, _mark, _memory = sys.argv[1:]
del sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(_memory), int(_memory)))
try:
    _said = _run(_code, int(_longest))
except MemoryError:
    _said = {"memory": True}
try:
    sys.__stdout__.flush()
    sys.__stderr__.flush()
finally:
    os.write(1, (_mark + json.dumps(_said, ensure_ascii=False)).encode())
"""
)
"""The whole program in a sandbox: it gets the code as an argument, and says what came of it behind its mark."""


class Said(msgspec.Struct, frozen=True):
    """What a snippet came to."""

    value: str = ""
    """Its last expression, as Python shows it; empty for None and where the last line is none."""
    error: str = ""
    """Its traceback."""
    memory: bool = False
    """Whether it ran out of memory."""


def said_of(answer: object) -> Said | None:
    """Returns what the program around a snippet said, bounded; None where that is no such thing."""
    try:
        said = msgspec.convert(answer, Said)
    except msgspec.ValidationError:
        return None
    most = LONGEST_VALUE + 1
    return Said(said.value[:most], said.error[-most:], said.memory)
