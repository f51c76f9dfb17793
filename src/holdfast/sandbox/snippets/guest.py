"""What runs inside the interpreter: takes a snippet, runs it, and says what came of it.

This file becomes part of the WebAssembly component (`building.py`), so it imports the standard library only. It is no
part of the isolation: a snippet may change anything in here, and all it gains is a wrong answer about itself. Whoever
reads that answer outside treats it as a stranger's.
"""

import ast
import gc
import importlib
import io
import json
import linecache
import random
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ("answer", "preload")

_NAME = "<snippet>"
_EAGER = 64
"""Lines that leave at once; what is printed after them leaves in pieces."""
_PIECE = 4096
"""Characters."""
_LONGEST = 16_000
"""Characters of a traceback that are kept; its end says what happened."""
_SPARED = frozenset({"antigravity", "ensurepip", "idlelib", "test", "this", "tkinter", "turtle", "turtledemo", "venv"})
"""Modules that do something when they are imported, or are of no use here."""
_WITHIN = (
    "collections.abc",
    "concurrent.futures",
    "email.message",
    "html.parser",
    "importlib.resources",
    "os.path",
    "urllib.error",
    "urllib.parse",
    "xml.etree.ElementTree",
)
"""Modules in packages that snippets import."""


class _Printed(io.TextIOBase):
    """Sends out what is printed."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._kept: list[str] = []
        self._length = 0
        self._sent = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._kept.append(text)
        self._length += len(text)
        if self._length >= _PIECE or (self._sent < _EAGER and "\n" in text):
            self.flush()
        return len(text)

    def flush(self) -> None:
        text, self._kept, self._length = "".join(self._kept), [], 0
        self._sent += 1
        # What no encoding can say would end the interpreter on its way out.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        for at in range(0, len(text), 1 << 16):
            self._send(text[at : at + (1 << 16)])


def answer(request: str, send: Callable[[str], None], call: Callable[[str, str], str]) -> str:
    """Runs the snippet of a request, and returns how it ended; both are JSON."""
    asked = json.loads(request)
    random.seed(asked["seed"])
    printed = _Printed(send)
    sys.stdout = sys.stderr = printed
    sys.stdin = io.StringIO()

    def call_out(name: str, arguments: Any = None) -> Any:
        """Calls what the host offers under this name."""
        printed.flush()
        came = json.loads(call(name, json.dumps(arguments)))
        if "error" in came:
            raise RuntimeError(came["error"])
        return came["answer"]

    names = {"__name__": "__main__", "inputs": asked["inputs"], "call": call_out}
    found = _outcome(asked["code"], names)
    printed.flush()
    return found


def _outcome(code: str, names: dict[str, Any]) -> str:
    try:
        value = _run(code, names)
        said = json.dumps({"ended": "ok", "answer": value}, allow_nan=False, ensure_ascii=False)
        said.encode()  # half a character is no text
        return said
    except SystemExit as left:
        if left.code in (None, 0):
            return json.dumps({"ended": "ok", "answer": None})
        return json.dumps({"ended": "error", "error": f"SystemExit: {left.code}"})
    except MemoryError as error:
        names.clear()  # room for what follows
        return json.dumps({"ended": "memory", "error": _told(error)})
    except BaseException as error:  # noqa: BLE001 - whatever a snippet raises is its answer
        return json.dumps({"ended": "error", "error": _told(error)})


def _run(code: str, names: dict[str, Any]) -> Any:
    linecache.cache[_NAME] = (len(code), None, code.splitlines(keepends=True), _NAME)
    tree = ast.parse(code, _NAME)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, _NAME, "exec"), names)
    value = None
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), _NAME, "eval"), names)
    return names.get("result") if value is None else value


def _told(error: BaseException) -> str:
    """Returns the traceback from the snippet's own lines on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != _NAME:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return text[-_LONGEST:].encode("utf-8", "backslashreplace").decode("utf-8")


def preload() -> None:
    """Imports what snippets may import, while there is still a file system; afterwards there is none to look at."""
    found = sorted(name for name in sys.stdlib_module_names - _SPARED if not name.startswith("_"))
    for name in (*found, *_WITHIN):
        with suppress(ImportError, OSError, AttributeError, NotImplementedError):
            importlib.import_module(name)
    sys.path.clear()
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()  # a collection need not look at what is never collected
