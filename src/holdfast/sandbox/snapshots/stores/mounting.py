"""The mounts that an overlay of layers needs, by system calls; Linux only."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

__all__ = ("bind", "mount_overlay", "mounted", "unmount")

_BIND = 4096
_READ_ONLY = 1
_NO_SUID = 2
_NO_DEV = 4
_DETACH = 2
_ESCAPED = re.compile(r"\\([0-7]{3})")


def bind(source: str, target: str) -> None:
    """Makes a folder appear at another place.

    Raises:
        OSError: the kernel refuses.
    """
    _mount(source, target, "", _BIND, "")


def mount_overlay(name: str, target: str, lowers: Sequence[str], upper: str, work: str, options: str) -> None:
    """Shows layers, the topmost first, as one folder; read-only when `upper` is empty.

    Raises:
        OSError: the kernel refuses.
    """
    with ExitStack() as stack:

        def short(path: str) -> str:
            # Options have one page; and so no path needs its colons and commas escaped.
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        words = [f"lowerdir={':'.join(map(short, lowers))}"]
        flags = _NO_DEV
        if upper:
            words += [f"upperdir={short(upper)}", f"workdir={short(work)}", "volatile"]
        else:
            flags |= _READ_ONLY
        words += ["redirect_dir=off", "index=off", "metacopy=off", *filter(None, options.split(","))]
        _mount(name, target, "overlay", flags, ",".join(words))


def unmount(target: str, *, lazily: bool = False) -> None:
    """Takes a mount away, lazily even while it is used; nothing happens when there is none.

    Raises:
        OSError: something still uses it (`EBUSY`), or the kernel refuses.
    """
    if _libc.umount2(os.fsencode(target), _DETACH if lazily else 0) != 0:
        code = ctypes.get_errno()
        if code != 22:  # EINVAL: nothing is mounted there
            raise OSError(code, os.strerror(code), target)


def mounted(target: str) -> str | None:
    """Returns the name of what is mounted at a place, the topmost; None when nothing is."""
    found: str | None = None
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        fields = line.split(" ")
        if _plain(fields[4]) == target:
            found = _plain(fields[fields.index("-") + 2])
    return found


def _plain(word: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), word)


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    words = [os.fsencode(word) if word else None for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


_libc = ctypes.CDLL(None, use_errno=True)
