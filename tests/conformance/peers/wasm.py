"""The peer of the wasm transport: modules in the text format, with one for each behaviour."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar, Self

import pytest

from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.testing.conformance.transports.peer import FAILURE, TOKEN, Behaviour, Peer, Traits
from holdfast.tools.transports.port import Transport
from holdfast.tools.transports.wasm import Wasm
from holdfast.tools.transports.wasm_modules.library import ModuleLibrary

__all__ = ("WasmPeer", "assembled", "printing")

_IMPORTS = """
(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
(memory (export "memory") 4)
"""
_BEFORE = b'"input":"{\\"text\\":\\"'
_BEGIN = b'{"contract_version":"v1","status":"ok","output":"'
_TEMPLATE = """
(func $print (param $at i32) (param $length i32)
  (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
  (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))

(func $read (result i32) (local $end i32)  ;; all of the input, from 65536 on; where it ends
  (local.set $end (i32.const 65536))
  (loop $more
    (i32.store (i32.const 0) (local.get $end)) (i32.store (i32.const 4) (i32.const 4096))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
    (br_if $more (i32.load (i32.const 8))))
  (local.get $end))

(func $find (param $word i32) (param $length i32) (param $end i32) (result i32)  ;; what comes after a word; 0 for none
  (local $at i32) (local $same i32)
  (local.set $at (i32.const 65536))
  (block $none (loop $next
    (br_if $none (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $end)))
    (local.set $same (i32.const 0))
    (block $other (loop $letter
      (br_if $other (i32.ne (i32.load8_u (i32.add (local.get $at) (local.get $same)))
                            (i32.load8_u (i32.add (local.get $word) (local.get $same)))))
      (local.set $same (i32.add (local.get $same) (i32.const 1)))
      (br_if $letter (i32.lt_u (local.get $same) (local.get $length)))
      (return (i32.add (local.get $at) (local.get $length)))))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (br $next)))
  (i32.const 0))

(func $echo (param $end i32)  ;; answers with the argument `text`, which is JSON text in JSON text: unpacked once
  (local $from i32) (local $to i32) (local $byte i32)
  (local.set $from (call $find (i32.const 1024) (i32.const BEFORE) (local.get $end)))
  (local.set $to (i32.const 131072))
  (loop $copy
    (local.set $byte (i32.load8_u (local.get $from)))
    (if (i32.eq (local.get $byte) (i32.const 92)) (then
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (local.set $byte (i32.load8_u (local.get $from)))
      (if (i32.eq (local.get $byte) (i32.const 92)) (then  ;; an escape inside: two letters
        (i32.store8 (local.get $to) (i32.const 92))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $byte (i32.load8_u (local.get $from)))
        (if (i32.eq (local.get $byte) (i32.const 92)) (then
          (local.set $from (i32.add (local.get $from) (i32.const 1)))
          (local.set $byte (i32.load8_u (local.get $from))))))
      (else (local.set $from (i32.const 0))))))  ;; the quote that ends it
    (if (local.get $from) (then
      (i32.store8 (local.get $to) (local.get $byte))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br $copy))))
  (call $print (i32.const 2048) (i32.const BEGIN))
  (call $print (i32.const 131072) (i32.sub (local.get $to) (i32.const 131072)))
  (call $print (i32.const 2100) (i32.const 2)))
"""
_FUNCTIONS = _TEMPLATE.replace("BEFORE", str(len(_BEFORE))).replace("BEGIN", str(len(_BEGIN)))


def assembled(body: str, *, imports: str = _IMPORTS) -> bytes:
    """Returns a module of WAT."""
    wasmtime = pytest.importorskip("wasmtime")
    return bytes(wasmtime.wat2wasm(f"(module {imports} {body})"))


def _data(at: int, text: bytes) -> str:
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")'


def printing(output: bytes, then: str = "") -> bytes:
    """Returns a module that prints that, and does what comes then."""
    body = f'(func (export "_start") (call $print (i32.const 4096) (i32.const {len(output)})) {then})'
    pages = (4096 + len(output)) // 65_536 + 4
    imports = _IMPORTS.replace('"memory") 4', f'"memory") {pages}')
    return assembled(f"{_FUNCTIONS} {_data(4096, output)} {body}", imports=imports)


def _modules() -> dict[str, bytes]:
    echo = _FUNCTIONS + _data(1024, _BEFORE) + _data(2048, _BEGIN) + _data(2100, b'"}')
    wanted = f'"Authorization":"Bearer {TOKEN}"'.encode()
    refusal = b'{"contract_version":"v1","status":"error","error":{"code":"auth_invalid","message":"not so"}}'
    failure = (
        f'{{"contract_version":"v1","status":"error","error":{{"code":"execution_failed","message":"{FAILURE}"}}}}'
    )
    refuses = f"""{_data(3000, wanted)} {_data(4096, refusal)}
      (func (export "_start") (local $end i32) (local.set $end (call $read))
        (if (call $find (i32.const 3000) (i32.const {len(wanted)}) (local.get $end))
          (then (call $echo (local.get $end)))
          (else (call $print (i32.const 4096) (i32.const {len(refusal)})))))"""
    return {
        "works": assembled(echo + '(func (export "_start") (call $echo (call $read)))'),
        "refuses": assembled(echo + refuses),
        "fails": printing(failure.encode()),
        "sleeps": assembled('(func (export "_start") (loop (br 0)))'),
        "floods": printing(b"x" * 60_000, "(loop (call $print (i32.const 4096) (i32.const 60000)) (br 0))"),
        "dies": printing(b'{"contract_version":"v1","sta', "(unreachable)"),
        "lies:version": printing(b'{"contract_version":"v2","status":"ok","output":"x"}'),
        "lies:status": printing(b'{"contract_version":"v1","status":"success","output":"x"}'),
        "lies:garbage": printing(b"\xff\xfe\x00 no answer"),
        "lies:empty": assembled('(func (export "_start"))'),
    }


class WasmPeer(Peer):
    traits: ClassVar[Traits] = Traits(
        lies=("version", "status", "garbage", "empty"),
        absence="runtime_policy_invalid",
        begins=0.5,
        memory=64 * 1024 * 1024,
    )

    def __init__(self) -> None:
        self._library = ModuleLibrary()

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="modules-")
        folder = Path(self._folder.name)
        for name, module in _modules().items():
            (folder / f"{name.replace(':', '-')}.wasm").write_bytes(module)
        self._library = ModuleLibrary(folder, folder / "cache")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._library.close()
        self._folder.cleanup()

    @property
    def reached(self) -> int | None:
        return None

    def left(self) -> list[str]:
        return ["a module"] * self._library.running

    def transport(self, behaviour: Behaviour) -> Transport:
        limits = ModuleLimits(fuel=1 << 50 if behaviour == "sleeps" else 1_000_000_000)
        return Wasm(f"{behaviour.replace(':', '-')}.wasm", self._library, limits=limits)
