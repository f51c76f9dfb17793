"""Where this user's interpreter is kept, and interpreters that all of a process use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from holdfast.sandbox.snippets.wasm import WasmInterpreter

__all__ = ("interpreter_folder", "shared_interpreter")


def interpreter_folder() -> Path:
    """Returns the folder in this user's cache; it need not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "holdfast" / "interpreter"


@cache
def shared_interpreter(purpose: str) -> WasmInterpreter:
    """Returns the interpreter that this process uses for that.

    Each purpose has threads of its own: what waits in one for something else never keeps that from running.

    Raises:
        IsolationMissing: the extra `wasm` is not installed.
    """
    return WasmInterpreter(interpreter_folder())
