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
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import msgspec

from holdfast.errors import HoldfastError, IsolationMissing, SandboxError, UsageError
from holdfast.sandbox.output import Output
from holdfast.sandbox.snippets.building import INSTALL, Progress, compiled
from holdfast.sandbox.snippets.job import Job
from holdfast.sandbox.snippets.port import USUAL, Calls, Interpreter, SnippetLimits, SnippetResult
from holdfast.sandbox.snippets.telling import announce

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
        is told what takes long at first use, instead of all who listen in this process (`telling.py`).

        Raises:
            IsolationMissing: wasmtime is not installed.
        """
        if find_spec("wasmtime") is None:
            raise IsolationMissing(f"snippets need wasmtime: {INSTALL}")
        self._folder, self._component = folder, component
        self._progress: Progress = progress or announce
        self._threads = ThreadPoolExecutor(at_once, "holdfast-snippet")
        self._lock = threading.Lock()
        self._code: Future[Path | HoldfastError] | None = None
        self._closed = False
        self._ready: list[Engine] = []
        """Engines with a fresh copy; those that are busy are in the hands of a thread each."""

    async def run(
        self,
        code: str,
        *,
        inputs: Any = None,
        limits: SnippetLimits = USUAL,
        calls: Calls | None = None,
        seed: int | None = None,
        output: Output | None = None,
    ) -> SnippetResult:
        """Runs a snippet to its end, as the port says; `output` takes what it prints, to the byte.

        Raises:
            IsolationMissing: componentize-py is needed and not installed.
            SandboxError: the interpreter could not be built.
            UsageError: the inputs are no JSON value.
        """
        job = Job(_request(code, inputs, seed), limits, calls, asyncio.get_running_loop(), output, seed)
        work = self._threads.submit(self._work, job, await self._prepared())
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
        with self._lock:
            self._closed = True
        self._threads.shutdown()
        while self._ready:
            self._ready.pop().close()

    async def _prepared(self) -> Path:
        """Returns the machine code; whoever stops waiting for it stops nobody else."""
        with self._lock:
            coming = self._code
            if self._closed:
                raise RuntimeError("this interpreter was closed: make another one")
            if coming is None or (coming.done() and not isinstance(coming.result(), Path)):
                coming = self._code = Future[Path | HoldfastError]()
                # Those of the pool are waited for when the process ends, and this one may take a minute.
                threading.Thread(target=self._prepare, args=(coming,), name="holdfast-compiler", daemon=True).start()
        if not coming.done():
            await asyncio.wait((asyncio.wrap_future(coming),))
        outcome = coming.result()
        if isinstance(outcome, HoldfastError):
            kind = IsolationMissing if isinstance(outcome, IsolationMissing) else SandboxError
            raise kind(str(outcome)) from outcome
        return outcome

    def _prepare(self, coming: Future[Path | HoldfastError]) -> None:
        outcome: Path | HoldfastError = SandboxError("the interpreter for snippets could not be prepared")
        try:
            engine = self._loaded()
            engine.prepare()
            with self._lock:
                if self._closed:
                    engine.close()
                else:
                    self._ready.append(engine)
            outcome = engine.code
        except (IsolationMissing, SandboxError) as error:
            outcome = error
        finally:
            coming.set_result(outcome)

    def _work(self, job: Job, code: Path) -> SnippetResult:
        engine = self._engine(code)
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

    def _engine(self, code: Path) -> Engine:
        from holdfast.sandbox.snippets.engines import Engine  # noqa: PLC0415 - it is loaded already

        with contextlib.suppress(IndexError):
            return self._ready.pop()
        engine = Engine(code)
        engine.prepare()
        return engine

    def _loaded(self) -> Engine:
        # wasmtime takes its time to import, and is there only with the extra
        from holdfast.sandbox.snippets.engines import Engine, compile_component  # noqa: PLC0415

        code = compiled(self._folder, self._component, compile_component, self._progress)
        try:
            return Engine(code)
        except SandboxError:  # made on another processor, in a home that travels
            return Engine(compiled(self._folder, self._component, compile_component, self._progress, anew=True))


def _request(code: str, inputs: Any, seed: int | None) -> str:
    try:
        asked = {"code": code, "inputs": inputs, "seed": secrets.randbits(64) if seed is None else seed}
        return msgspec.json.encode(asked).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"what a snippet gets must be JSON values: {error}") from error
