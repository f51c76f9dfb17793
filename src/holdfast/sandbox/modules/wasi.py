"""What a module may ask an operating system for: its input, its output, the time, random numbers, and to end.

These are the functions of WASI preview 1. There are no folders, so every function that takes a path fails, whatever the
path: there is nothing to escape from. There are no sockets, no arguments, no environment, nothing to wait for.

Nothing here raises, and nothing takes long: numbers from a module are checked, each call uses fuel, and what is printed
beyond the limit ends the module.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, final

from holdfast.sandbox.modules.port import ModuleLimits
from holdfast.sandbox.output import Output

__all__ = ("SIGNATURES", "STREAMS", "Bytes", "Wasi")

_OK, _BAD_FD, _FAULT, _INVALID, _NOT_SUPPORTED, _SEEK = 0, 8, 21, 28, 58, 70
_CALL = 50_000
"""Fuel of a call from a module: it is our time, not its own."""
_VECTORS = 1024
"""Pieces of one read or write."""
_TICK = 1_000_000
"""Nanoseconds: what is finer in a clock is of use to attackers only."""
_RANDOM = 1 << 16
"""Random bytes at once."""
_ERRORS = 4096
"""Bytes of the standard error that are kept."""
_CHARACTER_DEVICE = 2
_MAY_READ, _MAY_WRITE = 1 << 1, 1 << 6

STREAMS: Final[Mapping[str, str]] = {
    "fd_close": "i:i", "fd_fdstat_get": "ii:i", "fd_prestat_get": "ii:i", "fd_prestat_dir_name": "iii:i",
    "fd_read": "iiii:i", "fd_seek": "iIii:i", "fd_write": "iiii:i", "proc_exit": "i:", "args_get": "ii:i",
    "args_sizes_get": "ii:i", "environ_get": "ii:i", "environ_sizes_get": "ii:i", "sched_yield": ":i",
}  # fmt: skip
"""What says nothing of the world outside."""
SIGNATURES: Final[Mapping[str, str]] = {
    **STREAMS,
    "clock_res_get": "ii:i", "clock_time_get": "iIi:i", "random_get": "ii:i",
    "fd_advise": "iIIi:i", "fd_allocate": "iII:i", "fd_datasync": "i:i", "fd_fdstat_set_flags": "ii:i",
    "fd_fdstat_set_rights": "iII:i", "fd_filestat_get": "ii:i", "fd_filestat_set_size": "iI:i",
    "fd_filestat_set_times": "iIIi:i", "fd_pread": "iiiIi:i", "fd_pwrite": "iiiIi:i", "fd_readdir": "iiiIi:i",
    "fd_renumber": "ii:i", "fd_sync": "i:i", "fd_tell": "ii:i", "path_create_directory": "iii:i",
    "path_filestat_get": "iiiii:i", "path_filestat_set_times": "iiiiIIi:i", "path_link": "iiiiiii:i",
    "path_open": "iiiiiIIii:i", "path_readlink": "iiiiii:i", "path_remove_directory": "iii:i",
    "path_rename": "iiiiii:i", "path_symlink": "iiiii:i", "path_unlink_file": "iii:i", "poll_oneoff": "iiii:i",
    "proc_raise": "i:i", "sock_accept": "iii:i", "sock_recv": "iiiiii:i", "sock_send": "iiiii:i",
    "sock_shutdown": "ii:i",
}  # fmt: skip
"""Every function of WASI preview 1: its parameters and, after a colon, its result."""


class Bytes(Protocol):
    """The memory of a module."""

    def read(self, start: int, length: int) -> bytes | None:
        """Returns bytes; None where they are not all in it."""
        ...

    def write(self, start: int, data: bytes) -> bool:
        """Writes bytes; False where they do not fit."""
        ...


@final
class Wasi:
    """The operating system of one module."""

    def __init__(self, given: bytes, limits: ModuleLimits) -> None:
        """`given` is what the module reads on its standard input."""
        self.signatures: Mapping[str, str] = SIGNATURES if limits.wasi else STREAMS
        self.code: int | None = None
        """What it said when it exited; None when it did not."""
        self.over: str = ""
        """The limit that it met here: `output` or `fuel`."""
        self.output = bytearray()
        self.errors = Output(_ERRORS)
        self._given, self._at = given, 0
        self._limits = limits
        self._fuel = limits.fuel
        self._closed: set[int] = set()
        self._does: Mapping[str, Callable[..., int | None]] = {
            "args_sizes_get": self._none,
            "environ_sizes_get": self._none,
            "args_get": _nothing,
            "environ_get": _nothing,
            "sched_yield": _nothing,
            "clock_res_get": _resolution,
            "clock_time_get": _now,
            "random_get": self._random,
            "fd_read": self._read,
            "fd_write": self._write,
            "fd_close": self._close,
            "fd_fdstat_get": self._status,
            "fd_seek": self._seek,
            "proc_exit": self._exit,
            "poll_oneoff": _unsupported,
            "proc_raise": _unsupported,
        }

    def call(self, name: str, memory: Bytes, arguments: Sequence[int]) -> int | None:
        """Does what a function does, and returns its error number; None ends the module."""
        if not self._spend(_CALL):
            return None
        does = self._does.get(name)
        return _BAD_FD if does is None else does(memory, *arguments)

    def _spend(self, fuel: int) -> bool:
        self._fuel -= fuel
        if self._fuel < 0:
            self.over = self.over or "fuel"
        return self._fuel >= 0

    def _none(self, memory: Bytes, count: int, size: int) -> int:
        return _OK if memory.write(count, bytes(4)) and memory.write(size, bytes(4)) else _FAULT

    def _random(self, memory: Bytes, start: int, length: int) -> int | None:
        if not self._spend(length):
            return None
        for at in range(start, start + length, _RANDOM):
            if not memory.write(at, os.urandom(min(_RANDOM, start + length - at))):
                return _FAULT
        return _OK

    def _read(self, memory: Bytes, fd: int, vectors: int, count: int, told: int) -> int | None:
        if fd != 0 or fd in self._closed:
            return _BAD_FD
        pieces = self._vectors(memory, vectors, count)
        if pieces is None:
            return None if self.over else _FAULT
        done = 0
        for start, length in pieces:
            data = self._given[self._at : self._at + length]
            if not memory.write(start, data):
                return _FAULT
            self._at += len(data)
            done += len(data)
        return _OK if memory.write(told, struct.pack("<I", done)) else _FAULT

    def _write(self, memory: Bytes, fd: int, vectors: int, count: int, told: int) -> int | None:
        if fd not in (1, 2) or fd in self._closed:
            return _BAD_FD
        pieces = self._vectors(memory, vectors, count)
        if pieces is None:
            return None if self.over else _FAULT
        done = 0
        for start, length in pieces:
            if fd == 1 and len(self.output) + length > self._limits.output:
                self.over = "output"
                return None
            data = memory.read(start, length)
            if data is None:
                return _FAULT
            if fd == 1:
                self.output += data
            elif not self._spend(length):
                return None
            else:
                self.errors.feed(data)
            done += length
        return _OK if memory.write(told, struct.pack("<I", done & 0xFFFFFFFF)) else _FAULT

    def _vectors(self, memory: Bytes, start: int, count: int) -> list[tuple[int, int]] | None:
        """Returns where the pieces of a read or write are, and how long; None where that is not in the memory."""
        if count > _VECTORS or not self._spend(count * 1000):
            return None
        data = memory.read(start, count * 8)
        return None if data is None else [(at, length) for at, length in struct.iter_unpack("<II", data)]

    def _close(self, memory: Bytes, fd: int) -> int:
        if fd > 2 or fd in self._closed:
            return _BAD_FD
        self._closed.add(fd)
        return _OK

    def _status(self, memory: Bytes, fd: int, told: int) -> int:
        if fd > 2 or fd in self._closed:
            return _BAD_FD
        said = struct.pack("<BxHxxxxQQ", _CHARACTER_DEVICE, 0, _MAY_WRITE if fd else _MAY_READ, 0)
        return _OK if memory.write(told, said) else _FAULT

    def _seek(self, memory: Bytes, fd: int, offset: int, whence: int, told: int) -> int:
        return _SEEK if fd <= 2 and fd not in self._closed else _BAD_FD

    def _exit(self, memory: Bytes, code: int) -> None:
        self.code = code


def _nothing(memory: Bytes, *_: int) -> int:
    return _OK


def _unsupported(memory: Bytes, *_: int) -> int:
    return _NOT_SUPPORTED


def _resolution(memory: Bytes, clock: int, told: int) -> int:
    if clock > 1:
        return _INVALID
    return _OK if memory.write(told, struct.pack("<Q", _TICK)) else _FAULT


def _now(memory: Bytes, clock: int, precision: int, told: int) -> int:
    if clock > 1:
        return _INVALID
    now = time.monotonic_ns() if clock else time.time_ns()
    return _OK if memory.write(told, struct.pack("<Q", now // _TICK * _TICK)) else _FAULT
