"""Runs modules in threads: compiled once for all processes of a user, loaded anew for each run, ended from outside.

A thread of ours is all that a module keeps busy, and it lets go of Python while the module computes. Cancelling ends
the module at its next jump or call, also in an endless loop, and waits for nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from holdfast.errors import IsolationMissing, SandboxError
from holdfast.sandbox.modules.port import ModuleEnd, ModuleLimits
from holdfast.sandbox.modules.wasi import Wasi
from holdfast.sandbox.snippets.codes import kept, version_of

if TYPE_CHECKING:
    from holdfast.sandbox.modules.engines import ModuleEngine, ModuleRan

__all__ = ("INSTALL", "MAGIC", "ModuleRunner")

INSTALL: Final = "pip install 'holdfast[wasm]'"
MAGIC: Final = b"\0asm\1\0\0\0"
"""How every module begins; a component begins otherwise."""
_AT_ONCE = 8
"""Modules that run at the same time; the next ones wait."""
_NEARLY = 0.75
"""The part of its memory that a module which broke off has, if that is why."""


@final
class ModuleRunner:
    """Runs modules; may be used from several event loops."""

    def __init__(self, folder: Path, *, at_once: int = _AT_ONCE) -> None:
        """Keeps machine code in `folder`, which nobody else may write to.

        Raises:
            IsolationMissing: wasmtime is not installed.
        """
        if find_spec("wasmtime") is None:
            raise IsolationMissing(f"modules of WebAssembly need wasmtime: `{INSTALL}`")
        self._folder = folder
        self._threads = ThreadPoolExecutor(at_once, "holdfast-module")
        self._compilers = ThreadPoolExecutor(1, "holdfast-compiler")
        """Apart, so that a module which takes long to compile keeps no other from running."""
        self._lock = threading.Lock()
        self._codes: dict[str, Future[Path | SandboxError]] = {}
        """By the digests of modules."""
        self._going: set[Future[ModuleEnd]] = set()

    @property
    def running(self) -> int:
        """Modules that run, or wait for a thread."""
        return len(self._going)

    async def run(self, module: bytes, given: bytes, limits: ModuleLimits, *, digest: str = "") -> ModuleEnd:
        """Runs a module once; in it, `given` is its standard input. `digest` is the module's SHA-256, if it is known.

        Raises:
            SandboxError: it is no module, or its machine code cannot be kept.
        """
        if not module.startswith(MAGIC):
            raise SandboxError("it is no module of WebAssembly; give one of WASI preview 1, not a component, nor text")
        digest = digest or hashlib.sha256(module).hexdigest()
        try:
            return await self._run(await self._compiled(module, digest), given, limits)
        except _Foreign:  # made on another processor, in a home that travels; or somebody removed it
            code = await self._compiled(module, digest, anew=True)
        try:
            return await self._run(code, given, limits)
        except _Foreign as error:
            raise SandboxError(str(error)) from error

    def close(self) -> None:
        """Gives the threads back; only when nothing runs. Later runs are refused with a RuntimeError."""
        self._compilers.shutdown()
        self._threads.shutdown()

    async def _run(self, code: Path, given: bytes, limits: ModuleLimits) -> ModuleEnd:
        job = _Job(given, limits)
        work = self._threads.submit(job.run, code)
        self._going.add(work)
        work.add_done_callback(self._going.discard)
        try:
            return await asyncio.wrap_future(work)
        finally:
            job.stop()

    async def _compiled(self, module: bytes, digest: str, *, anew: bool = False) -> Path:
        with self._lock:
            work = self._codes.get(digest)
            if work is None or (anew and work.done()) or (work.done() and not isinstance(work.result(), Path)):
                work = self._codes[digest] = self._compilers.submit(self._compile, module, digest, anew)
        if not work.done():
            await asyncio.wait((asyncio.wrap_future(work),))  # which goes on for others when this one is cancelled
        outcome = work.result()
        if isinstance(outcome, SandboxError):
            raise SandboxError(str(outcome)) from outcome
        return outcome

    def _compile(self, module: bytes, digest: str, anew: bool) -> Path | SandboxError:
        # wasmtime takes its time to import, and is there only with the extra
        from holdfast.sandbox.modules.engines import compile_module  # noqa: PLC0415

        parts = (digest, version_of("wasmtime") or "", platform.machine(), sys.platform)
        file = self._folder / f"module-{hashlib.sha256('-'.join(parts).encode()).hexdigest()}.cwasm"
        try:
            return kept(file, lambda: compile_module(module), anew=anew)
        except SandboxError as error:
            return error
        except OSError as error:
            text = f"its machine code cannot be kept in {str(self._folder)!r} ({error}): name another folder"
            return SandboxError(text)


class _Foreign(Exception):
    """Machine code that is none of this machine."""


@final
class _Job:
    """One run."""

    def __init__(self, given: bytes, limits: ModuleLimits) -> None:
        self._limits = limits
        self._wasi = Wasi(given, limits)
        self._lock = threading.Lock()
        self._engine: ModuleEngine | None = None
        self._stopped = False

    def stop(self) -> None:
        """Ends it, if it has not ended; from any thread."""
        with self._lock:
            self._stopped = True
            if self._engine is not None:
                self._engine.stop()

    def run(self, code: Path) -> ModuleEnd:
        """Runs it in a thread."""
        from holdfast.sandbox.modules.engines import ModuleEngine  # noqa: PLC0415 - see `ModuleRunner._compile`

        try:
            engine = ModuleEngine(code, self._wasi, fuel=self._limits.fuel, memory=self._limits.memory)
        except SandboxError as error:
            raise _Foreign(str(error)) from error
        try:
            with self._lock:
                if self._stopped:
                    return ModuleEnd(ended="stopped")
                self._engine = engine
            ran = engine.run(self._limits.entrypoint)
        finally:
            with self._lock:
                self._engine = None
            engine.close()
        return self._end(ran)

    def _end(self, ran: ModuleRan) -> ModuleEnd:
        wasi, limits = self._wasi, self._limits

        def end(ended: str, why: str = "") -> ModuleEnd:
            output, errors = bytes(wasi.output), wasi.errors.text().strip()
            return ModuleEnd(ended=ended, output=output, errors=errors, why=why, fuel=ran.fuel)  # type: ignore[arg-type]

        if wasi.over == "output":
            return end("output", f"it printed more than {limits.output:,} bytes")
        if wasi.over == "fuel" or ran.dry:
            return end("fuel", f"it used more than {limits.fuel:,} instructions")
        if wasi.code is not None:
            return end("exit", f"it exited with code {wasi.code}") if wasi.code else end("ok")
        if self._stopped and ran.trap:
            return end("stopped", "nobody waits for it any more")
        if ran.refused:
            return end("refused", ran.refused)
        if ran.trap and ran.memory > limits.memory * _NEARLY:
            return end(
                "memory", f"it had {ran.memory:,} of {limits.memory:,} bytes of memory, and broke off: {ran.trap}"
            )
        return end("trap", ran.trap) if ran.trap else end("ok")
