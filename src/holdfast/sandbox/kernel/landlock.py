"""Landlock: the kernel checks each path against rules that a process gave itself and can never take back.

Source: the kernel's documentation of its ABI versions 1 to 7.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from typing import Final

from holdfast.sandbox.kernel import syscalls

__all__ = ("CHANGE", "LOOK", "READ", "WRITE", "abi", "build", "keep_signals", "restrict")

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
"""Reading, listing and starting programs."""
WRITE: Final = READ | (1 << 13) - 1 | _REFER | _TRUNCATE | _IOCTL
"""Everything; of what the kernel at hand knows."""
LOOK: Final = READ & ~_EXECUTE
"""Reading and listing alone."""
CHANGE: Final = WRITE & ~_EXECUTE
"""Everything but starting programs."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1
_SCOPES = 3
"""Abstract sockets and signals reach only what is restricted in the same way."""
_SIGNALS, _SIGNALS_FROM = 2, 6
"""The second of them, and the version that brought both."""
_TCP = 3
"""Listening on ports, and connecting to them."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Returns the version the kernel speaks; 0 where it has none, or none that is on."""
    try:
        return syscalls.syscall(syscalls.NUMBERS["landlock_create_ruleset"], None, 0, 1)
    except OSError:
        return 0


def build(rules: Sequence[tuple[str | int, int]], *, strict: bool = False, offline: bool = False) -> int:
    """Returns a descriptor of the rules: paths, or descriptors of them, and what may be done beneath them; all else is
    refused.

    Who is `offline` neither connects by TCP nor listens, where the kernel knows such rules.

    Raises:
        OSError: there is no Landlock; or, where it is `strict`, a path is missing.
    """
    version = abi()
    handled = _KNOWN.get(version, _ALL)
    given = _Ruleset(handled, _TCP if offline and version >= 4 else 0, _SCOPES if version >= _SIGNALS_FROM else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    number = syscalls.NUMBERS["landlock_create_ruleset"]
    ruleset = syscalls.syscall(number, ctypes.byref(given), size, 0, name="landlock_create_ruleset")
    try:
        for path, access in rules:
            _add(ruleset, path, access & handled, strict=strict)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _add(ruleset: int, path: str | int, access: int, *, strict: bool) -> None:
    try:
        parent = os.dup(path) if isinstance(path, int) else os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        if strict:
            raise
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= _OF_FILES
        rule = _Beneath(access, parent)
        number = syscalls.NUMBERS["landlock_add_rule"]
        syscalls.syscall(number, ruleset, 1, ctypes.byref(rule), 0, name=f"landlock_add_rule for {path}")
    finally:
        os.close(parent)


def restrict(ruleset: int) -> None:
    """Puts this process, and all it starts, under the rules; it must have given up gaining rights before."""
    syscalls.syscall(syscalls.NUMBERS["landlock_restrict_self"], ruleset, 0, name="landlock_restrict_self")


def keep_signals() -> None:
    """Sees to it that no signal of this process, and of all it starts, reaches anybody else from now on, where the
    kernel knows such rules; it must have given up gaining rights before.
    """
    if abi() < _SIGNALS_FROM:
        return
    given = _Ruleset(0, 0, _SIGNALS)
    number = syscalls.NUMBERS["landlock_create_ruleset"]
    ruleset = syscalls.syscall(number, ctypes.byref(given), ctypes.sizeof(given), 0, name="landlock_create_ruleset")
    try:
        restrict(ruleset)
    finally:
        os.close(ruleset)
