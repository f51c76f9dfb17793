"""wasmtime for modules of others: compiles one, and runs it once; nothing else of the house calls it for that.

What a module reaches is one object of ours, which does what it asks an operating system for; any other import is
refused before it begins. Whatever it does is bounded: its instructions, its one memory, its tables. It has an engine of
its own, so that one tick of that engine's epoch ends this module and no other; that takes a quarter of a millisecond.

A module is compiled in a process of its own, which may be given up, and takes its memory along when it ends.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, final

import msgspec
from wasmtime import Caller, Config, Engine, Func, FuncType, Linker, Module, Store, Trap, ValType, WasmtimeError
from wasmtime import Memory as LinearMemory

from holdfast.errors import SandboxError
from holdfast.sandbox.snippets.codes import output_of

__all__ = ("Memory", "ModuleEngine", "ModuleHost", "ModuleRan", "compile_module")

_WASI: Final = "wasi_snapshot_preview1"
_MASKS: Final = {"i": (1 << 32) - 1, "I": (1 << 64) - 1}
_TABLE = 100_000
"""Entries of a table; each takes 8 bytes."""
_PATIENCE = 60
"""Seconds that compiling may take, also of CPU."""
_COMPILER_MEMORY = 4 * 1024**3


class Memory:
    """The memory of a module, as far as it goes."""

    __slots__ = ("_caller", "_memory")

    def __init__(self, caller: Caller) -> None:
        found = caller.get("memory")
        self._caller, self._memory = caller, found if isinstance(found, LinearMemory) else None

    def read(self, start: int, length: int) -> bytes | None:
        """Returns bytes; None where they are not all in it."""
        if self._memory is None or start + length > self._memory.data_len(self._caller):
            return None
        return bytes(self._memory.read(self._caller, start, start + length)) if length else b""

    def write(self, start: int, data: bytes) -> bool:
        """Writes bytes; False where they do not fit."""
        if self._memory is None or start + len(data) > self._memory.data_len(self._caller):
            return False
        if data:
            self._memory.write(self._caller, bytearray(data), start)
        return True


class ModuleHost(Protocol):
    """What a module reaches of us. Nothing may be raised here."""

    signatures: Mapping[str, str]
    """The functions it may import, of `wasi_snapshot_preview1`: an `i` or `I` for each parameter of 32 or 64 bits, and
    after a colon for the result."""

    def call(self, name: str, memory: Memory, arguments: Sequence[int]) -> int | None:
        """Does what a function does, and returns its error number; None ends the module. Numbers are unsigned."""
        ...


class ModuleRan(msgspec.Struct, frozen=True, kw_only=True):
    """How a module ended."""

    trap: str = ""
    """What stopped it; empty when it came to its end."""
    refused: str = ""
    """Why it could not begin."""
    fuel: int
    """How much it used."""
    dry: bool = False
    """Whether that was all it had."""
    memory: int = 0
    """Bytes that its memory had at the end."""


@final
class ModuleEngine:
    """A place for one module, once."""

    def __init__(self, code: Path, host: ModuleHost, *, fuel: int, memory: int) -> None:
        """Maps the machine code; from here on, `stop` ends what runs.

        Raises:
            SandboxError: it was made for another processor or another wasmtime.
        """
        self._engine = Engine(_config())
        try:
            self._module = Module.deserialize_file(self._engine, str(code))
        except WasmtimeError as error:
            raise SandboxError(f"the module in {str(code)!r} cannot be loaded ({error}): remove it") from error
        self._linker = Linker(self._engine)
        self._host, self._fuel = host, fuel
        asked = {each.name for each in self._module.imports if each.module == _WASI}
        for name, signature in host.signatures.items():
            if name in asked:
                self._link(name, signature)
        self._store = Store(self._engine)
        self._store.set_limits(memory_size=memory, table_elements=_TABLE, instances=1, tables=4, memories=1)
        self._store.set_fuel(fuel)
        self._store.set_epoch_deadline(1)

    def run(self, entrypoint: str) -> ModuleRan:
        """Runs the module from its entry point to its end, in this thread; call it once."""
        store, trap, refused, exports = self._store, "", "", None
        try:
            exports = self._linker.instantiate(store, self._module).exports(store)
        except Trap as error:  # of a function that runs at its start
            trap = _reason(error)
        except WasmtimeError as error:
            refused = _reason(error)
        if exports is not None:
            try:
                refused = _run(store, exports, entrypoint)
            except (Trap, WasmtimeError) as error:
                trap = _reason(error)
        left = store.get_fuel()
        return ModuleRan(
            trap=trap,
            refused=refused,
            fuel=self._fuel - left,
            dry=bool(trap or refused) and not left,
            memory=_size(store, exports),
        )

    def stop(self) -> None:
        """Ends the module, from any thread."""
        self._engine.increment_epoch()

    def close(self) -> None:
        """Gives back what it has; nothing runs in it any more."""
        self._store.close()
        self._linker.close()
        self._module.close()

    def _link(self, name: str, signature: str) -> None:
        host = self._host

        def function(caller: Caller, *arguments: int) -> int | None:
            given = [value & mask for value, mask in zip(arguments, masks, strict=True)]
            said = host.call(name, Memory(caller), given)
            if said is None:
                raise WasmtimeError("stopped")
            return said if results else None

        parameters, _, results = signature.partition(":")
        masks = [_MASKS[each] for each in parameters]
        kinds = {"i": ValType.i32, "I": ValType.i64}
        kind = FuncType([kinds[each]() for each in parameters], [kinds[each]() for each in results])
        self._linker.define_func(_WASI, name, kind, function, access_caller=True)


def _run(store: Store, exports: Any, entrypoint: str) -> str:
    """Calls the entry point; returns why there is none."""
    function = exports.get(entrypoint)
    if not isinstance(function, Func):
        return f"it exports no function {entrypoint!r}"
    if function.type(store).params:
        return f"its function {entrypoint!r} takes parameters"
    begin = exports.get("_initialize")  # what a library has to run first
    if isinstance(begin, Func) and entrypoint != "_initialize" and not begin.type(store).params:
        begin(store)
    function(store)
    return ""


def _size(store: Store, exports: Any) -> int:
    found = exports.get("memory") if exports is not None else None
    return found.data_len(store) if isinstance(found, LinearMemory) else 0


def compile_module(wasm: bytes) -> bytes:
    """Returns the machine code of a module, for this processor and this version of wasmtime.

    Raises:
        SandboxError: it is none, or takes more than may be spent on one.
    """
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = output_of(command, given=wasm, seconds=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise SandboxError(f"compiling it took over {_PATIENCE} s: use a smaller module") from None
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]
        raise SandboxError(
            f"it is no module that can be run here: {said or f'the compiler ended with {done.returncode}'}"
        )
    return done.stdout


def _config() -> Config:
    """What any of the limits does not hold for is switched off: memories of several threads, and more than one."""
    config = Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_gc = False
    return config


def _compile_here() -> bytes:
    """Compiles the module on the standard input, within limits of this process."""
    resource.setrlimit(resource.RLIMIT_CPU, (_PATIENCE, _PATIENCE))
    resource.setrlimit(resource.RLIMIT_AS, (_COMPILER_MEMORY, _COMPILER_MEMORY))
    try:
        return bytes(Module(Engine(_config()), sys.stdin.buffer.read()).serialize())
    except WasmtimeError as error:
        sys.exit(_reason(error))


def _reason(error: Exception) -> str:
    """Returns what wasmtime names as the cause, in one line: what comes before is a trace, or says that it failed."""
    return " ".join(str(error).rpartition("Caused by:")[2].split())[:300]


if __name__ == "__main__":
    sys.stdout.buffer.write(_compile_here())
