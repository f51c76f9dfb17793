"""wasmtime, which is used here and nowhere else: compiles the interpreter, and runs a snippet in a fresh copy of it.

An `Engine` runs one snippet at a time, and another thread may stop it: every engine has an epoch of its own, and one
tick of it ends what runs. So there is an engine for each snippet that runs at once; the machine code is one file,
mapped by all. The next copy of the interpreter is made when the last one is thrown away, so that nobody waits for it.

A copy has a coarse clock and random numbers, which follow from a seed where there is one. All else that it could ask an
operating system for is not there: no function of a file, a socket, a process, a wait or an exit is connected to
anything, and calling one ends the snippet. Exceptions never pass through wasmtime, which keeps the last one for
whichever thread comes by.
"""

from __future__ import annotations

import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, final

import msgspec
from wasmtime import Config, Store, Trap, WasmtimeError
from wasmtime import Engine as Compiler
from wasmtime.component import Component, Func, Linker, Record

from holdfast.errors import SandboxError
from holdfast.sandbox.snippets.codes import output_of

__all__ = ("Engine", "Host", "Ran", "compile_component")

_TICK = 1_000_000
"""Nanoseconds: what is finer in a clock is of use to attackers only."""
_RANDOM = 1 << 16
"""Bytes at once, at most."""
_WARMING = 1_000_000_000
_WARM = '{"code": "[1]", "inputs": null, "seed": 0}'
"""A snippet of ours that every copy runs first: what it touches is in memory when theirs comes."""
_DRY = "all fuel consumed"
_PATIENCE = 600
"""Seconds the compiler may take."""
_SLABS = threading.Lock()
"""wasmtime's table of functions is not made for several threads."""


