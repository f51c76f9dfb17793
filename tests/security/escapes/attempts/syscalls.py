"""System calls by number, for x86-64 and aarch64. Runs inside: standard library only, and ctypes where it is there."""

from __future__ import annotations

import os
import platform
from typing import Any

from knowing import CouldNotTry, Refused

try:
    import ctypes
except ImportError:
    ctypes = None  # type: ignore[assignment] - the attempts then say that they could not try

__all__ = ("X86", "buffer", "call", "known", "libc", "must")

X86 = platform.machine() == "x86_64"

_NUMBERS = {
    # name: (x86-64, aarch64)
    "ptrace": (101, 117),
    "iopl": (172, None),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "syslog": (103, 116),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "process_vm_readv": (310, 270),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "fchmodat2": (452, 452),
    "prctl": (157, 167),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "mprotect": (10, 226),
}


def libc() -> Any:
    """Returns the C library.

    Raises:
        CouldNotTry: there is no ctypes, or it does not load.
    """
    if ctypes is None:
        raise CouldNotTry("there is no ctypes here")
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError as error:
        raise CouldNotTry(f"ctypes does not load: {error}") from None


def known(name: str) -> int:
    """Returns the number of a system call.

    Raises:
        CouldNotTry: this machine has none of that name.
    """
    number = _NUMBERS[name][0 if X86 else 1]
    if number is None or platform.machine() not in ("x86_64", "aarch64"):
        raise CouldNotTry(f"{name} has no number on {platform.machine()}")
    return number


def call(name: str | int, *arguments: Any) -> int:
    """Makes a system call and returns its answer.

    Raises:
        OSError: it failed, with its errno.
        CouldNotTry: it cannot be made here.
    """
    if ctypes is None:
        raise CouldNotTry("there is no ctypes here")
    number = name if isinstance(name, int) else known(name)
    function = libc().syscall
    function.restype = ctypes.c_long
    ctypes.set_errno(0)
    whole = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    answer = int(function(ctypes.c_long(number), *whole))
    if answer == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return answer


def must(name: str, *arguments: Any, passed: tuple[int, ...]) -> str:
    """Makes a call that is to fail for a later reason than permission, and returns that as evidence.

    Raises:
        Refused: it failed for any other reason.
    """
    try:
        return f"{name} answered {call(name, *arguments)}"
    except OSError as error:
        if error.errno in passed:
            return f"{name} came as far as {error.strerror}"
        raise Refused(str(error)) from None


def buffer(size_or_bytes: int | bytes) -> Any:
    """Returns memory that a call can write to.

    Raises:
        CouldNotTry: there is no ctypes.
    """
    if ctypes is None:
        raise CouldNotTry("there is no ctypes here")
    return ctypes.create_string_buffer(size_or_bytes)
