"""Fresh interpreters as WebAssembly: CPython in a component, run by wasmtime in threads of its own.

Each snippet gets a copy of an interpreter that has just started and imported the standard library: its memory is
mapped, not made. Fuel bounds what it computes, the same each time; a memory limit what it keeps; a tick of its engine's
epoch ends it when its time is over or its caller has gone. There is nothing else to hold on to (`engines.py`).

The interpreter is built at first use (`building.py`). Without the extra `wasm` nothing of this can be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import msgspec

from holdfast.errors import IsolationMissing, SandboxError, UsageError
from holdfast.sandbox.output import Output
from holdfast.sandbox.snippets.building import INSTALL, Progress, compiled
from holdfast.sandbox.snippets.job import Job
from holdfast.sandbox.snippets.port import USUAL, Calls, Interpreter, SnippetLimits, SnippetResult

if TYPE_CHECKING:
    from holdfast.sandbox.snippets.engines import Engine

__all__ = ("WasmInterpreter",)

_AT_ONCE = 8
"""Snippets that run at the same time; the next ones wait."""


@final
class WasmInterpreter(Interpreter):
    """Runs snippets in copies of one interpreter; may be used from several event loops."""

    def __init__(
        self, folder: Path, *, component: Path | None = None, progress: Progress | None = None, at_once: int = _AT_ONCE
    ) -> None:
        """Keeps the interpreter in `folder`, which nobody else may write to.

        `component` is an interpreter that was built elsewhere, so that componentize-py is not needed here; `progress`
        is told what takes long at first use.

        Raises:
            IsolationMissing: wasmtime is not installed.
        """
        if find_spec("wasmtime") is None:
            raise IsolationMissing(f"snippets need wasmtime: {INSTALL}")
        self._folder, self._component = folder, component
        self._progress: Progress = progress or (lambda _: None)
        self._threads = ThreadPoolExecutor(at_once, "holdfast-snippet")
        self._loading = threading.Lock()
        self._code: Path | None = None
        self._ready: list[Engine] = []
        """Engines with a fresh copy; those that are busy are in the hands of a thread each."""

    async def run(
        self,
        code: str,
        *,
        inputs: Any = None,
        limits: SnippetLimits = USUAL,
        calls: Calls | None = None,
        output: Output | None = None,
    ) -> SnippetResult:
        """Runs a snippet to its end, as the port says; `output` takes what it prints, to the byte.

        Raises:
            IsolationMissing: componentize-py is needed and not installed.
            SandboxError: the interpreter could not be built.
            UsageError: the inputs are no JSON value.
        """
        job = Job(_request(code, inputs), limits, calls, asyncio.get_running_loop(), output)
        work = self._threads.submit(self._work, job)
        result = asyncio.wrap_future(work)
        here = threading.get_ident()
        # After the line above: whoever waits gets the result first.
        work.add_done_callback(lambda _: self._renew(job, here))
        job.watch()
        try:
            return await result
        finally:
            job.leave()

    def close(self) -> None:
        """Gives threads and memory back; only when nothing runs. Later snippets are refused with a RuntimeError."""
        self._threads.shutdown()
        while self._ready:
            self._ready.pop().close()

    def _work(self, job: Job) -> SnippetResult:
        engine = self._engine()
        job.used = engine
        return job.run(engine)

    def _renew(self, job: Job, loop: int) -> None:
        """Makes the next copy: in the thread that has just run a snippet, never in that of the loop."""
        engine, job.used = job.used, None
        if engine is not None and threading.get_ident() == loop:
            self._threads.submit(self._refresh, engine)
        elif engine is not None:
            self._refresh(engine)

    def _refresh(self, engine: Engine) -> None:
        with contextlib.suppress(SandboxError):  # whoever comes next finds out
            engine.prepare()
            self._ready.append(engine)

    def _engine(self) -> Engine:
        with contextlib.suppress(IndexError):
            return self._ready.pop()
        engine = self._loaded()
        engine.prepare()
        return engine

    def _loaded(self) -> Engine:
        # wasmtime takes its time to import, and is there only with the extra
        from holdfast.sandbox.snippets.engines import Engine, compile_component  # noqa: PLC0415

        with self._loading:
            if self._code is not None:
                return Engine(self._code)
            code = compiled(self._folder, self._component, compile_component, self._progress)
            try:
                engine = Engine(code)
            except SandboxError:  # made on another processor, in a home that travels
                engine = Engine(compiled(self._folder, self._component, compile_component, self._progress, anew=True))
            self._code = engine.code
            return engine


def _request(code: str, inputs: Any) -> str:
    try:
        asked = {"code": code, "inputs": inputs, "seed": secrets.randbits(64)}
        return msgspec.json.encode(asked).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"what a snippet gets must be JSON values: {error}") from error