class Host(Protocol):
    """What a snippet reaches of us. Nothing may be raised here."""

    def send(self, text: str) -> bool:
        """Takes what was printed; returns whether the snippet may go on."""
        ...

    def call(self, name: str, arguments: str) -> str | None:
        """Answers a call; None ends the snippet."""
        ...


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a copy of the interpreter ended."""

    answer: str | None
    """What it said; None when it was stopped."""
    trap: str = ""
    """What stopped it."""
    fuel: int
    """How much it used."""
    dry: bool = False
    """Whether that was all it had."""


@final
class Engine:
    """A place for one snippet at a time."""

    def __init__(self, code: Path) -> None:
        """Maps the machine code.

        Raises:
            SandboxError: it was made for another processor or another wasmtime.
        """
        self.code = code
        self._compiler = Compiler(_config())
        self._given = _Given()
        try:
            self._component = Component.deserialize_file(self._compiler, str(code))
            with _SLABS:
                self._linker = self._linked()
        except WasmtimeError as error:
            raise SandboxError(f"the interpreter in {str(code)!r} cannot be loaded ({error}): remove it") from error
        self._host: Host | None = None
        self._copy: tuple[Store, Func] | None = None
        self._spent: Store | None = None
        """What is left of the copy before; it takes time to clear away, so nobody waits for that."""

    def prepare(self) -> None:
        """Throws away the copy that was used, and makes the next one.

        Raises:
            SandboxError: what was loaded is another program.
        """
        self._spent = None
        self._copy = self._made()

    def begin(self, host: Host, request: str, *, fuel: int, memory: int, seed: int | None = None) -> Callable[[], Ran]:
        """Returns what runs a snippet to its end; from here on, `stop` ends it. With a seed, the same again and again.

        Raises:
            SandboxError: what was loaded is another program.
        """
        copy, self._copy = self._copy or self._made(), None
        store = copy[0]
        store.set_limits(memory_size=memory)
        store.set_fuel(fuel)
        store.set_epoch_deadline(1)
        self._host = host
        self._given.begin(seed)
        return partial(self._run, *copy, request, fuel)

    def _made(self) -> tuple[Store, Func]:
        store = Store(self._compiler)
        store.set_fuel(_WARMING)
        store.set_epoch_deadline(1)
        try:
            answer = self._linker.instantiate(store, self._component).get_func(store, "answer")
            if answer is None:
                raise WasmtimeError("it answers nothing")
            answer(store, _WARM)
        except (WasmtimeError, Trap) as error:
            raise SandboxError(f"{str(self.code)!r} is no interpreter for snippets: {_cause(error)}") from error
        return store, answer

    def _run(self, store: Store, answer: Func, request: str, fuel: int) -> Ran:
        self._spent = store
        said, trap = None, ""
        try:
            said = answer(store, request)
        except (WasmtimeError, Trap) as error:
            trap = _cause(error)
        self._host = None
        left = store.get_fuel()
        return Ran(answer=said, trap=trap, fuel=fuel - left, dry=said is None and _DRY in trap)

    def stop(self) -> None:
        """Ends the snippet that runs, from any thread; only between `begin` and the end of what that returned."""
        self._compiler.increment_epoch()

    def close(self) -> None:
        """Gives back what it has; nothing runs in it any more."""
        self._copy = self._spent = None
        with _SLABS:
            self._linker.close()

    def _linked(self) -> Linker:
        linker = Linker(self._compiler)
        with linker.root() as root:
            root.add_func("send", self._send)
            root.add_func("call", self._call)
            for name in self._component.type.imports(self._compiler):
                if given := self._given.functions.get(name.partition("@")[0]):
                    with root.add_instance(name) as instance:
                        for function, body in given.items():
                            instance.add_func(function, body)
        linker.define_unknown_imports_as_traps(self._component)
        return linker

    def _send(self, _: object, text: str) -> None:
        if self._host is None or not self._host.send(text):
            raise WasmtimeError("stopped")

    def _call(self, _: object, name: str, arguments: str) -> str:
        answer = self._host.call(name, arguments) if self._host else None
        if answer is None:
            raise WasmtimeError("stopped")
        return answer


def compile_component(wasm: bytes) -> bytes:
    """Returns the machine code of a component, for this processor and this version of wasmtime.

    A process of its own does it: the compiler takes half a gigabyte, and gives little of it back.

    Raises:
        SandboxError: it is none.
        subprocess.SubprocessError: it takes too long.
    """
    command = [sys.executable, "-P", "-m", __name__]
    done = output_of(command, given=wasm, seconds=_PATIENCE)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise SandboxError(f"the interpreter for snippets cannot be compiled: {said}")
    return done.stdout


def _config() -> Config:
    config = Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    return config


def _cause(error: Exception) -> str:
    """Returns the last line of what wasmtime says, which comes after a trace of no use to anybody."""
    last = str(error).strip().splitlines()[-1].strip()
    asked = re.search(r"unknown import: `wasi:([^`@]+)[^`#]*#([^`]+)`", last)
    return f"there is no operating system here to do {asked[1]} {asked[2]}" if asked else last


def _nothing(_: object) -> list[Any]:
    return []


def _tick(_: object) -> int:
    return _TICK


@final
class _Given:
    """What of the operating system's functions does something: a clock and random numbers, perhaps from a seed."""

    def __init__(self) -> None:
        self._random: random.Random | None = None
        self._looks = 0
        """How often the clock of a snippet with a seed was looked at."""
        self.functions: Final[Mapping[str, Mapping[str, Callable[..., Any]]]] = {
            "wasi:cli/environment": {"get-environment": _nothing, "get-arguments": _nothing},
            "wasi:clocks/monotonic-clock": {"now": self._now, "resolution": _tick},
            "wasi:clocks/wall-clock": {"now": self._today},
            "wasi:filesystem/preopens": {"get-directories": _nothing},
            "wasi:random/random": {"get-random-bytes": self._bytes},
        }
        """By interface and name."""

    def begin(self, seed: int | None) -> None:
        """Begins anew for a snippet."""
        self._random = None if seed is None else random.Random(seed)
        self._looks = 0

    def _at(self, now: int) -> int:
        if self._random is None:
            return now // _TICK * _TICK
        self._looks += 1
        return self._looks * _TICK

    def _now(self, _: object) -> int:
        return self._at(time.monotonic_ns())

    def _today(self, _: object) -> Record:
        moment = Record()
        seconds, rest = divmod(self._at(time.time_ns()), 1_000_000_000)
        moment.__dict__.update(seconds=seconds, nanoseconds=rest)
        return moment

    def _bytes(self, _: object, length: int) -> bytes:
        if length > _RANDOM:
            raise WasmtimeError(f"more than {_RANDOM} random bytes at once")
        return os.urandom(length) if self._random is None else self._random.randbytes(length)


if __name__ == "__main__":
    sys.stdout.buffer.write(Component(Compiler(_config()), sys.stdin.buffer.read()).serialize())
