"""Where a snippet is run: without system calls where that can be had, else in the sandbox of the run, else nowhere.

In both it has an interpreter of its own and an empty folder or none, and nothing of it stays.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import LazyBackend
from holdfast.sandbox.environment import clean_environment
from holdfast.sandbox.port import Backend
from holdfast.sandbox.snippets.port import Interpreter, SnippetLimits
from holdfast.tools.binding import ToolContext
from holdfast.tools.builtin.running.driving import DRIVER, LONGEST_VALUE, SCRIPT, Said, said_of

if TYPE_CHECKING:
    from holdfast.sandbox.processes import Ended

__all__ = ("MEMORY", "OUTPUT", "Came", "in_sandbox", "in_wasm")

MEMORY: Final = 256 * 1024**2
"""Bytes, the interpreter's own included."""
_ADDRESSES: Final = 512 * 1024**2
"""Bytes of addresses in a sandbox, where the profile may set a closer limit of memory."""
OUTPUT: Final = 256 * 1024
"""Bytes that may be printed."""
_FUEL: Final = 16 * 10**9
"""Instructions for a second: twice as many as fit into one, about, so that time is what ends most of them."""


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a snippet."""

    engine: str
    printed: str
    said: Said
    ended: Literal["ok", "error", "memory", "cpu", "wall", "output"]
    why: str = ""
    """What stopped it."""
    seconds: float = 0.0


async def in_wasm(interpreter: Interpreter, code: str, seconds: float) -> Came:
    """Returns what came of a snippet in an interpreter without system calls.

    Raises:
        IsolationMissing: it cannot be had here; nothing was run.
        SandboxError: it could not be built.
    """
    limits = SnippetLimits(fuel=round(seconds * _FUEL), memory=MEMORY, wall=seconds, output=OUTPUT)
    program = f"{DRIVER}\nresult = _run(**inputs)\n"
    result = await interpreter.run(program, inputs={"code": code, "longest": LONGEST_VALUE}, limits=limits)
    said = said_of(result.answer) if result.ended == "ok" else Said()
    ended = result.ended
    if said is None or said.error:
        ended = "error"
    return Came(
        engine="wasm",
        printed=result.printed,
        said=said or Said(error="its answer about itself cannot be read"),
        ended=ended,
        why="it ran out of memory" if ended == "memory" else result.error,
        seconds=result.seconds,
    )


async def in_sandbox(context: ToolContext, code: str, seconds: float) -> Came:
    """Returns what came of a snippet in the sandbox of the run, in an empty folder.

    Raises:
        IsolationMissing: the run has no sandbox, or one that keeps nothing in, or no Python is in it.
        SandboxError: it could not be started.
    """
    backend = await _ready(context.backend)
    with tempfile.TemporaryDirectory(prefix="holdfast-python-") as folder:
        mark = secrets.token_hex(16)
        given = (code, str(LONGEST_VALUE), mark, str(_ADDRESSES))
        env = clean_environment({} if context.workspace is None else context.workspace.env)
        command = ("python3", "-I", "-B", "-c", SCRIPT, *given)
        ended = await backend.run(command, folder=Path(folder), env=env, timeout=seconds, keep=OUTPUT)
    text = await asyncio.to_thread(ended.output.text)
    printed, found, answer = text.rpartition(mark)
    said = _read(answer) if found else None
    if said is None and ended.code == 127:
        raise IsolationMissing(f"there is no python3 in the sandbox {backend.posture.backend!r}")
    return _came(backend.posture.backend, printed if found else text, said, ended)


async def _ready(backend: Backend | None) -> Backend:
    if isinstance(backend, LazyBackend):
        await backend.ready()
    if backend is None or not backend.posture.isolated:
        name = "none" if backend is None else backend.posture.backend
        raise IsolationMissing(f"the sandbox of this run ({name}) keeps nothing in")
    return backend


def _read(answer: str) -> Said | None:
    try:
        return said_of(msgspec.json.decode(answer))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _came(engine: str, printed: str, said: Said | None, ended: Ended) -> Came:
    end: Literal["ok", "error", "memory", "cpu", "wall", "output"] = "ok"
    why = ""
    if ended.breach in ("memory", "cpu", "output"):
        end, why = ended.breach, f"stopped at the sandbox's quota of {ended.breach}"
    elif ended.timed_out:
        end, why = "wall", f"stopped after {ended.seconds:.0f} seconds"
    elif ended.output.total > OUTPUT:
        end, why = "output", f"{ended.output.total} bytes printed, and {OUTPUT} are kept: print less"
    elif said is not None and said.memory:
        end, why = "memory", "it ran out of memory"
    elif said is None:
        end, why = "error", f"the interpreter ended with the code {ended.code} before it was done"
    elif said.error:
        end = "error"
    return Came(engine=engine, printed=printed, said=said or Said(), ended=end, why=why, seconds=ended.seconds)
