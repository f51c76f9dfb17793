"""The few things of btrfs that its snapshots need, by ioctl; Linux only."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

__all__ = ("create", "destroy", "exchange", "is_subvolume", "snapshot")

_CREATE = 0x5000940E
_DESTROY = 0x5000940F
_SNAPSHOT = 0x50009417
_GET_FLAGS = 0x80089419
_READ_ONLY = 1 << 1
_EXCHANGE = 2
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def is_subvolume(path: Path) -> bool:
    """Returns whether a folder is the root of a subvolume."""
    folder = os.open(path, _FOLDER)
    try:
        fcntl.ioctl(folder, _GET_FLAGS, bytes(8))
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(folder)


def create(path: Path) -> None:
    """Makes an empty subvolume.

    Raises:
        OSError: this is no btrfs, or there is something already.
    """
    _in_parent(path, _CREATE, lambda name: struct.pack("=q4088s", 0, name))


def destroy(path: Path) -> None:
    """Removes a subvolume with all it holds; nothing happens when it is not there.

    Raises:
        OSError: it may not be removed, or holds another subvolume.
    """
    try:
        _in_parent(path, _DESTROY, lambda name: struct.pack("=q4088s", 0, name))
    except FileNotFoundError:
        return


def snapshot(source: Path, target: Path, *, read_only: bool) -> None:
    """Makes a snapshot of a subvolume; it is on disk once this returns.

    Raises:
        OSError: it cannot be made.
    """
    folder = os.open(source, _FOLDER)
    try:
        flags = _READ_ONLY if read_only else 0
        _in_parent(target, _SNAPSHOT, lambda name: struct.pack("=qQQ32s4040s", folder, 0, flags, b"", name))
    finally:
        os.close(folder)


def exchange(one: Path, other: Path) -> None:
    """Swaps two names, in one step.

    Raises:
        OSError: the kernel refuses.
    """
    here = -100  # AT_FDCWD
    if _libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one))


def _in_parent(path: Path, request: int, argument: Callable[[bytes], bytes]) -> None:
    parent = os.open(path.parent, _FOLDER)
    try:
        # A buffer that can be written: `ioctl` takes others up to 1024 bytes only.
        fcntl.ioctl(parent, request, bytearray(argument(os.fsencode(path.name))))
    finally:
        os.close(parent)


_libc = ctypes.CDLL(None, use_errno=True)
